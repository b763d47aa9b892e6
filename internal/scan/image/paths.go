package image

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// Paths says which paths may be opened, for references that come from somebody
// who could not read these files without us. What lies elsewhere is refused in
// the same words whether it is there or not.
type Paths struct {
	// Allowed are directories, absolute. A path must lie below one of them as it is
	// written, and also after its symbolic links are resolved; both are compared
	// with the directory as it is written and with what it resolves to.
	Allowed []string
}

// stat is os.Stat within what is allowed.
func (p *Paths) stat(path string) (fs.FileInfo, error) {
	if p == nil {
		return os.Stat(path)
	}
	root, rel, err := p.within(path)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return root.Stat(rel)
}

func (p *Paths) exists(path string) bool {
	if path == "" {
		return false
	}
	_, err := p.stat(path)
	return err == nil
}

// file opens a file for reading. O_NONBLOCK: opening a FIFO must not hang for ever.
func (p *Paths) file(path string) (*os.File, error) {
	if p == nil {
		return os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	}
	root, rel, err := p.within(path)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return root.OpenFile(rel, os.O_RDONLY|syscall.O_NONBLOCK, 0)
}

// dir opens a directory. What is opened below it cannot lie outside of it, whatever is renamed or linked meanwhile.
func (p *Paths) dir(path string) (*os.Root, error) {
	if p == nil {
		return os.OpenRoot(path)
	}
	root, rel, err := p.within(path)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return root.OpenRoot(rel)
}

// within finds the allowed directory that a path lies in, and the path's place
// there, without symbolic links. Opening it below the root keeps it there, also
// where a link took the place of a directory in the meantime.
func (p *Paths) within(path string) (*os.Root, string, error) {
	var resolved []string
	for _, dir := range p.Allowed {
		if real, err := filepath.EvalSymlinks(dir); err == nil { // it need not be there yet
			resolved = append(resolved, real)
		}
	}
	// A path that is elsewhere as it is written is not even looked at.
	clean := filepath.Clean(path)
	if !slices.ContainsFunc(slices.Concat(p.Allowed, resolved), func(dir string) bool { return isBelow(clean, dir) }) {
		return nil, "", refusePath(path)
	}
	real, err := filepath.EvalSymlinks(clean)
	if err != nil { // perhaps of a link that leads out: what is there is nobody's business
		return nil, "", refusePath(path)
	}
	for _, dir := range resolved {
		if !isBelow(real, dir) {
			continue
		}
		rel, err := filepath.Rel(dir, real)
		if err != nil {
			return nil, "", refusePath(path)
		}
		root, err := os.OpenRoot(dir)
		if err != nil {
			return nil, "", refusePath(path)
		}
		return root, rel, nil
	}
	return nil, "", refusePath(path)
}

func isBelow(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsAbs(path) && filepath.IsLocal(rel)
}

// refusePath says the same of a path that must not be opened and of one that is not there.
func refusePath(path string) error {
	if len(path) > 300 {
		path = path[:300] + "…"
	}
	return fmt.Errorf("%q is no file or directory below those that references may name: %w", path, ErrForbidden)
}
