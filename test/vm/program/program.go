// Package program says which files a program needs in order to run: its
// interpreter (the dynamic loader) and its shared libraries.
//
// Hazard: only what the loader loads at the start is found. What a program
// opens by itself (plug-ins, name services, other programs) is the caller's to know.
package program

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// ErrScript says that a file is no ELF program. The loader cannot say what it needs.
var ErrScript = errors.New("it is not an ELF program: pack it as a file, and its interpreter as a program")

// Files returns the absolute paths of what an ELF program needs, without the
// program itself: nothing where it is linked statically. It asks the program's own
// loader, which knows the search paths of this machine; nothing of the program is run.
func Files(path string) ([]string, error) {
	loader, err := interpreter(path)
	if err != nil || loader == "" {
		return nil, err
	}
	out, err := exec.Command(loader, "--list", path).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("list the libraries of %s: %w: %s", path, err, bytes.TrimSpace(out))
	}
	libraries, err := parseList(string(out))
	if err != nil {
		return nil, fmt.Errorf("list the libraries of %s: %w", path, err)
	}
	return append(libraries, loader), nil
}

// interpreter is the loader that the program names, or nothing.
func interpreter(path string) (string, error) {
	f, err := elf.Open(path)
	if format := (*elf.FormatError)(nil); errors.As(err, &format) {
		return "", fmt.Errorf("look at %s: %w", path, ErrScript)
	} else if err != nil {
		return "", fmt.Errorf("look at %s: %w", path, err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		name := make([]byte, p.Filesz)
		if _, err := p.ReadAt(name, 0); err != nil {
			return "", fmt.Errorf("look at %s: read the name of its loader: %w", path, err)
		}
		return strings.TrimRight(string(name), "\x00"), nil
	}
	return "", nil
}

// parseList finds the paths in what the loader prints, one library a line:
//
//	linux-vdso.so.1 (0x00007ffd5b5f2000)
//	libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f5b0a400000)
//	/lib64/ld-linux-x86-64.so.2 (0x00007f5b0a6d2000)
func parseList(text string) ([]string, error) {
	var found []string
	for line := range strings.Lines(text) {
		name, where, ok := strings.Cut(strings.TrimSpace(line), " => ")
		if !ok {
			name, where = "", name
		}
		if where == "not found" {
			return nil, fmt.Errorf("this machine has no %s", name)
		}
		if strings.HasPrefix(where, "/") {
			file, _, _ := strings.Cut(where, " (0x")
			found = append(found, file)
		}
	}
	return found, nil
}
