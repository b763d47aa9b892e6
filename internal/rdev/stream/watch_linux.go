package stream

import (
	"fmt"
	"os"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// watcher says which connections' clients left, without a goroutine for each: one for all waits for an
// epoll(7) instance.
type watcher struct {
	file   *os.File
	raw    syscall.RawConn
	closed atomic.Bool
}

func newWatcher() (*watcher, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // so that os.File can wait for it
		unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	w := &watcher{file: os.NewFile(uintptr(fd), "epoll")}
	if w.raw, err = w.file.SyscallConn(); err != nil {
		w.file.Close()
		return nil, err
	}
	return w, nil
}

// add watches a connection until it is closed. What happened before is told too.
func (w *watcher) add(c syscall.RawConn, id uint64) error {
	event := unix.EpollEvent{Events: unix.EPOLLRDHUP | unix.EPOLLET&0xffffffff, Fd: int32(uint32(id)), Pad: int32(uint32(id >> 32))}
	return control(c, func(fd int) error {
		return control(w.raw, func(epoll int) error {
			return os.NewSyscallError("epoll_ctl", unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, fd, &event))
		})
	})
}

// run calls left with the id of each connection whose client closed its end, or which is broken, until close.
func (w *watcher) run(left func(id uint64)) error {
	events := make([]unix.EpollEvent, 128)
	for {
		var n int
		var err error
		if e := w.raw.Read(func(fd uintptr) bool {
			n, err = unix.EpollWait(int(fd), events, 0)
			return n != 0 && err != unix.EINTR
		}); w.closed.Load() { // of which the error is one of a package that is internal to Go
			return nil
		} else if e != nil {
			return e
		}
		if err != nil {
			return fmt.Errorf("epoll_wait: %w", err)
		}
		for _, e := range events[:n] {
			left(uint64(uint32(e.Fd)) | uint64(uint32(e.Pad))<<32)
		}
	}
}

func (w *watcher) close() error {
	w.closed.Store(true)
	return w.file.Close()
}
