package initramfs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// list reads an archive and describes each entry in a line. The kernel is the other
// reader: the tests of vm look at what it made of an archive.
func list(t *testing.T, archive []byte) []string {
	t.Helper()
	var lines []string
	take := func(n int) string {
		if n > len(archive) {
			t.Fatalf("the archive ends after %q", lines)
		}
		b := archive[:n]
		archive = archive[n:]
		return string(b)
	}
	for at := len(archive); ; {
		start := at - len(archive)
		align := func() { take((4 - (at-len(archive)-start)%4) % 4) }
		if start%4 != 0 || take(6) != "070701" {
			t.Fatalf("no header at byte %d, after %q", start, lines)
		}
		var n [13]int
		for i := range n {
			v, err := strconv.ParseUint(take(8), 16, 32)
			if err != nil {
				t.Fatal(err)
			}
			n[i] = int(v)
		}
		name := strings.TrimSuffix(take(n[11]), "\x00")
		align()
		content := take(n[6])
		align()
		if name == "TRAILER!!!" {
			if len(archive) > 0 {
				t.Errorf("%d bytes after the end", len(archive))
			}
			return lines
		}
		if n[2] != 0 || n[3] != 0 {
			t.Errorf("%s belongs to %d:%d", name, n[2], n[3])
		}
		line := fmt.Sprintf("%o %s %q", n[1], name, content)
		if n[4] > 1 {
			line += fmt.Sprintf(" inode %d of %d names", n[0], n[4])
		}
		lines = append(lines, line)
	}
}

func write(t *testing.T, tree *Tree) []string {
	t.Helper()
	var b bytes.Buffer
	if err := tree.Write(&b); err != nil {
		t.Fatal(err)
	}
	return list(t, b.Bytes())
}

// host makes a directory with one of each kind; real is its path without links.
func host(t *testing.T) string {
	t.Helper()
	real, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		os.MkdirAll(filepath.Join(real, "usr/bin"), 0o755),
		os.MkdirAll(filepath.Join(real, "etc"), 0o750),
		os.WriteFile(filepath.Join(real, "usr/bin/dash"), []byte("shell"), 0o644),
		os.Chmod(filepath.Join(real, "usr/bin/dash"), 0o755|fs.ModeSetuid),
		os.Link(filepath.Join(real, "usr/bin/dash"), filepath.Join(real, "usr/bin/ash")),
		os.Symlink("dash", filepath.Join(real, "usr/bin/sh.real")),
		os.Symlink(filepath.Join(real, "etc/sh"), filepath.Join(real, "usr/bin/sh")),
		os.Symlink("../usr//bin/./sh.real", filepath.Join(real, "etc/sh")),
		os.Symlink("usr/bin", filepath.Join(real, "bin")),
		os.Symlink("loop", filepath.Join(real, "loop")),
		os.Symlink("nowhere", filepath.Join(real, "dangling")),
		syscall.Mkfifo(filepath.Join(real, "etc/fifo"), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return real
}

// below drops the directories above root, and root from the names that are left.
func below(lines []string, root string) []string {
	root = strings.TrimPrefix(root, "/")
	var kept []string
	for _, line := range lines {
		if strings.Contains(line, root+"/") {
			kept = append(kept, strings.ReplaceAll(line, root+"/", ""))
		}
	}
	return kept
}

func TestAddHostGoesOverLinks(t *testing.T) {
	root := host(t)
	tree := NewTree()
	for range 2 { // the second time adds nothing
		if err := tree.AddHost(filepath.Join(root, "bin/sh")); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{
		`120777 bin "usr/bin"`,
		`40750 etc ""`,
		`120777 etc/sh "../usr//bin/./sh.real"`,
		`40755 usr ""`,
		`40755 usr/bin ""`,
		`104755 usr/bin/dash "shell"`,
		`120777 usr/bin/sh "/etc/sh"`,
		`120777 usr/bin/sh.real "dash"`,
	}
	if d := cmp.Diff(want, below(write(t, tree), root)); d != "" {
		t.Error(d)
	}
	if tree.Size() != int64(len("shell")) {
		t.Errorf("size %d", tree.Size())
	}
}

func TestAddHostTakesDirectoriesWhole(t *testing.T) {
	root := host(t)
	tree := NewTree()
	if err := tree.AddHost(filepath.Join(root, "bin")); err != nil {
		t.Fatal(err)
	}
	got := below(write(t, tree), root)
	if len(got) != 7 || !strings.Contains(got[3], `usr/bin/ash "shell" inode `) || !strings.Contains(got[4], `usr/bin/dash "" inode `) ||
		got[3][strings.Index(got[3], " inode"):] != got[4][strings.Index(got[4], " inode"):] {
		t.Errorf("got %q", got)
	}
	if tree.Size() != int64(len("shell")) {
		t.Errorf("size %d: a file with two names is one file", tree.Size())
	}
}

func TestAddAsAndData(t *testing.T) {
	root := host(t)
	tree := NewTree()
	for _, err := range []error{
		tree.AddHost(filepath.Join(root, "bin/dash")),
		// A link is followed, and the guest's links on the way to the new name too.
		tree.AddAs(filepath.Join(root, "usr/bin/sh"), filepath.Join(root, "bin/other")),
		tree.AddAs(filepath.Join(root, "usr"), "/copy/of/usr"),
		tree.AddData("/copy/data", 0o600, "text"),
		tree.AddDir("/empty"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	got := write(t, tree)
	want := []string{
		`40755 copy ""`,
		`100600 copy/data "text"`,
		`40755 copy/of ""`,
		`40755 copy/of/usr ""`,
		`40755 copy/of/usr/bin ""`,
		`104755 copy/of/usr/bin/ash "shell" inode 6 of 4 names`,
		`104755 copy/of/usr/bin/dash "" inode 6 of 4 names`,
		`120777 copy/of/usr/bin/sh "` + root + `/etc/sh"`,
		`120777 copy/of/usr/bin/sh.real "dash"`,
		`40755 empty ""`,
	}
	if d := cmp.Diff(want, got[:len(want)]); d != "" {
		t.Error(d)
	}
	if all := strings.Join(below(got, root), "\n"); !strings.Contains(all, "usr/bin/other") {
		t.Errorf("got %s", all)
	}
}

func TestRefusals(t *testing.T) {
	root := host(t)
	in := func(name string) string { return filepath.Join(root, name) }
	for name, c := range map[string]struct {
		add  func(*Tree) error
		want string
	}{
		"missing":           {func(tree *Tree) error { return tree.AddHost(in("none")) }, "no such file"},
		"missing to be":     {func(tree *Tree) error { return tree.AddAs(in("none"), "/x") }, "no such file"},
		"dangling":          {func(tree *Tree) error { return tree.AddHost(in("dangling")) }, "nowhere: no such file"},
		"loop":              {func(tree *Tree) error { return tree.AddHost(in("loop")) }, "more than 40 symbolic links"},
		"special":           {func(tree *Tree) error { return tree.AddHost(in("etc")) }, "etc/fifo: it is neither a file, a directory nor a symbolic link"},
		"file as directory": {func(tree *Tree) error { return tree.AddHost(in("usr/bin/dash/x")) }, "usr/bin/dash is not a directory"},
		"twice": {func(tree *Tree) error {
			return errors.Join(tree.AddData("/x", 0o644, ""), tree.AddAs(in("usr/bin/dash"), "/x"))
		}, "pack /x: it is there already"},
	} {
		if err := c.add(NewTree()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestFilesThatChange(t *testing.T) {
	root := host(t)
	for content, fails := range map[string]bool{"shelf": false, "shell and more": false, "she": true} {
		tree := NewTree()
		name := filepath.Join(root, "usr/bin/dash")
		if err := tree.AddAs(name, "/sh"); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := tree.Write(&b); (err != nil) != fails || fails && !strings.Contains(err.Error(), "pack sh: ") {
			t.Errorf("%q instead of %q: %v", content, "shell", err)
		}
		if err := os.WriteFile(name, []byte("shell"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

func TestWriteReports(t *testing.T) {
	tree := NewTree()
	if err := tree.AddDir("/x"); err != nil {
		t.Fatal(err)
	}
	if err := tree.Write(full{}); !errors.Is(err, syscall.ENOSPC) {
		t.Error(err)
	}
	a := newc{w: &bytes.Buffer{}}
	if err := a.entry(header{name: "large", size: math.MaxUint32 + 1}, strings.NewReader("")); err == nil || !strings.Contains(err.Error(), "4 GiB") {
		t.Error(err)
	}
}
