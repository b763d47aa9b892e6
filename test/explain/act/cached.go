//go:build linux

package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// cached is page cache of a file on disk.
type cached struct {
	name   string
	file   *os.File
	mapped []byte
	locked int64
	at     int64 // where it is read next: behind what is ever locked
}

func (c *cached) open() error {
	if c.file != nil {
		return nil
	}
	f, err := os.Open(c.name)
	if err != nil {
		return err
	}
	c.file, c.at = f, reserved
	return nil
}

// lock locks the first n bytes of the file.
func (c *cached) lock(n int64) error {
	if err := c.open(); err != nil {
		return err
	}
	if c.mapped == nil {
		bytes, err := unix.Mmap(int(c.file.Fd()), 0, reserved, unix.PROT_READ, unix.MAP_SHARED)
		if err != nil {
			return err
		}
		c.mapped = bytes
	}
	n = n / page * page
	switch {
	case n > c.locked:
		if err := unix.Mlock(c.mapped[c.locked:n]); err != nil {
			return err
		}
	case n < c.locked:
		if err := unix.Munlock(c.mapped[n:c.locked]); err != nil {
			return err
		}
	}
	c.locked = n
	return nil
}

// read reads n bytes that were not read before, as a program that reads logs does.
func (c *cached) read(n int64) error {
	if err := c.open(); err != nil {
		return err
	}
	for n > 0 {
		k, err := c.file.ReadAt(scratch[:min(int64(len(scratch)), n)], c.at)
		if err != nil {
			return err
		}
		n, c.at = n-int64(k), c.at+int64(k)
	}
	return nil
}

// scratch is what is read.
var scratch [64 << 10]byte
