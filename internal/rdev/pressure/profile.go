package pressure

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"time"
)

const (
	// profileEvery is the least time between two profiles.
	profileEvery = time.Minute
	// maxProfiles is how many are kept, and maxProfile the most bytes of one: some 100 KiB as a rule.
	maxProfiles = 10
	maxProfile  = 8 << 20
	// profileNames fits those of profiles, and of ones that were not finished.
	profileNames = "heap-*.pb.gz*"
)

// profiles are the heap profiles in a directory. One goroutine uses it at a time.
type profiles struct {
	dir  string
	last time.Time
}

// open makes the directory, and finds out when the last profile was written, so that a process that is killed again and
// again does not write one each time.
func (p *profiles) open() error {
	if p.dir == "" {
		return nil
	}
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return fmt.Errorf("directory for heap profiles: %w", err)
	}
	names, err := p.names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if info, err := os.Stat(name); err == nil && info.ModTime().After(p.last) && !info.ModTime().After(time.Now()) {
			p.last = info.ModTime()
		}
	}
	return nil
}

// names are the profiles, the oldest first: their names have the time.
func (p *profiles) names() ([]string, error) {
	names, err := filepath.Glob(filepath.Join(p.dir, profileNames))
	slices.Sort(names)
	return names, err
}

// write writes a profile, unless there was one just before, and returns its name.
func (p *profiles) write(s State) (name string, err error) {
	if p.dir == "" || s.At.Sub(p.last) < profileEvery {
		return "", nil
	}
	p.last = s.At // also where it fails, so that a full disk is not tried all the time
	if err := p.makeRoom(); err != nil {
		return "", err
	}
	name = filepath.Join(p.dir, fmt.Sprintf("heap-%s-%d.pb.gz", s.At.UTC().Format("20060102T150405Z"), s.Fullest.Percent()))
	part := name + ".part"
	f, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return "", fmt.Errorf("heap profile: %w", err)
	}
	err = errors.Join(pprof.Lookup("heap").WriteTo(&limited{f, maxProfile}, 0), f.Close())
	if err == nil {
		err = os.Rename(part, name)
	}
	if err != nil {
		return "", errors.Join(fmt.Errorf("heap profile: %w", err), os.Remove(part))
	}
	return name, nil
}

// makeRoom removes the oldest, so that there is room for one.
func (p *profiles) makeRoom() error {
	names, err := p.names()
	if err != nil {
		return err
	}
	for _, name := range names[:max(len(names)-maxProfiles+1, 0)] {
		if err := os.Remove(name); err != nil {
			return fmt.Errorf("old heap profile: %w", err)
		}
	}
	return nil
}

// limited is a writer that fails rather than write more than left bytes.
type limited struct {
	io.Writer
	left int
}

// Write writes, or fails.
func (l *limited) Write(b []byte) (int, error) {
	if l.left -= len(b); l.left < 0 {
		return 0, fmt.Errorf("it is longer than %d bytes", maxProfile)
	}
	return l.Writer.Write(b)
}
