package extsort

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"testing"
)

func collect(t *testing.T, s *Sorter) (out []string) {
	t.Helper()
	if err := s.Each(func(k, v []byte) error {
		out = append(out, string(k)+"\x00"+string(v))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

// The oracle is slices.Sort over the same records.
func TestSortsLikeMemory(t *testing.T) {
	for _, n := range []int{0, 1, 1000, 40_000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(1, uint64(n)))
			s := New(t.TempDir(), 0)
			defer s.Close()
			var want []string
			for range n {
				k := fmt.Sprintf("usr/lib/%d/%d", rnd.IntN(50), rnd.IntN(500))
				v := fmt.Sprint(rnd.IntN(10))
				want = append(want, k+"\x00"+v)
				if err := s.Add([]byte(k), []byte(v)); err != nil {
					t.Fatal(err)
				}
			}
			slices.Sort(want)
			if got := collect(t, s); !slices.Equal(got, want) {
				t.Fatalf("order differs from a sort in memory (%d and %d records)", len(got), len(want))
			}
			if got := collect(t, s); !slices.Equal(got, want) {
				t.Fatal("a second reading differs")
			}
		})
	}
}

// Enough records of the largest size to need more runs than are merged at once.
func TestMergesInLevels(t *testing.T) {
	var disk int64
	s := New(t.TempDir(), MinMemory)
	s.OnDisk = func(n int64) { disk += n }
	big := bytes.Repeat([]byte("x"), MaxRecord-8)
	const n = 400
	for i := range n {
		if err := s.Add(fmt.Appendf(nil, "%08d", n-i), big); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.wait(); err != nil {
		t.Fatal(err)
	}
	if fan := MinMemory / runBuffer; len(s.runs) <= fan {
		t.Fatalf("only %d runs: the test does not reach a second level", len(s.runs))
	}
	i := 0
	if err := s.Each(func(k, v []byte) error {
		if i++; string(k) != fmt.Sprintf("%08d", i) || len(v) != len(big) {
			return fmt.Errorf("record %d has key %s and %d bytes", i, k, len(v))
		}
		return nil
	}); err != nil || i != n {
		t.Fatal(i, err)
	}
	if disk <= n*int64(len(big)) {
		t.Errorf("%d bytes on disk reported", disk)
	}
	s.Close()
	if disk != 0 {
		t.Errorf("%d bytes are still reported after Close", disk)
	}
}

func TestRefusesAHugeRecord(t *testing.T) {
	s := New(t.TempDir(), 0)
	if err := s.Add(make([]byte, MaxRecord), []byte{1}); !errors.Is(err, ErrTooLarge) {
		t.Fatal(err)
	}
}

func TestStopsAtTheCallersError(t *testing.T) {
	stop := errors.New("stop")
	for _, n := range []int{3, 20_000} {
		s := New(t.TempDir(), 0)
		for i := range n {
			if err := s.Add(fmt.Append(nil, i), nil); err != nil {
				t.Fatal(err)
			}
		}
		calls := 0
		if err := s.Each(func(_, _ []byte) error { calls++; return stop }); !errors.Is(err, stop) || calls != 1 {
			t.Errorf("%d records: %v after %d calls", n, err, calls)
		}
		s.Close()
	}
}

// A full disk is an error of the Add that finds out, and of everything after it.
func TestDiskThatFails(t *testing.T) {
	s := New(t.TempDir()+"/none", 0)
	defer s.Close()
	var err error
	for i := 0; i < 100_000 && err == nil; i++ {
		err = s.Add(fmt.Append(nil, i), nil)
	}
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Add: %v", err)
	}
	if err := s.Each(func(_, _ []byte) error { return nil }); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Each: %v", err)
	}
}

func TestMemoryIsFlat(t *testing.T) {
	s := New(t.TempDir(), 512<<10)
	defer s.Close()
	base, peak := live(), uint64(0)
	check := func(i int) {
		if i%100_000 == 0 {
			peak = max(peak, live())
		}
	}
	for i := range 1_000_000 {
		if err := s.Add(fmt.Appendf(nil, "some/path/to/a/file/%d", i*7919%1_000_000), []byte("v")); err != nil {
			t.Fatal(err)
		}
		check(i)
	}
	i := 0
	if err := s.Each(func(_, _ []byte) error { i++; check(i); return nil }); err != nil {
		t.Fatal(err)
	}
	if i != 1_000_000 {
		t.Fatalf("%d records came back", i)
	}
	if grown := int64(peak) - int64(base); grown > 1<<20 {
		t.Errorf("live heap grew by %d KiB with 512 KiB allowed", grown>>10)
	}
}

func live() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func BenchmarkSort(b *testing.B) {
	keys := make([][]byte, 300_000)
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "usr/lib/node_modules/pkg-%d/file-%d.js", i%5000, i*7919%300_000)
	}
	for b.Loop() {
		s := New(b.TempDir(), 1<<20)
		for _, k := range keys {
			if err := s.Add(k, k[:8]); err != nil {
				b.Fatal(err)
			}
		}
		if err := s.Each(func(_, _ []byte) error { return nil }); err != nil {
			b.Fatal(err)
		}
		s.Close()
	}
	b.ReportMetric(float64(len(keys))*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}
