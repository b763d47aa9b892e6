package tree_test

import (
	"bytes"
	"strings"
	"testing"

	"stella/internal/oom/tree"
)

// Whatever the bytes are, a name has no NUL and is no longer than they are.
func FuzzRecords(f *testing.F) {
	f.Add([]byte("\x01\x00\x00\x00\x00\x01\x00\x40\x00\x00\x00\x00\x10\x00\x00\x00pod\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Add([]byte("\x01\x00\x00\x00\x00\x01\x00\x40\x00\x00\x00\x00\xff\xff\xff\xffpod"))
	f.Add([]byte("\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x18\x00\x04pod\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		total := 0
		for e := range tree.InotifyEvents(data) {
			if total += 16 + len(e.Name()); bytes.IndexByte(e.Name(), 0) >= 0 {
				t.Errorf("name %q", e.Name())
			}
		}
		if total > len(data) {
			t.Errorf("events of %d bytes in %d", total, len(data))
		}
		total = 0
		for e := range tree.DirectoryEntries(data) {
			if total += 19 + len(e.Name()); bytes.IndexByte(e.Name(), 0) >= 0 {
				t.Errorf("name %q", e.Name())
			}
		}
		if total > len(data) {
			t.Errorf("entries of %d bytes in %d", total, len(data))
		}
	})
}

// Whatever the text is, a mount has a version, and no more come than there are lines.
func FuzzMounts(f *testing.F) {
	f.Add("35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n")
	f.Add(`30 22 0:26 / /with\040space\ rw - cgroup2 cgroup2 rw` + "\n - \n")
	f.Fuzz(func(t *testing.T, text string) {
		n := 0
		for m := range tree.Mounts([]byte(text)) {
			if n++; m.Version() != 1 && m.Version() != 2 {
				t.Errorf("version %d", m.Version())
			}
		}
		if n > strings.Count(text, "\n")+1 {
			t.Errorf("%d mounts", n)
		}
	})
}
