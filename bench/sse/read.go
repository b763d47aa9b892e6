package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// marker begins the time in each line, and is nowhere else.
const marker = '~'

// readers is what the clients saw. Times are in milliseconds, from when a line was written until it was read.
type readers struct {
	Lines, Want   int64
	P50, P99, Max float64
}

// read is the clients: good ones, and some that never read. It says "ready" when all have asked, and what it saw when all lines
// were read or the time is over; then it stays until it is killed. One goroutine reads all connections (epoll(7)), so that the clients take little of the machine.
func read(args []string) error {
	address := args[0]
	var n [3]int
	for i := range n {
		n[i], _ = strconv.Atoi(args[1+i])
	}
	good, never, lines := n[0], n[1], n[2]
	limit, err := time.ParseDuration(args[4])
	if err != nil {
		return err
	}
	poll, err := unix.EpollCreate1(0)
	if err != nil {
		return err
	}
	c := &crowd{poll: poll, buf: make([]byte, 256<<10), want: int64(lines)}
	for i := range good + never {
		window := 0
		if i >= good || lines == 0 {
			window = 4 << 10
		}
		if err := c.connect(address, i >= good, window); err != nil {
			return fmt.Errorf("client %d: %w", i, err)
		}
	}
	fmt.Println("ready")
	if lines == 0 {
		select {} // until it is stopped
	}
	if err := c.read(good, time.Now().Add(limit)); err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(c.result(good)); err != nil {
		return err
	}
	select {} // with all connections, so that who is reaped is reaped by the server
}

// crowd is all clients.
type crowd struct {
	poll  int
	buf   []byte
	keep  []net.Conn
	want  int64
	lines int64
	got   [1 << 16]int64 // by descriptor
	done  int
	// delays counts lines by their delay in milliseconds.
	delays [60_000]int64
	max    time.Duration
}

// connect connects a client, whose kernel takes no more than a window of so many bytes for it, where that is not 0: else it would take
// all that 10,000 clients are sent here.
func (c *crowd) connect(address string, never bool, window int) error {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	c.keep = append(c.keep, conn)
	if window > 0 {
		if err := conn.(*net.TCPConn).SetReadBuffer(window); err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintf(conn, "GET /events?stream=x HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n"); err != nil {
		return err
	}
	f, err := conn.(*net.TCPConn).File() // which Go's own poller does not know
	if err != nil {
		return err
	}
	conn.Close()
	fd := int(f.Fd())
	files = append(files, f)
	if never {
		return nil
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return err
	}
	return unix.EpollCtl(c.poll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
}

// files are kept open.
var files []*os.File

func (c *crowd) read(good int, until time.Time) error {
	events := make([]unix.EpollEvent, 512)
	for c.done < good {
		wait := time.Until(until)
		if wait <= 0 {
			return nil
		}
		n, err := unix.EpollWait(c.poll, events, int(wait.Milliseconds())+1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		for _, e := range events[:max(n, 0)] {
			c.take(int(e.Fd))
		}
	}
	return nil
}

// take reads one connection once.
func (c *crowd) take(fd int) {
	n, err := unix.Read(fd, c.buf)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return
	}
	if n <= 0 {
		_ = unix.EpollCtl(c.poll, unix.EPOLL_CTL_DEL, fd, nil)
		if c.got[fd] < c.want {
			c.done++
		}
		return
	}
	c.count(fd, c.buf[:n], time.Now())
}

// count notes the lines in what was read. How late they are is looked up of the first and the last, and each stands
// for half of them: so that the first, which is the latest, is not lost among many.
func (c *crowd) count(fd int, b []byte, now time.Time) {
	lines := int64(bytes.Count(b, []byte{marker}))
	if lines == 0 {
		return
	}
	before := c.got[fd]
	c.got[fd] += lines
	c.lines += lines
	if before < c.want && c.got[fd] >= c.want {
		c.done++
	}
	c.late(b[bytes.IndexByte(b, marker)+1:], lines-lines/2, now)
	c.late(b[bytes.LastIndexByte(b, marker)+1:], lines/2, now)
}

func (c *crowd) late(b []byte, weight int64, now time.Time) {
	const digits = 19 // of nanoseconds since 1970
	if len(b) < digits {
		return // the rest comes with the next read
	}
	written, err := strconv.ParseInt(string(b[:digits]), 10, 64)
	if err != nil {
		return
	}
	late := max(now.Sub(time.Unix(0, written)), 0)
	c.max = max(c.max, late)
	c.delays[min(int(late/time.Millisecond), len(c.delays)-1)] += weight
}

func (c *crowd) result(good int) readers {
	r := readers{Lines: c.lines, Want: c.want * int64(good), Max: float64(c.max) / 1e6}
	var all, sum int64
	for _, n := range c.delays {
		all += n
	}
	for ms, n := range c.delays {
		if sum < all/2 && sum+n >= all/2 {
			r.P50 = float64(ms)
		}
		if sum < all*99/100 && sum+n >= all*99/100 {
			r.P99 = float64(ms)
		}
		sum += n
	}
	return r
}
