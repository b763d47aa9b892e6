//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// pageSize is what memory comes in, in bytes.
var pageSize = int64(os.Getpagesize())

// block is anonymous memory outside of the Go heap, so that amounts are exact
// and are given back when they should be. Reserving takes address space, growing
// takes memory. The mapping is not counted against overcommit: whether there is
// memory shows when it is touched, which is the moment to be killed.
type block struct {
	bytes   []byte
	touched int64
}

// reserve makes a block that can grow to n bytes, a multiple of the page size.
func reserve(n int64) (*block, error) {
	bytes, err := syscall.Mmap(-1, 0, int(n), syscall.PROT_READ|syscall.PROT_WRITE,
		syscall.MAP_ANON|syscall.MAP_PRIVATE|syscall.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("reserve %d bytes of address space: %w", n, err)
	}
	// A huge page would take 2 MiB where a page is touched. EINVAL: a kernel without huge pages.
	if err := syscall.Madvise(bytes, syscall.MADV_NOHUGEPAGE); err != nil && !errors.Is(err, syscall.EINVAL) {
		return nil, errors.Join(fmt.Errorf("do without huge pages: %w", err), syscall.Munmap(bytes))
	}
	return &block{bytes: bytes}, nil
}

// grow touches pages until n bytes are taken.
func (b *block) grow(n int64) {
	for ; b.touched < n; b.touched += pageSize {
		b.bytes[b.touched] = 1 // reading would only map the page of zeros
	}
}

// free gives all back.
func (b *block) free() error { return syscall.Munmap(b.bytes) }

// take makes a block that has n bytes.
func take(n int64) (*block, error) {
	b, err := reserve(n)
	if err == nil {
		b.grow(n)
	}
	return b, err
}
