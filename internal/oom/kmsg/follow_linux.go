package kmsg

import (
	"context"
	"errors"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"stella/internal/oom"
)

// Follow reads the kernel log until ctx ends, and then returns nil. It calls report as soon as the kernel
// says that it kills a process (see [Reports.Line] for what is told of again), lost for records that were overwritten
// before they could be read, and position with the number of the last record that was handled: when the
// backlog has been read, and then at most once a second if there was one. All are called from one goroutine, in
// the order of the log; while one runs nothing is read.
//
// Where the log cannot be read the error is an [UnavailableError]. Nothing that is in the log ends it.
func Follow(ctx context.Context, o Options, report func(oom.Report), lost func(oom.Lost), position func(uint64)) error {
	if o.Path == "" {
		o.Path = "/dev/kmsg"
	}
	// A file that does not block waits in the runtime's poller, where Close interrupts it.
	file, err := os.OpenFile(o.Path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return &UnavailableError{o.Path, err}
	}
	defer file.Close()
	conn, err := file.SyscallConn()
	if err != nil {
		return &UnavailableError{o.Path, err}
	}
	stop := context.AfterFunc(ctx, func() { file.Close() })
	defer stop()
	f := newFollower(o, report, lost, position)
	s := &source{file: file, conn: conn, buffer: make([]byte, maxRecord), idle: f.idle}
	for {
		n, err := s.read()
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			f.record(s.buffer[:n], s.waited)
			f.busy()
		case errors.Is(err, unix.EPIPE), errors.Is(err, unix.EINVAL), errors.Is(err, unix.EINTR):
			// Overrun: the next read is of the oldest record that is left. Or a record longer than the
			// buffer, which is passed over. Both show as a gap in the numbers.
		default:
			return &UnavailableError{o.Path, err}
		}
	}
}

// source reads records, one at a time.
type source struct {
	file   *os.File
	conn   syscall.RawConn
	buffer []byte
	// idle is called when there is no record. It says after what time it is to be called again; 0 is not
	// before the next record.
	idle   func() time.Duration
	waited bool // whether the last record was waited for
}

// read waits for the next record.
func (s *source) read() (n int, err error) {
	s.waited = false
	for {
		var failed error
		err = s.conn.Read(func(fd uintptr) (done bool) {
			n, failed = unix.Read(int(fd), s.buffer)
			if !errors.Is(failed, unix.EAGAIN) {
				return true
			}
			s.waited = true
			if wait := s.idle(); wait > 0 {
				failed = s.file.SetReadDeadline(time.Now().Add(wait))
				return failed != nil
			}
			return false
		})
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			err = s.file.SetReadDeadline(time.Time{})
		case err == nil && failed == nil && n == 0:
			return 0, io.ErrUnexpectedEOF // no kernel log ends
		case err == nil:
			return n, failed
		}
		if err != nil {
			return 0, err
		}
	}
}

// machineClock is the machine's. The time since boot is without the time that it was suspended, as in the kernel log.
func machineClock() (time.Time, time.Duration) {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic("no monotonic clock: " + err.Error()) // clock_gettime(2): every Linux has it
	}
	return time.Now().Round(0).UTC(), time.Duration(t.Nano())
}
