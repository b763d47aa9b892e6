package sentinel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Raw reports whether the system wants a reboot, and since when: the time that the file was last written, by the clock of then. A system that wants a reboot again
// writes it again. An error says that nobody can tell. A directory that is not there is such an error, because where a mount is wrong nothing would ever be
// wanted; and so is everything at the path that is no file.
func Raw(path string) (since time.Time, wanted bool, err error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return time.Time{}, false, rawDirectory(path)
	case err != nil:
		return time.Time{}, false, fmt.Errorf("the raw sentinel: %w", err)
	case info.Mode().Type() == fs.ModeSymlink:
		if info, err = os.Stat(path); err != nil {
			return time.Time{}, false, fmt.Errorf("the raw sentinel is a symbolic link that leads nowhere from here, though perhaps on the host: %w", err)
		}
	}
	if !info.Mode().IsRegular() {
		return time.Time{}, false, fmt.Errorf("the raw sentinel %s is no file: %v; whoever mounts a path that is not there gets a directory", path, info.Mode())
	}
	return info.ModTime(), true, nil
}

// rawDirectory checks that a file is missing in a directory that is there.
func rawDirectory(path string) error {
	dir := filepath.Dir(path)
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		err = errors.New(dir + " is no directory")
	}
	if err != nil {
		return fmt.Errorf("the directory of the raw sentinel: %w; without it nobody can tell whether a reboot is wanted: mount that of the host", err)
	}
	return nil
}
