package kernel

import (
	"bufio"
	"bytes"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxInfo bounds the .modinfo section of a module in bytes. The largest are lists
// of device aliases, some 100 KiB.
const maxInfo = 1 << 20

// Modules returns the files of these modules and of all that they depend on, each
// after what it depends on. What is built into the kernel needs no file.
func (k *Kernel) Modules(names ...string) ([]string, error) {
	if len(names) == 0 {
		return nil, nil
	}
	r := resolver{files: map[string]string{}, done: map[string]bool{}}
	if err := r.index(k.root); err != nil {
		return nil, fmt.Errorf("list the kernel's modules: %w", err)
	}
	for _, name := range names {
		if err := r.add(name); err != nil {
			return nil, err
		}
	}
	return r.order, nil
}

// resolver puts modules in order.
type resolver struct {
	files map[string]string // by name; empty where the module is built in
	done  map[string]bool
	order []string
}

// index finds all modules below dir.
func (r *resolver) index(dir string) error {
	return filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.Name() == "modules.builtin":
			return r.indexBuiltIn(name)
		case filepath.Ext(name) == ".ko":
			r.files[moduleName(name)] = name
		}
		return nil
	})
}

// indexBuiltIn reads modules.builtin: one path like kernel/fs/ext4/ext4.ko a line.
func (r *resolver) indexBuiltIn(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	for s.Scan() {
		r.files[moduleName(s.Text())] = ""
	}
	return s.Err()
}

// moduleName is the name of a module as the kernel spells it: its file name can have dashes.
func moduleName(file string) string {
	return strings.ReplaceAll(strings.TrimSuffix(filepath.Base(file), ".ko"), "-", "_")
}

func (r *resolver) add(name string) error {
	name = moduleName(name)
	if r.done[name] {
		return nil
	}
	r.done[name] = true
	file, ok := r.files[name]
	if !ok {
		return fmt.Errorf("the kernel has no module %s", name)
	}
	if file == "" {
		return nil
	}
	needs, err := dependencies(file)
	if err != nil {
		return fmt.Errorf("read what module %s depends on: %w", name, err)
	}
	for _, need := range needs {
		if err := r.add(need); err != nil {
			return fmt.Errorf("%w, which %s depends on", err, name)
		}
	}
	r.order = append(r.order, file)
	return nil
}

// dependencies reads the names from a module file.
func dependencies(file string) ([]string, error) {
	f, err := elf.Open(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	defer f.Close()
	section := f.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("%s has no section .modinfo", file)
	}
	if section.Size > maxInfo {
		return nil, fmt.Errorf("section .modinfo of %s has %d bytes; at most %d are read", file, section.Size, maxInfo)
	}
	info, err := section.Data()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return parseDepends(info), nil
}

// parseDepends finds "depends=a,b" among the "key=value" strings of a .modinfo
// section, each of which ends with a zero byte.
func parseDepends(info []byte) []string {
	var names []string
	for field := range bytes.SplitSeq(info, []byte{0}) {
		list, ok := bytes.CutPrefix(field, []byte("depends="))
		if !ok {
			continue
		}
		for name := range strings.SplitSeq(string(list), ",") {
			if name != "" {
				names = append(names, name)
			}
		}
	}
	return names
}
