package stream

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// direct is a subscriber whose connection was taken over. It is owned by a lane, or by a goroutine of
// its own, one at a time; the others may only end it.
type direct struct {
	*connection
	conn  net.Conn // as the listener gave it: to be closed
	below net.Conn // what it has below
	raw   syscall.RawConn

	place  place
	wrote  time.Time // when the client last took something
	closed atomic.Bool
	linger atomic.Pointer[time.Timer] // what closes it at the latest, once it was told all
}

// took notes that so much of a page was sent.
func (d *direct) took(p *page, n int) {
	var records int
	d.place, records = p.advance(d.place, n)
	d.lines.Add(int64(records))
	d.hub.stats.bytes.Add(int64(n))
	d.wrote = time.Now()
}

// direct takes the connection of a request over, unless it cannot be written to as it is.
func (h *Hub) direct(w http.ResponseWriter, r *http.Request, c *connection, after uint64) bool {
	if r.TLS != nil || r.ProtoMajor != 1 {
		return false
	}
	h.served.Add(1) // this is one as well: it may start a goroutine
	defer h.served.Done()
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return false
	}
	d := &direct{connection: c, conn: conn, below: bottom(conn), place: place{cursor: after}, wrote: time.Now()}
	if err := d.prepare(); err != nil {
		h.o.Log.Error("cannot take a connection over", "err", err)
		conn.Close()
		h.release(c)
		return true
	}
	h.open(c, d) // before the client hears of it
	if err := d.begin(w.Header()); err != nil {
		d.end(lost(err))
		return true
	}
	if err := h.watch.add(d.raw, d.id); err != nil && !errors.Is(err, net.ErrClosed) {
		h.o.Log.Error("cannot watch a connection: that its client leaves is noticed only by writing", "err", err)
	}
	d.feed.join(d)
	return true
}

// bottom is the connection that has a descriptor, below what listeners put around it.
func bottom(conn net.Conn) net.Conn {
	for {
		w, ok := conn.(interface{ NetConn() net.Conn })
		if _, encrypted := conn.(*tls.Conn); !ok || encrypted {
			return conn
		}
		conn = w.NetConn()
	}
}

// prepare bounds what the kernel keeps for the client, and for how long.
func (d *direct) prepare() error {
	s, ok := d.below.(syscall.Conn)
	if !ok {
		return fmt.Errorf("a connection of type %T has no descriptor", d.below)
	}
	var err error
	if d.raw, err = s.SyscallConn(); err != nil {
		return err
	}
	if _, ok := d.below.(*net.TCPConn); !ok {
		return nil
	}
	return control(d.raw, func(fd int) error {
		err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d.hub.o.WriteTimeout.Milliseconds()))
		return errors.Join(err, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer))
	})
}

// begin sends the answer's head. There is neither a length nor chunks: the answer ends with the connection, so that all get the same bytes.
func (d *direct) begin(header http.Header) error {
	var b bytes.Buffer
	header.Set("Connection", "close")
	header.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	b.WriteString("HTTP/1.1 200 OK\r\n")
	_ = header.Write(&b)
	b.WriteString("\r\n")
	b.Write(hello())
	if err := d.conn.SetDeadline(time.Now().Add(d.hub.o.WriteTimeout)); err != nil {
		return err
	}
	if _, err := d.conn.Write(b.Bytes()); err != nil {
		return err
	}
	return d.conn.SetDeadline(time.Time{})
}

// control calls fn with a descriptor.
func control(c syscall.RawConn, fn func(fd int) error) error {
	var err error
	if e := c.Control(func(fd uintptr) { err = fn(int(fd)) }); e != nil {
		return e
	}
	return err
}

// failure is why a connection broke, if it did.
func (d *direct) failure() error {
	return control(d.raw, func(fd int) error {
		if code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR); err == nil && code != 0 {
			return syscall.Errno(code)
		}
		return nil
	})
}

// closingTime is what clients get to close their end when the service stops, which itself has to be over soon.
const closingTime = 2 * time.Second

// end implements ender. A client that was sent something and may still read it is given [WriteTimeout] to
// close its end, or closingTime; the connections of others are reset, so that the kernel keeps nothing for them.
func (d *direct) end(r Reason) {
	if r == ReasonLeft && lost(d.failure()) == ReasonStalled {
		r = ReasonStalled // the kernel gave it up
	}
	if !d.because(r) {
		if r == ReasonLeft {
			d.close(false) // it has closed its end
		}
		return
	}
	switch r {
	case ReasonEnd, ReasonAge, ReasonClosing:
		_ = d.conn.SetWriteDeadline(time.Now()) // wakes who waits to write
		linger := d.hub.o.WriteTimeout
		if r == ReasonClosing {
			linger = min(linger, closingTime)
		}
		if c, ok := d.below.(interface{ CloseWrite() error }); ok && c.CloseWrite() == nil {
			d.linger.Store(time.AfterFunc(linger, func() { d.close(true) }))
			if d.closed.Load() { // meanwhile
				d.linger.Load().Stop()
			}
			return
		}
		d.close(false)
	default:
		d.close(true)
	}
}

// close closes the connection, once.
func (d *direct) close(reset bool) {
	if !d.closed.CompareAndSwap(false, true) {
		return
	}
	if t, ok := d.below.(*net.TCPConn); ok && reset {
		_ = t.SetLinger(0)
	}
	d.conn.Close()
	if t := d.linger.Load(); t != nil {
		t.Stop() // it would keep the feed, with its pages
	}
	d.hub.release(d.connection)
}

// attempt writes to connections without waiting for them. It is of one goroutine, and does not allocate.
type attempt struct {
	data []byte
	n    int
	err  error
	call func(fd uintptr) bool
}

func newAttempt() *attempt {
	a := &attempt{}
	a.call = func(fd uintptr) bool {
		a.n, a.err = write(int(fd), a.data)
		return true
	}
	return a
}

// write writes what a connection takes; n is 0 without an error where it takes nothing now.
func (a *attempt) write(c syscall.RawConn, data []byte) (n int, err error) {
	a.data, a.n, a.err = data, 0, nil
	if err := c.Write(a.call); err != nil {
		return 0, err
	}
	a.data = nil
	return a.n, a.err
}

func write(fd int, data []byte) (int, error) {
	for {
		n, err := unix.SendmsgN(fd, data, nil, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
		switch err {
		case unix.EINTR:
		case unix.EAGAIN:
			return 0, nil
		default:
			return max(n, 0), err
		}
	}
}
