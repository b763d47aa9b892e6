package victims

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"stella/internal/oom"
)

// Options say where the notes are kept.
type Options struct {
	// Dir is a bpffs, or an empty directory to mount one at; "" is /sys/fs/bpf.
	Dir string
	// Log is for what was made, mounted and removed.
	Log *slog.Logger
}

// Victims reads the notes. Its methods may be called from several goroutines.
type Victims struct {
	notes, state *ebpf.Map

	mu sync.Mutex
	// newest is the last note of each pid, by serial. The notes up to read are in it.
	newest map[uint32]uint64
	pids   [maxNotes]uint32 // of which pid a note was, so that newest forgets what the kernel forgot
	read   uint64
	raw    [noteSize]byte
}

// Open takes over what an agent left in the kernel, or begins. Notes of the time before Open are there if it was taken
// over. An error that matches [ErrNotHere] says what this machine or this user lacks. The caller must Close it.
func Open(o Options) (*Victims, error) {
	dir := dirOr(o.Dir)
	if err := mount(dir, o.Log); err != nil {
		return nil, err
	}
	pins := filepath.Join(dir, pinsName)
	release, err := lock(pins)
	if err != nil {
		return nil, refused("lock its directory", err)
	}
	defer release()
	v, err := take(pins)
	if err == nil {
		return v, nil
	}
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errOther) {
		return nil, refused("take over what is pinned", err)
	}
	if left, _ := os.ReadDir(pins); len(left) > 0 {
		o.Log.Warn("what notes OOM kills in the kernel was not whole, and is made anew", "dir", pins, "err", err)
	}
	return begin(dir, pins)
}

// begin makes all of it anew, and leaves nothing where that fails.
func begin(dir, pins string) (v *Victims, err error) {
	if err = errors.Join(empty(pins), remove(dir, pinsName)); err == nil {
		err = load(pins)
		// The kernel's types took some MiB, which the runtime would give back only over minutes.
		debug.FreeOSMemory()
	}
	if err == nil {
		v, err = take(pins)
	}
	if err != nil {
		return nil, errors.Join(refused("begin", err), empty(pins), os.Remove(pins))
	}
	return v, nil
}

// Remove takes programs and notes out of the kernel, whatever version of the agent put them there; dir is as in
// [Options]. There being none is no error. An agent that runs goes on, and finds no new notes.
func Remove(dir string) error {
	dir = dirOr(dir)
	is, err := isBPFFS(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !is {
		return nil
	}
	if err == nil {
		err = remove(dir, "")
	}
	if err != nil {
		return fmt.Errorf("remove the notes of OOM kills: %w", err)
	}
	return nil
}

// remove removes all versions but one.
func remove(dir, but string) error {
	all, err := pinsOf(dir)
	for _, pins := range all {
		if filepath.Base(pins) != but {
			err = errors.Join(err, removePins(pins))
		}
	}
	return err
}

func dirOr(dir string) string {
	if dir == "" {
		return defaultDir
	}
	return dir
}

// Close lets go of the notes. The kernel goes on noting.
func (v *Victims) Close() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return errors.Join(v.notes.Close(), v.state.Close())
}

// Find returns the newest note of a process, by the pid that the kernel logged. It costs one system call, and two for
// each note that was made since the last call. After Close it finds none.
func (v *Victims) Find(pid int) (oom.Victim, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.catchUp(); err != nil {
		return oom.Victim{}, false
	}
	serial, ok := v.newest[uint32(pid)]
	if !ok {
		return oom.Victim{}, false
	}
	victim, ok, err := v.note(serial)
	return victim, ok && err == nil && victim.Process.PID == pid
}

// Each calls fn with the notes that the kernel still has, the oldest first, until fn returns false. Fn must not call v.
func (v *Victims) Each(fn func(oom.Victim) bool) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	last, err := v.last()
	if err != nil {
		return err
	}
	for serial := oldest(last); serial <= last; serial++ {
		victim, ok, err := v.note(serial)
		if err != nil {
			return err
		}
		if ok && !fn(victim) {
			return nil
		}
	}
	return nil
}

// oldest is the first serial that is still there when the last one is.
func oldest(last uint64) uint64 { return max(last, maxNotes) - maxNotes + 1 }

// catchUp takes in the notes that were made since the last time.
func (v *Victims) catchUp() error {
	last, err := v.last()
	if err != nil {
		return err
	}
	for serial := max(v.read+1, oldest(last)); serial <= last; serial++ {
		victim, ok, err := v.note(serial)
		if err != nil {
			return err
		}
		place := serial % maxNotes
		if before := v.pids[place]; before != 0 && v.newest[before]+maxNotes <= serial {
			delete(v.newest, before)
		}
		v.pids[place] = 0
		if ok {
			pid := uint32(victim.Process.PID)
			v.pids[place], v.newest[pid] = pid, serial
		}
		v.read = serial
	}
	return nil
}

// last is the serial of the last note; 0 is none.
func (v *Victims) last() (uint64, error) {
	var last uint64
	if err := v.state.Lookup(uint32(0), &last); err != nil {
		return 0, fmt.Errorf("read how many OOM kills the kernel noted: %w", err)
	}
	return last, nil
}

// note reads a note, and reports false where the kernel has another in its place by now.
func (v *Victims) note(serial uint64) (oom.Victim, bool, error) {
	if err := v.notes.Lookup(uint32((serial-1)%maxNotes), v.raw[:]); err != nil {
		return oom.Victim{}, false, fmt.Errorf("read note %d of an OOM kill: %w", serial, err)
	}
	victim, is, ok := decode(v.raw[:], int64(os.Getpagesize()))
	if !ok || is != serial {
		return oom.Victim{}, false, nil
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return oom.Victim{}, false, err
	}
	victim.Time = time.Now().Add(victim.Monotonic - time.Duration(now.Nano()))
	return victim, true, nil
}
