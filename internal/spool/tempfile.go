package spool

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// InMemory is given instead of a directory where temporary files are to be memory
// of this process: its cgroup is charged for every byte, and no disk is written.
const InMemory = "(memory)"

// TempFile opens a file in dir that has no name, so that nothing is left when
// the process is killed. Filesystems without O_TMPFILE get a name for a moment.
func TempFile(dir string) (*os.File, error) {
	if dir == InMemory {
		return memoryFile()
	}
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err == nil {
		return os.NewFile(uintptr(fd), dir+"/(spooled)"), nil
	}
	if !errors.Is(err, syscall.EOPNOTSUPP) && !errors.Is(err, syscall.EISDIR) && !errors.Is(err, syscall.ENOENT) {
		return nil, &os.PathError{Op: "create a temporary file in", Path: dir, Err: err}
	}
	f, err := os.CreateTemp(dir, ".stella-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// memoryFile is a file that never was on a filesystem.
func memoryFile() (*os.File, error) {
	// Linux 6.3 wants to be told that nobody will execute it; older kernels do not know the flag.
	fd, err := unix.MemfdCreate("stella", unix.MFD_CLOEXEC|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, syscall.EINVAL) {
		fd, err = unix.MemfdCreate("stella", unix.MFD_CLOEXEC)
	}
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	return os.NewFile(uintptr(fd), InMemory), nil
}

// OnMemory reports whether dir is [InMemory] or on a filesystem whose files are memory (tmpfs, ramfs), so that
// spooling there would count against the memory limit of the process's cgroup.
func OnMemory(dir string) (bool, error) {
	if dir == InMemory {
		return true, nil
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return false, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return st.Type == unix.TMPFS_MAGIC || st.Type == unix.RAMFS_MAGIC, nil
}
