package sentinel

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestAllowAndRemove(t *testing.T) {
	f, path := open(t)
	dir := filepath.Dir(path)
	if f.Path() != path {
		t.Errorf("path %s", f.Path())
	}
	if err := f.Remove(); err != nil {
		t.Errorf("nothing to remove: %v", err)
	}
	allow(t, f)
	first, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil || bytes.Count(text, []byte("\n")) != 1 || !bytes.HasSuffix(text, []byte("}\n")) {
		t.Errorf("%q, %v", text, err)
	}
	allow(t, f)
	if second, err := os.Stat(path); err != nil || os.SameFile(first, second) {
		t.Errorf("renewed in place: %v", err)
	}
	only(t, dir, "gated")
	if err := f.Remove(); err != nil {
		t.Error(err)
	}
	only(t, dir)
}

// What a crash left is gone after a start, and the gated file is not.
func TestOpenAfterACrash(t *testing.T) {
	f, path := open(t)
	dir := filepath.Dir(path)
	allow(t, f)
	writeFile(t, filepath.Join(dir, newName), "half")
	writeFile(t, filepath.Join(dir, canaryName), "word")
	if _, err := Open(path, f.log); err != nil {
		t.Error(err)
	}
	only(t, dir, "gated")
}

// A link that somebody planted has us write nowhere else.
func TestPlantedLinks(t *testing.T) {
	for _, name := range []string{"gated", newName} {
		f, path := open(t)
		dir := filepath.Dir(path)
		victim := filepath.Join(t.TempDir(), "victim")
		writeFile(t, victim, "precious")
		link(t, victim, filepath.Join(dir, name))
		allow(t, f)
		if info, err := os.Lstat(path); err != nil || info.Mode().Type() != 0 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
		link(t, victim, filepath.Join(dir, canaryName))
		if err := f.Canary("/", dir); err != nil {
			t.Error(err)
		}
		if err := f.Remove(); err != nil {
			t.Error(err)
		}
		link(t, victim, path)
		if err := f.Remove(); err != nil {
			t.Error(err)
		}
		only(t, dir)
		if text, err := os.ReadFile(victim); string(text) != "precious" {
			t.Errorf("%s: the victim has %q, %v", name, text, err)
		}
	}
}

// kured takes a directory for a wish. One that is in the place is no grant, and goes.
func TestDirectoryInThePlace(t *testing.T) {
	var said book
	f, path := open(t)
	f.log = said.log()
	dir := filepath.Dir(path)
	mkdir(t, path)
	wantError(t, f.Allow(Grant{Node: "n"}, time.Minute), path)
	only(t, dir, "gated")
	if err := f.Remove(); err != nil {
		t.Error(err)
	}
	only(t, dir)
	mkdir(t, filepath.Join(path, "with"))
	wantError(t, f.Allow(Grant{Node: "n"}, time.Minute), path)
	if err := f.Remove(); err != nil {
		t.Error(err)
	}
	if there(path) {
		t.Error("it is still there")
	}
	aside, err := filepath.Glob(filepath.Join(dir, asideName+"*"))
	if err != nil || len(aside) != 1 || !there(filepath.Join(aside[0], "with")) || !strings.Contains(said.String(), aside[0]) {
		t.Errorf("put aside: %v, %v; logged %s", aside, err, &said)
	}
}

func TestMissingDirectory(t *testing.T) {
	f, path := open(t)
	if err := os.Remove(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	_, err := Open(path, f.log)
	wantError(t, err, "mount the host's directory")
	wantError(t, f.Allow(Grant{}, time.Minute), "mount the host's directory")
	wantError(t, f.Remove(), "mount the host's directory", "kured may reboot")
	// Mounted again, it can be used.
	mkdir(t, filepath.Dir(path))
	allow(t, f)
}

func TestAllowNeedsNoOldFile(t *testing.T) {
	f, path := open(t)
	if err := os.WriteFile(path, nil, fs.ModePerm); err != nil {
		t.Fatal(err)
	}
	allow(t, f)
	if _, err := Valid(path, now(t)); err != nil {
		t.Error(err)
	}
}
