package counters

import (
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The files that are read of a cgroup.
const (
	fileV1       = "memory.oom_control"
	fileAll      = "memory.events"
	fileOwn      = "memory.events.local" // since Linux 5.2
	fileProcs    = "cgroup.procs"
	fileLimitV1  = "memory.limit_in_bytes"
	fileLimitV2  = "memory.max"
	fileRegister = "cgroup.event_control"
)

// reader reads small files without allocating: the next read overwrites what the one before gave.
type reader struct {
	path []byte
	buf  [32 << 10]byte // 4,000 pids; vmstat has 6 KiB
	stat unix.Stat_t
}

// open opens dir/name. The path is put together in a buffer, because a round opens a
// thousand files.
func (r *reader) open(dir, name string, flags int) (int, error) {
	r.path = append(append(append(append(r.path[:0], dir...), '/'), name...), 0)
	at := unix.AT_FDCWD
	for {
		fd, _, errno := unix.Syscall6(unix.SYS_OPENAT, uintptr(at), uintptr(unsafe.Pointer(&r.path[0])), uintptr(flags|unix.O_CLOEXEC), 0, 0, 0)
		switch errno {
		case 0:
			return int(fd), nil
		case unix.EINTR:
			continue
		}
		return -1, errno
	}
}

// read returns the text of dir/name, or the first 32 KiB of it.
func (r *reader) read(dir, name string) ([]byte, error) {
	fd, err := r.open(dir, name, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	return r.readAll(fd)
}

// identify is read, which also returns the inode of the file.
func (r *reader) identify(dir, name string) ([]byte, uint64, error) {
	fd, err := r.open(dir, name, unix.O_RDONLY)
	if err != nil {
		return nil, 0, err
	}
	defer unix.Close(fd)
	if err := unix.Fstat(fd, &r.stat); err != nil {
		return nil, 0, err
	}
	text, err := r.readAll(fd)
	return text, r.stat.Ino, err
}

// readAll returns the text of an open file from its beginning.
func (r *reader) readAll(fd int) ([]byte, error) {
	n := 0
	for n < len(r.buf) {
		m, err := unix.Pread(fd, r.buf[n:], int64(n))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if m <= 0 {
			break
		}
		n += m
	}
	return r.buf[:n], nil
}

// removed reports whether an error says that a cgroup, or a process, is gone: by its path, or
// while it was open.
func removed(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ESRCH)
}
