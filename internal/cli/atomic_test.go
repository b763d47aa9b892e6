package cli

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// A document that could not be finished leaves the old one, and nothing else.
func TestWriteFileIsAllOrNothing(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "out.json")
	write := func(text string, err error) error {
		return writeFile(name, func(w io.Writer) error {
			_, werr := io.WriteString(w, text)
			return errors.Join(werr, err)
		})
	}
	want := func(text string) {
		t.Helper()
		if b, err := os.ReadFile(name); err != nil || string(b) != text {
			t.Errorf("the file holds %q, %v; want %q", b, err, text)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
			t.Errorf("the directory holds %v, %v; want one file", left, err)
		}
	}
	if err := write("first", nil); err != nil {
		t.Fatal(err)
	}
	want("first")
	if err := write("half", syscall.ENOSPC); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("error is %v; want the disk's", err)
	}
	want("first")
	if err := write("second", nil); err != nil {
		t.Fatal(err)
	}
	want("second")
}

// Documents are for others to read, as the umask has it.
func TestWriteFileFollowsUmask(t *testing.T) {
	old := syscall.Umask(0o027)
	defer syscall.Umask(old)
	name := filepath.Join(t.TempDir(), "out.json")
	if err := writeFile(name, func(io.Writer) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("permissions are %v, %v; want 0640", info.Mode().Perm(), err)
	}
}
