package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"stella/test/vm/guest"
	"stella/test/vm/initramfs"
	"stella/test/vm/kernel"
	"stella/test/vm/program"
)

const (
	// maxPackage bounds the current directory in bytes: a package with its testdata, not somebody's home.
	maxPackage = 64 << 20
	// spareMemory in MiB is for the kernel and the program, beside the files.
	spareMemory = 128
)

// basics are programs that any test may start.
var basics = []string{"cat", "sh", "sleep", "true"}

// passed are variables that the program gets from here; a * stands for any end.
var passed = []string{"STELLA_*", "GODEBUG", "GOTRACEBACK"}

// guestEnv are variables that are right in the guest.
var guestEnv = []string{
	"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	"HOME=/root", "USER=root", "TMPDIR=/tmp",
}

// configuration is what name lookups in the C library and in Go read.
var configuration = map[string]string{
	"/etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
	"/etc/group":  "root:x:0:\nnogroup:x:65534:\n",
	"/etc/hosts":  "127.0.0.1 localhost vm\n::1 localhost\n",
}

// pack writes the guest's files.
func pack(w io.Writer, o options, k *kernel.Kernel) error {
	t := initramfs.NewTree()
	plan, err := plan(t, o, k)
	if err != nil {
		return err
	}
	text, err := json.Marshal(plan)
	if err != nil {
		return err
	}
	if err := t.AddData(guest.PlanPath, 0o644, string(text)); err != nil {
		return err
	}
	// While the kernel unpacks it has the files twice; later they can be half of the memory.
	files := int(t.Size() >> 20)
	if need := 2*files + spareMemory; need > o.memory {
		return fmt.Errorf("the guest's files have %d MiB, and unpacking them needs twice as much: run it with -memory %d or more", files, need)
	}
	buffered := bufio.NewWriterSize(w, 1<<20)
	if err := t.Write(buffered); err != nil {
		return err
	}
	return buffered.Flush()
}

// plan puts into the tree whatever the program needs, and returns what to run.
func plan(t *initramfs.Tree, o options, k *kernel.Kernel) (guest.Plan, error) {
	p := guest.Plan{Args: slices.Clone(o.args), Env: environment(os.Environ())}
	own, err := os.Executable()
	if err != nil {
		return p, err
	}
	if err := t.AddAs(own, guest.InitPath); err != nil {
		return p, err
	}
	for _, name := range append(slices.Clone(basics), o.programs...) {
		if _, err := addProgram(t, name); err != nil {
			return p, err
		}
	}
	if p.Args[0], err = addProgram(t, o.args[0]); err != nil {
		return p, err
	}
	if p.Dir, err = addPackage(t); err != nil {
		return p, err
	}
	for _, file := range o.files {
		if err := addFile(t, file); err != nil {
			return p, err
		}
	}
	for name, content := range configuration {
		if err := t.AddData(name, 0o644, content); err != nil {
			return p, err
		}
	}
	p.Modules, err = addModules(t, k, o.modules)
	return p, err
}

// addProgram adds a program, by name or path, with its libraries. It returns its path.
func addProgram(t *initramfs.Tree, name string) (string, error) {
	found, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("find a program for the guest: %w", err)
	}
	if found, err = filepath.Abs(found); err != nil {
		return "", err
	}
	files, err := program.Files(found)
	if err != nil {
		return "", err
	}
	for _, file := range append(files, found) {
		if err := t.AddHost(file); err != nil {
			return "", err
		}
	}
	return found, nil
}

// addPackage adds the current directory, which is that of the package in go test.
func addPackage(t *initramfs.Tree) (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	before := t.Size()
	if err := t.AddHost(dir); err != nil {
		return "", err
	}
	if size := t.Size() - before; size > maxPackage {
		return "", fmt.Errorf("the current directory %s has %d MiB; at most %d MiB go into the guest: run vm in the directory of a package, and give large files by -file",
			dir, size>>20, maxPackage>>20)
	}
	return dir, nil
}

// addFile adds HOST, or HOST:GUEST.
func addFile(t *initramfs.Tree, text string) error {
	host, guestPath, renamed := strings.Cut(text, ":")
	host, err := filepath.Abs(host)
	if err != nil {
		return err
	}
	if !renamed {
		return t.AddHost(host)
	}
	if !path.IsAbs(guestPath) {
		return fmt.Errorf("-file %s: the path in the guest must be absolute", text)
	}
	return t.AddAs(host, guestPath)
}

// addModules adds the files of kernel modules and returns their paths in the guest.
func addModules(t *initramfs.Tree, k *kernel.Kernel, names []string) ([]string, error) {
	files, err := k.Modules(names...)
	if err != nil {
		return nil, err
	}
	for i, file := range files {
		files[i] = path.Join(guest.ModulesDir, filepath.Base(file))
		if err := t.AddAs(file, files[i]); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// environment is what the program gets of these variables, and what is right in the guest.
func environment(all []string) []string {
	kept := slices.Clone(guestEnv)
	for _, variable := range all {
		name, _, _ := strings.Cut(variable, "=")
		if slices.ContainsFunc(passed, func(p string) bool {
			prefix, open := strings.CutSuffix(p, "*")
			return name == p || open && strings.HasPrefix(name, prefix)
		}) {
			kept = append(kept, variable)
		}
	}
	return kept
}
