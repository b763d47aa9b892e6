package victims

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"stella/internal/oom"
	"stella/internal/testkit"
)

// BPF is that the kernel notes victims for this process.
var BPF = testkit.Capability{Name: "bpf", Probe: func() (err error) {
	dir, err := os.MkdirTemp("", "stella-victims-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, Remove(dir), Unmount(dir), os.Remove(dir)) }()
	v, err := Open(Options{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if errors.Is(err, ErrNotHere) {
		return testkit.Missing(err.Error())
	}
	if err != nil {
		return err
	}
	return v.Close()
}}

// Unmount unmounts a bpffs, if it is one, also where another process looks into it right now.
func Unmount(dir string) error {
	if is, err := isBPFFS(dir); err != nil || !is {
		return err
	}
	return unix.Unmount(dir, unix.MNT_DETACH)
}

// Invoker are the inodes of the cgroups that the note of a process says the invoker was in, from the leaf upwards.
func (v *Victims) Invoker(pid int) []uint64 {
	if _, ok := v.Find(pid); !ok {
		return nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	n := min(maxLevels, binary.NativeEndian.Uint32(v.raw[atInvokers:]))
	ids := make([]uint64, n)
	for i := range ids {
		ids[i] = binary.NativeEndian.Uint64(v.raw[atInvoker+8*i:])
	}
	return ids
}

// ring is one into which the test writes what the program would, so that nobody else's kill comes between.
type ring struct {
	*Victims
	testing.TB
	serial uint64
}

func newRing(t testing.TB) *ring {
	t.Helper()
	testkit.Need(t, BPF)
	return &ring{Victims: &Victims{notes: newMap(t, notesMap), state: newMap(t, stateMap), newest: map[uint32]uint64{}}, TB: t}
}

func newMap(t testing.TB, name string) *ebpf.Map {
	t.Helper()
	m, err := ebpf.NewMap(programs(offsets{}).Maps[name])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// fill writes so many notes: the n-th is of pid n and cgroup /cn, every tenth of pid 1.
func (r *ring) fill(notes int) {
	r.Helper()
	for range notes {
		r.serial++
		pid := uint32(r.serial)
		if r.serial%10 == 0 {
			pid = 1
		}
		raw := encode(r.serial, pid, []testLevel{{id: r.serial, name: fmt.Sprint("c", r.serial)}})
		if err := r.notes.Put(uint32((r.serial-1)%maxNotes), raw); err != nil {
			r.Fatal(err)
		}
	}
	if err := r.state.Put(uint32(0), r.serial); err != nil {
		r.Fatal(err)
	}
}

// What the kernel holds, and what a process keeps of it, is bounded.
func TestRing(t *testing.T) {
	r := newRing(t)
	for range 3 {
		r.fill(maxNotes - 100) // no whole round
		compareRing(t, r.Victims, r.serial)
	}
}

// BenchmarkFind asks for a process of which there is a note.
func BenchmarkFind(b *testing.B) {
	r := newRing(b)
	r.fill(maxNotes)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := r.Find(maxNotes - 1); !ok {
			b.Fatal("no note")
		}
	}
}

// BenchmarkEach reads all notes, as the first Find of a process does.
func BenchmarkEach(b *testing.B) {
	r := newRing(b)
	r.fill(maxNotes)
	for b.Loop() {
		if err := r.Each(func(oom.Victim) bool { return true }); err != nil {
			b.Fatal(err)
		}
	}
}

func compareRing(t *testing.T, v *Victims, serial uint64) {
	t.Helper()
	first := max(serial, maxNotes) - maxNotes + 1
	for s := uint64(2); s <= serial; s++ {
		if s%10 == 0 {
			continue
		}
		got, ok := v.Find(int(s))
		if want := fmt.Sprint("/c", s); ok != (s >= first) || ok && got.Cgroup != want {
			t.Fatalf("after %d notes, pid %d: %+v, %t", serial, s, got, ok)
		}
	}
	if got, ok := v.Find(1); !ok || got.Cgroup != fmt.Sprint("/c", serial/10*10) {
		t.Errorf("after %d notes, the newest of pid 1: %+v, %t", serial, got, ok)
	}
	next := first
	if err := v.Each(func(n oom.Victim) bool {
		if n.CgroupID != next {
			t.Errorf("note of %d, want %d", n.CgroupID, next)
		}
		next++
		return true
	}); err != nil || next != serial+1 {
		t.Errorf("the notes end before %d, want %d: %v", next, serial+1, err)
	}
	if len(v.newest) > maxNotes {
		t.Errorf("%d pids are kept", len(v.newest))
	}
}
