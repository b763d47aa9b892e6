package tarstream

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestGNUTar packs a tree with the tar of this machine in all of its formats. The tree on disk is the oracle, and archive/tar.
func TestGNUTar(t *testing.T) {
	if out, err := exec.Command("tar", "--version").Output(); err != nil || !bytes.Contains(out, []byte("GNU tar")) {
		t.Skip("there is no GNU tar here")
	}
	for _, c := range []struct {
		args string
		long bool // the format has long names
	}{
		{"--format=v7", false}, {"--format=ustar", false}, {"--format=oldgnu", true}, {"--format=gnu", true}, {"--format=pax --xattrs", true},
		{"--format=oldgnu --sparse", true}, {"--format=gnu --sparse", true},
		{"--format=pax --sparse --sparse-version=0.0", true}, {"--format=pax --sparse --sparse-version=0.1", true}, {"--format=pax --sparse --sparse-version=1.0", true},
	} {
		t.Run(c.args, func(t *testing.T) {
			dir := t.TempDir()
			plant(t, dir, c.long)
			args := strings.Fields(c.args)
			if strings.Contains(c.args, "--sparse") {
				args = append(args, "--hole-detection=raw")
			}
			args = append(args, "-cf", "-", "-C", dir, ".")
			cmd := exec.Command("tar", args...)
			cmd.Stderr = os.Stderr
			data, err := cmd.Output()
			if err != nil {
				t.Fatalf("tar %v: %v", args, err)
			}
			agree(t, data)
			same(t, data)
			all, err := readAll(bytes.NewReader(data), true)
			if err != io.EOF {
				t.Fatal(err)
			}
			onDisk(t, dir, all)
		})
	}
}

func plant(t *testing.T, dir string, long bool) {
	t.Helper()
	write := func(name, content string) {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	write("a/empty", "")
	write("a/block", strings.Repeat("b", blockSize))
	write("a/more", strings.Repeat("m", 10*blockSize+1))
	write("a/naïve-\xff", "not UTF-8")
	if long { // and types
		if err := syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
			t.Fatal(err)
		}
		write(strings.Repeat("directory/", 20)+"file", "deep")
		write(strings.Repeat("n", 100), "a name of 100 bytes")
		write(strings.Repeat("n", 101), "one of 101 bytes")
		os.Symlink(strings.Repeat("to/", 100), filepath.Join(dir, "sym"))
	}
	for _, err := range []error{
		os.Link(filepath.Join(dir, "a/more"), filepath.Join(dir, "hard")),
		os.Symlink("a/more", filepath.Join(dir, "short")),
		holes(filepath.Join(dir, "sparse"), 60, 1<<20),
		holes(filepath.Join(dir, "hole"), 0, 1<<20),
		holes(filepath.Join(dir, "full"), 3, 0),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	// Not every file system has them; what matters is that the records do no harm.
	syscall.Setxattr(filepath.Join(dir, "a/block"), "user.stella", []byte("path=x\n\x00"), 0)
}

// holes makes n pieces of data with holes between them, and one behind up to size.
func holes(name string, n int, size int64) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	for i := range n {
		if _, err := f.WriteAt([]byte(fmt.Sprintf("piece %d", i)), int64(i)*9000); err != nil {
			return err
		}
	}
	if size > 0 {
		if err := f.Truncate(size); err != nil {
			return err
		}
	}
	return f.Close()
}

// onDisk compares what was read with the tree.
func onDisk(t *testing.T, dir string, all []entry) {
	t.Helper()
	seen := map[string]entry{}
	for _, e := range all {
		if e.Problem != "" {
			t.Errorf("%s: %s", e.Name, e.Problem)
		}
		seen[filepath.Clean(e.Name)] = e
	}
	filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, p)
		e, ok := seen[rel]
		if err != nil || !ok {
			t.Errorf("%s is not in the archive (%v)", rel, err)
			return nil
		}
		delete(seen, rel)
		info, _ := d.Info()
		if fs.FileMode(e.Mode).Perm() != info.Mode().Perm() {
			t.Errorf("%s: mode %o, not %v", rel, e.Mode, info.Mode())
		}
		switch e.Type {
		case TypeSymlink:
			if to, _ := os.Readlink(p); to != e.Linkname {
				t.Errorf("%s leads to %s, not %s", rel, e.Linkname, to)
			}
		case TypeLink:
			other, err := os.Stat(filepath.Join(dir, e.Linkname))
			if err != nil || !os.SameFile(other, info) {
				t.Errorf("%s is not %s (%v)", rel, e.Linkname, err)
			}
		case TypeReg, TypeGNUSparse:
			f, err := os.Open(p)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if sum, _, _ := content256(f); sum != e.Content || e.Size != info.Size() {
				t.Errorf("%s: %+v, on disk %d bytes, %s", rel, e, info.Size(), sum)
			}
		}
		return nil
	})
	for name := range seen {
		t.Errorf("%s is not on disk", name)
	}
}
