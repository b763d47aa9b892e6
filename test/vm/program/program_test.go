package program

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseList(t *testing.T) {
	for text, want := range map[string][]string{
		"": nil,
		"\tlinux-vdso.so.1 (0x00007ffd5b5f2000)\n" +
			"\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f5b0a400000)\n" +
			"\tlib with space.so => /opt/a (b)/lib with space.so (0x00007f5b0a400000)\n" +
			"\t/lib64/ld-linux-x86-64.so.2 (0x00007f5b0a6d2000)\n": {
			"/lib/x86_64-linux-gnu/libc.so.6", "/opt/a (b)/lib with space.so", "/lib64/ld-linux-x86-64.so.2",
		},
	} {
		got, err := parseList(text)
		if d := cmp.Diff(want, got); err != nil || d != "" {
			t.Errorf("%v\n%s", err, d)
		}
	}
	if _, err := parseList("\tlibgone.so.1 => not found\n"); err == nil || !strings.Contains(err.Error(), "no libgone.so.1") {
		t.Error(err)
	}
}

// The C library and a loader are the least that a linked program has.
func TestFilesOfAProgram(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip(err)
	}
	files, err := Files(sh)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"libc.so", "/ld-"} {
		if !slices.ContainsFunc(files, func(f string) bool { return strings.Contains(f, want) }) {
			t.Skipf("%s needs %q: it is not linked as on Debian", sh, files)
		}
	}
	for _, file := range files {
		if _, err := os.Stat(file); err != nil {
			t.Error(err)
		}
	}
}

func TestFilesOfAStaticProgram(t *testing.T) {
	dir := t.TempDir()
	source := filepath.Join(dir, "main.go")
	if err := os.WriteFile(source, []byte("package main\nfunc main() {}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "build", "-o", filepath.Join(dir, "main"), source)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if files, err := Files(filepath.Join(dir, "main")); err != nil || len(files) > 0 {
		t.Errorf("%q, %v; want nothing", files, err)
	}
	if _, err := Files(source); !errors.Is(err, ErrScript) {
		t.Errorf("a text: %v", err)
	}
	if _, err := Files(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("nothing: %v", err)
	}
}
