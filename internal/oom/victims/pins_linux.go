package victims

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	defaultDir = "/sys/fs/bpf"
	// pinsPrefix begins the name of the directory with the pins, and a version follows.
	pinsPrefix = "stella-victims-v"
	// pinsName changes with the layout of a note and with what the programs do: an agent takes over what has its own name.
	pinsName = pinsPrefix + "1"
	// lockPatience is how long another agent may take to start; it takes less than a second.
	lockPatience = 10 * time.Second
	lockPause    = 10 * time.Millisecond
)

// mount makes dir a bpffs, if it is an empty directory.
func mount(dir string, log *slog.Logger) error {
	if is, err := isBPFFS(dir); err != nil {
		return missing("there is no directory for bpffs, the file system that holds what outlives the agent", err)
	} else if is {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return missing("no bpffs is mounted", err)
	}
	if len(entries) > 0 {
		return missing("no bpffs is mounted", fmt.Errorf("%s is no bpffs, and has files in it", dir))
	}
	if err := unix.Mount("bpf", dir, "bpf", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0700"); err != nil {
		return missing("no bpffs is mounted, and this process cannot mount one (CAP_SYS_ADMIN)", &fs.PathError{Op: "mount bpffs", Path: dir, Err: err})
	}
	log.Info("mounted bpffs", "dir", dir)
	return nil
}

func isBPFFS(dir string) (bool, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return false, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return s.Type == unix.BPF_FS_MAGIC, nil
}

// lock makes a directory of pins if there is none, and holds it until release: one agent at a time looks
// whether it is whole, or removes it.
func lock(pins string) (release func(), err error) {
	for deadline := time.Now().Add(lockPatience); ; time.Sleep(lockPause) {
		if err := os.Mkdir(pins, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		release, err = tryLock(pins)
		if err == nil {
			return release, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("%w; another agent has held it for %v", err, lockPatience)
		}
	}
}

// tryLock locks a directory, if it is still the one of that name then.
func tryLock(pins string) (release func(), err error) {
	f, err := os.Open(pins)
	if err != nil {
		return nil, err
	}
	release = func() { _ = f.Close() } // which unlocks it
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		release()
		return nil, &fs.PathError{Op: "lock", Path: pins, Err: err}
	}
	mine, err := f.Stat()
	if err == nil {
		var now fs.FileInfo
		if now, err = os.Stat(pins); err == nil && !os.SameFile(mine, now) {
			err = &fs.PathError{Op: "lock", Path: pins, Err: fs.ErrNotExist}
		}
	}
	if err != nil {
		release()
		return nil, err
	}
	return release, nil
}

// pinsOf are the directories of pins in a bpffs, of all versions.
func pinsOf(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, e := range entries {
		if e.IsDir() && strings.HasPrefix(e.Name(), pinsPrefix) {
			all = append(all, filepath.Join(dir, e.Name()))
		}
	}
	return all, nil
}

// removePins takes one version out of the kernel.
func removePins(pins string) error {
	release, err := lock(pins)
	if err != nil {
		return err
	}
	defer release()
	if err := empty(pins); err != nil {
		return err
	}
	return os.Remove(pins)
}

// empty removes the pins. What they hold ends when no process has it open.
func empty(pins string) error {
	entries, err := os.ReadDir(pins)
	for _, e := range entries {
		err = errors.Join(err, os.Remove(filepath.Join(pins, e.Name())))
	}
	return err
}
