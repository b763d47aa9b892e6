package samples

import (
	"bytes"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// scratchBytes is the longest text read here: mountinfo of a container with many volumes, of which
// only the line of / is wanted. memory.stat has 2 KiB.
const scratchBytes = 16 << 10

// A descriptor of a file that is read again and again, or why there is none.
const (
	absent = -1 // the kernel has no such file
	reopen = -2 // it is opened for each look: there are too many to keep
)

// open opens a file to be kept open, or says why it is not.
func open(path string, keep bool) int32 {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		if err == unix.EMFILE || err == unix.ENFILE {
			return reopen
		}
		return absent
	}
	if !keep {
		unix.Close(fd)
		return reopen
	}
	return int32(fd)
}

// read reads a file from its beginning, by its descriptor, or by its path where that is not kept.
func read(fd int32, dir, name string, buf []byte) ([]byte, error) {
	switch fd {
	case absent:
		return nil, unix.ENOENT
	case reopen:
		return readPath(filepath.Join(dir, name), buf)
	}
	n, err := unix.Pread(int(fd), buf, 0)
	return buf[:max(n, 0)], err
}

// readList reads a file whose lines the kernel tells a page at a time, as much as buf holds.
func readList(fd int32, dir, name string, buf []byte) ([]byte, error) {
	b, err := read(fd, dir, name, buf)
	if fd < 0 || err != nil {
		return b, err
	}
	n := len(b)
	for last := n; last > listPage-listLine && n < len(buf); n += last {
		if last, err = unix.Pread(int(fd), buf[n:], int64(n)); err != nil {
			return nil, err
		}
	}
	return buf[:n], nil
}

// A part of a list that is shorter than a page by more than a line is the last.
const listPage, listLine = 4 << 10, 16

// readPath opens, reads and closes a file: at most as much as buf holds.
func readPath(path string, buf []byte) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	n := 0
	for n < len(buf) {
		m, err := unix.Read(fd, buf[n:])
		if err != nil {
			return nil, err
		}
		if m == 0 {
			break
		}
		n += m
	}
	return buf[:n], nil
}

// processPath is a file of a process.
func processPath(proc string, pid int32, file string) string {
	return proc + "/" + strconv.Itoa(int(pid)) + file
}

// eachPID calls do with every pid in the text of cgroup.procs. A 0 is a process that
// this PID namespace does not show.
func eachPID(text []byte, do func(int32)) {
	for l, rest, ok := line(text); ok; l, rest, ok = line(rest) {
		if pid := value(l); pid > 0 && pid <= maxPID {
			do(int32(pid))
		}
	}
}

// maxPID is the highest pid there can be (PID_MAX_LIMIT of 64-bit kernels).
const maxPID = 1 << 22

// readNumber reads a file with one number in it.
func readNumber(fd int32, dir, name string, buf []byte) int64 {
	b, err := read(fd, dir, name, buf)
	if err != nil {
		return unknown
	}
	return value(bytes.TrimSpace(b))
}
