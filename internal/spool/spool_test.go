package spool

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
)

func data(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 31 / 7)
	}
	return b
}

// Sizes on both sides of the threshold; iotest checks every kind of reading.
func TestReadsBackWhatWasWritten(t *testing.T) {
	const threshold = 1000
	for _, n := range []int{0, 1, threshold - 1, threshold, threshold + 1, 10 * threshold} {
		s := NewSpace(t.TempDir(), threshold)
		b := s.New()
		want := data(n)
		if err := b.ReadAll(iotest.HalfReader(bytes.NewReader(want)), int64(n)); err != nil {
			t.Fatal(err)
		}
		if b.Size() != int64(n) {
			t.Errorf("%d bytes: size %d", n, b.Size())
		}
		if err := iotest.TestReader(io.NewSectionReader(b, 0, b.Size()), want); err != nil {
			t.Errorf("%d bytes: %v", n, err)
		}
		if disk := s.PeakDisk(); disk != int64(max(0, n-threshold)) {
			t.Errorf("%d bytes: %d on disk", n, disk)
		}
		b.Close()
		b.Close()
		if left := s.disk.Load(); left != 0 {
			t.Errorf("%d bytes: %d still counted after Close", n, left)
		}
	}
}

func TestMemoryIsReusedClean(t *testing.T) {
	s := NewSpace(t.TempDir(), 100)
	a := s.New()
	a.Write([]byte(strings.Repeat("secret", 10)))
	a.Close()
	b := s.New()
	defer b.Close()
	b.Write([]byte("x"))
	var p [10]byte
	if n, err := b.ReadAt(p[:], 0); n != 1 || err != io.EOF {
		t.Errorf("read %d bytes (%v) of a buffer of one", n, err)
	}
	if _, err := b.ReadAt(p[:], -1); err == nil || err == io.EOF {
		t.Error("a negative offset was taken")
	}
}

func TestLimit(t *testing.T) {
	for _, n := range []int64{0, 10, 5000} {
		s := NewSpace(t.TempDir(), 100)
		b := s.New()
		if err := b.ReadAll(bytes.NewReader(data(int(n))), n); err != nil {
			t.Errorf("exactly %d bytes: %v", n, err)
		}
		b.Close()
		b = s.New()
		if err := b.ReadAll(bytes.NewReader(data(int(n)+1)), n); !errors.Is(err, ErrLimit) {
			t.Errorf("one more than %d bytes: %v", n, err)
		}
		b.Close()
	}
}

func TestErrorsOfTheSourceComeThrough(t *testing.T) {
	broken := errors.New("broken")
	for _, limit := range []int64{5, 100} { // also where the limit is reached just before
		b := NewSpace(t.TempDir(), 10).New()
		if err := b.ReadAll(io.MultiReader(strings.NewReader("12345"), iotest.ErrReader(broken)), limit); !errors.Is(err, broken) {
			t.Errorf("limit %d: %v", limit, err)
		}
		b.Close()
	}
}

func TestNothingHasAName(t *testing.T) {
	dir := t.TempDir()
	b := NewSpace(dir, 10).New()
	b.Write(data(1000))
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("a spooled file can be seen: %v, %v", left, err)
	}
	b.Close()
}

// The first failure of the disk is remembered, whatever the parser above makes of it.
func TestErrOfTheDisk(t *testing.T) {
	s := NewSpace(filepath.Join(t.TempDir(), "none"), 10)
	b := s.New()
	defer b.Close()
	if s.Err() != nil {
		t.Fatal(s.Err())
	}
	if n, err := b.Write(data(30)); n != 10 || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%d bytes, %v", n, err)
	}
	if err := s.Err(); !errors.Is(err, os.ErrNotExist) || !strings.Contains(fmt.Sprint(err), s.Dir()) {
		t.Error(err)
	}
}

func TestOnMemory(t *testing.T) {
	if on, err := OnMemory("/dev/shm"); err == nil && !on {
		t.Error("/dev/shm is not taken for memory")
	}
	if on, err := OnMemory("/proc"); err != nil || on {
		t.Errorf("/proc: %v, %v", on, err)
	}
	if _, err := OnMemory(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}
