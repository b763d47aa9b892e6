package spool

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"
)

// What is spooled in memory reads back, and is a file on no filesystem.
func TestInMemory(t *testing.T) {
	t.Chdir(t.TempDir())
	s := NewSpace(InMemory, 100)
	b := s.New()
	defer b.Close()
	want := data(1 << 20)
	if err := b.ReadAll(bytes.NewReader(want), 1<<20); err != nil {
		t.Fatal(err)
	}
	if err := iotest.TestReader(io.NewSectionReader(b, 0, b.Size()), want); err != nil {
		t.Error(err)
	}
	at, err := os.Readlink(fmt.Sprint("/proc/self/fd/", b.file.Fd()))
	if err != nil || !strings.HasPrefix(at, "/memfd:") {
		t.Errorf("spooled to %s, %v", at, err)
	}
	if left, err := os.ReadDir("."); err != nil || len(left) > 0 {
		t.Errorf("files were made: %v, %v", left, err)
	}
	if on, err := OnMemory(InMemory); !on || err != nil {
		t.Errorf("it is not taken for memory: %v", err)
	}
}
