package outlog_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"stella/internal/rdev"
	"stella/internal/rdev/outlog"
	"stella/internal/testkit"
)

// The disk is full, really, while a command writes, and has room again later: the command is not stopped, what is
// missing is a gap, and the end is there even if the disk is full again.
func TestFullDisk(t *testing.T) {
	testkit.Need(t, testkit.Root, testkit.Namespaces)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	s := openIn(t, filepath.Join(dir, "logs"), outlog.Options{})
	l := create(t, s, "c", outlog.Limits{})
	nothing := create(t, s, "nothing", outlog.Limits{}) // can be kept of this
	n := uint64(0)
	write := func(lines int) {
		t.Helper()
		var b bytes.Buffer
		for range lines {
			n++
			fmt.Fprintln(&b, killedLine(n))
		}
		if m, err := l.Writer(rdev.Stdout).Write(b.Bytes()); m != b.Len() || err != nil {
			t.Fatalf("%d of %d bytes: %v", m, b.Len(), err)
		}
	}
	filler := filepath.Join(dir, "filler")
	write(2000)
	_ = os.WriteFile(filler, make([]byte, 8<<20), 0o600) // as much as fits
	write(2000)
	nothing.Writer(rdev.Stdout).Write(bytes.Repeat([]byte("lost\n"), 1000))
	if got := l.State(); got.Lost == 0 || !strings.Contains(got.Failure, unix.ENOSPC.Error()) {
		t.Errorf("on a full disk: %+v", got)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	write(2000)
	if got := l.State(); got.Failure != "" {
		t.Errorf("with room again: %+v", got)
	}
	_ = os.WriteFile(filler, make([]byte, 8<<20), 0o600)
	write(2000)
	end(t, l)
	end(t, nothing)
	pos, err := nothing.Read(0, make([]byte, outlog.MinBuffer), nil)
	if err != nil || pos.Gap != 1000 || pos.Next != 1000 || pos.End == nil {
		t.Errorf("of the log that is lost: %+v, %v", pos, err)
	}

	again, err := s.Log("c")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range []*outlog.Log{l, again} {
		state := l.State()
		if state.Last != n || state.Lines != int64(n) || state.Dropped != 0 || s.Stats().LostRecords != state.Lost+1000 {
			t.Errorf("%+v of %d lines", state, n)
		}
		kept := int64(0)
		parts := read(t, l, 0, outlog.MinBuffer, true)
		for _, p := range parts {
			for _, r := range p.records {
				if kept++; string(r.Data) != killedLine(r.Seq) {
					t.Fatalf("record %d is %.50q", r.Seq, r.Data)
				}
			}
		}
		if kept+state.Lost != int64(n) || kept < 3500 || len(parts) < 2 {
			t.Errorf("%d records in %d parts; %+v", kept, len(parts), state)
		}
	}
}
