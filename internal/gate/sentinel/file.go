package sentinel

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// File is the gated file. It is used by one goroutine at a time.
type File struct {
	dir, name string
	log       *slog.Logger
}

// Open gets ready to write the gated file at path: it removes what a crash left beside it, which also shows whether its directory can be written to. A file at path
// stays as it is.
func Open(path string, log *slog.Logger) (*File, error) {
	f := &File{dir: filepath.Dir(path), name: filepath.Base(path), log: log}
	err := f.in(func(dir *os.Root) error {
		return errors.Join(removeAny(dir, newName), removeAny(dir, canaryName))
	})
	if err != nil {
		return nil, fmt.Errorf("the directory of the gated sentinel: %w", err)
	}
	return f, nil
}

// Path is where the file is, as this process sees it.
func (f *File) Path() string { return filepath.Join(f.dir, f.name) }

// Allow makes the file or renews it: all at once, with a new inode. The grant holds for valid from now; its four times of renewal and end are set here. With an error the
// file is as it was before.
func (f *File) Allow(g Grant, valid time.Duration) error {
	now, err := Now()
	if err != nil {
		return fmt.Errorf("make the gated sentinel: %w", err)
	}
	g.RenewedAt = time.Now().Round(0)
	g.ValidUntil = g.RenewedAt.Add(valid)
	g.Renewed, g.Until = now, Instant{Boot: now.Boot, Uptime: now.Uptime + valid}
	text, err := json.Marshal(g)
	if err != nil {
		return fmt.Errorf("make the gated sentinel: %w", err)
	}
	err = f.in(func(dir *os.Root) error {
		err := write(dir, newName, append(text, '\n'))
		if err == nil {
			// This replaces a symbolic link and does not follow it. The directory is not synced: a power cut that undoes it leaves the gate shut.
			err = dir.Rename(newName, f.name)
		}
		if err != nil {
			_ = removeAny(dir, newName) // or the next time, or at the next start
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("make the gated sentinel %s: %w", f.Path(), err)
	}
	return nil
}

// Remove shuts the gate: after it nothing is at the path. What cannot be removed is renamed, which helps where it is a directory with something in it, and is logged. An error says
// that kured may still see the file, or that nobody can tell.
func (f *File) Remove() error {
	err := f.in(func(dir *os.Root) error {
		err := removeAny(dir, f.name)
		if err != nil {
			aside := asideName + time.Now().UTC().Format("20060102T150405.000000000")
			if dir.Rename(f.name, aside) != nil {
				return err
			}
			f.log.Warn("the gated sentinel could not be removed, and was renamed: look at what it is", "path", f.Path(), "now", filepath.Join(f.dir, aside), "why", err)
		}
		if _, err := dir.Lstat(f.name); err == nil {
			return errors.New("it is there again: somebody else makes it")
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("remove the gated sentinel %s, by which kured may reboot this node: %w", f.Path(), err)
	}
	return nil
}

// in calls fn with the directory as it is now, and adds advice to its error. It is opened each time, so that one that was mounted anew is found.
func (f *File) in(fn func(dir *os.Root) error) error {
	dir, err := os.OpenRoot(f.dir)
	if err != nil {
		return advise(err)
	}
	defer dir.Close()
	if err := fn(dir); err != nil {
		return advise(err)
	}
	return nil
}

// write makes a file that is wholly on disk. It takes none that is there already, so that nobody can have us write elsewhere.
func write(dir *os.Root, name string, text []byte) error {
	if err := removeAny(dir, name); err != nil {
		return err
	}
	out, err := dir.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o644)
	if err != nil {
		return err
	}
	_, err = out.Write(text)
	return errors.Join(err, out.Sync(), out.Close())
}

// removeAny removes a file, a link, or an empty directory, if there is one.
func removeAny(dir *os.Root, name string) error {
	if err := dir.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
