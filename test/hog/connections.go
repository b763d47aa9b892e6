//go:build linux

package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

const (
	// mostConnections fit the ports of one address (ip_local_port_range has 28,232 by default).
	mostConnections = 10_000
	// mostUnread is what Linux lets the two buffers of a connection grow to at least, by default
	// (tcp_wmem has 4 MiB for the sender).
	mostUnread = 1 << 20
	// connectionTimeout bounds one connect, and one write: on a loopback both take microseconds.
	connectionTimeout = 5 * time.Second
)

var connectionModes = []mode{
	{"connections", "open N TCP connections, 1 to 10000, send bytes into each that nobody reads, and stay",
		`What is not read lies in the buffers of the sockets: memory of the kernel that counts for the
cgroup on v2. With --to the other side decides whether it reads.`, declareConnections},
}

func declareConnections(p *parameters) runner {
	n := number{least: 1, most: mostConnections}
	p.argument("N", &n)
	bytes, to := size(64<<10), word("")
	p.flags.Var(&bytes, "bytes", "how much to send into each, as a `SIZE` of at most 1Mi")
	p.flags.Var(&to, "to", "connect to `HOST:PORT` instead of to a listener of hog's own")
	p.check = func() error {
		if bytes > mostUnread {
			return errors.New("--bytes is more than 1Mi")
		}
		return nil
	}
	return func(h *hog) error { return h.connect(n.value, make([]byte, bytes), string(to)) }
}

// connect opens n connections, to a listener of its own where no address is given.
func (h *hog) connect(n int, content []byte, to string) error {
	var accept func() (net.Conn, error)
	if to == "" {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return err
		}
		to, accept = l.Addr().String(), l.Accept
	}
	open := make([]net.Conn, 0, 2*n) // a connection that nothing refers to would be closed
	for number := 1; number <= n; number++ {
		c, err := net.DialTimeout("tcp", to, connectionTimeout)
		if err != nil {
			return fmt.Errorf("connection %d: %w", number, err)
		}
		open = append(open, c)
		if accept != nil {
			other, err := accept()
			if err != nil {
				return fmt.Errorf("accept connection %d: %w", number, err)
			}
			open = append(open, other)
		}
		if err := send(c, content); err != nil {
			return fmt.Errorf("connection %d: %w", number, err)
		}
	}
	h.say("opened %d connections", n)
	defer closeAll(open)
	return h.wait(forever)
}

// send puts content into the buffers of a connection.
func send(c net.Conn, content []byte) error {
	if err := c.SetWriteDeadline(time.Now().Add(connectionTimeout)); err != nil {
		return err
	}
	n, err := c.Write(content)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("its buffers took %d of %d bytes in %v; lower --bytes: %w", n, len(content), connectionTimeout, err)
	}
	return err
}

func closeAll(open []net.Conn) {
	for _, c := range open {
		c.Close()
	}
}
