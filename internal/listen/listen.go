// Package listen makes the listeners of a server so that nobody gets in by accident.
//
// A Unix socket ([Unix]) is for its owner alone, or for a group as well. It is made with these
// permissions, not given them afterwards, in a directory where nobody else can put
// another in its place. One that a dead server left is replaced; one whose server lives is not.
//
// TCP ([TCP]) beyond this machine's loopback needs TLS, unless that is waived.
//
// Both bound their connections, each of which costs some 30 KiB, and what the kernel
// keeps for a peer that does not read. [Peer] is who has the other end of a Unix socket.
package listen

import (
	"net"
	"sync"
)

const (
	// maxConns is how many connections a listener has at a time unless it is told otherwise; others wait in the kernel.
	maxConns = 1024
	// sendBuffer is what the kernel keeps, in bytes, for a peer that does not read;
	// it would let that grow to 4 MiB.
	sendBuffer = 256 << 10
)

// bounded is a listener with at most so many connections.
type bounded struct {
	net.Listener
	slots  chan struct{}
	closed chan struct{}
	once   sync.Once
}

func bound(l net.Listener, most int) *bounded {
	return &bounded{Listener: l, slots: make(chan struct{}, most), closed: make(chan struct{})}
}

// Accept waits until there are fewer connections than that, and for another one.
func (b *bounded) Accept() (net.Conn, error) {
	select {
	case b.slots <- struct{}{}:
	case <-b.closed:
		return nil, net.ErrClosed
	}
	c, err := b.Listener.Accept()
	if err != nil {
		<-b.slots
		return nil, err
	}
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetWriteBuffer(sendBuffer) // else only the bound is missing
	}
	return &conn{Conn: c, release: func() { <-b.slots }}, nil
}

// Close implements net.Listener; it may be called again.
func (b *bounded) Close() error {
	b.once.Do(func() { close(b.closed) })
	return b.Listener.Close()
}

// conn gives its slot back when it is closed.
type conn struct {
	net.Conn
	once    sync.Once
	release func()
}

// NetConn is the connection below.
func (c *conn) NetConn() net.Conn { return c.Conn }

// Close implements net.Conn.
func (c *conn) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.release)
	return err
}
