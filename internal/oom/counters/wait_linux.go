package counters

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// waiter waits for one of many descriptors, or to be woken. It holds up a thread while it does,
// and not through the poller of Go's runtime, which notices an event late while all
// processors are busy.
type waiter struct {
	fd     int // of an epoll instance
	wakeFD int
	events [256]unix.EpollEvent
	n      int // of events

	mu     sync.Mutex
	closed bool // then the number of wakeFD may be another's
}

func newWaiter() (*waiter, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make an epoll instance: %w", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make an eventfd: %w", err), unix.Close(fd))
	}
	w := &waiter{fd: fd, wakeFD: wake}
	if err := w.add(wake); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

// add makes the waiter wait for a descriptor, until that is closed. Any goroutine may call it.
func (w *waiter) add(fd int) error {
	e := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}
	if err := unix.EpollCtl(w.fd, unix.EPOLL_CTL_ADD, fd, &e); err != nil {
		return fmt.Errorf("wait for a descriptor: %w", err)
	}
	return nil
}

// until waits for a descriptor, or for that time. One goroutine may call it.
func (w *waiter) until(t time.Time) (err error) {
	w.n = 0
	// epoll_wait counts in milliseconds, which is too coarse to look closely.
	timeout := unix.NsecToTimespec(int64(max(time.Until(t), 0)))
	fds := [1]unix.PollFd{{Fd: int32(w.fd), Events: unix.POLLIN}}
	if _, err = unix.Ppoll(fds[:], &timeout, nil); err == nil {
		w.n, err = unix.EpollWait(w.fd, w.events[:], 0)
	}
	if err == unix.EINTR {
		w.n, err = 0, nil
	}
	return err
}

// descriptors calls each with those that were ready after until, but for its own.
func (w *waiter) descriptors(each func(fd int32)) {
	for _, e := range w.events[:w.n] {
		if e.Fd == int32(w.wakeFD) {
			drain(w.wakeFD)
			continue
		}
		each(e.Fd)
	}
	w.n = 0
}

// wake ends the wait that is under way, or the next one. Any goroutine may call it.
func (w *waiter) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		_, _ = unix.Write(w.wakeFD, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // full is as good
	}
}

func (w *waiter) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	unix.Close(w.wakeFD)
	unix.Close(w.fd)
}
