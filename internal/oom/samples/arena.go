package samples

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// arena is the memory of all histories. It is no part of the Go heap: the collector lets a heap grow to twice
// what is in use, and pages here that were never written do not exist.
type arena struct {
	mem  []byte
	free []int32 // slots that nobody has
}

// newArena reserves address space for that many slots of historyBytes.
func newArena(slots int) (*arena, error) {
	size := slots * historyBytes
	mem, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("reserve %d bytes of address space for samples: %w", size, err)
	}
	// A huge page would take 2 MiB where a page is written. EINVAL: a kernel without huge pages.
	if err := unix.Madvise(mem, unix.MADV_NOHUGEPAGE); err != nil && !errors.Is(err, unix.EINVAL) {
		return nil, errors.Join(fmt.Errorf("do without huge pages for samples: %w", err), unix.Munmap(mem))
	}
	a := &arena{mem: mem, free: make([]int32, 0, slots)}
	for i := slots - 1; i >= 0; i-- {
		a.free = append(a.free, int32(i))
	}
	return a, nil
}

// take gives out a slot; there must be one.
func (a *arena) take() int32 {
	slot := a.free[len(a.free)-1]
	a.free = a.free[:len(a.free)-1]
	return slot
}

// bytes is the memory of a slot.
func (a *arena) bytes(slot int32) []byte {
	at := int(slot) * historyBytes
	return a.mem[at : at+historyBytes : at+historyBytes]
}

// give takes a slot back, and its pages from this process.
func (a *arena) give(slot int32) {
	// What fails here costs memory that the next holder of the slot uses anyway.
	_ = unix.Madvise(a.bytes(slot), unix.MADV_DONTNEED)
	a.free = append(a.free, slot)
}

// close gives all back; no slot may be used after it.
func (a *arena) close() error { return unix.Munmap(a.mem) }
