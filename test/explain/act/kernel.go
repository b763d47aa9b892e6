//go:build linux

package main

import (
	"net"

	"golang.org/x/sys/unix"
)

// pipes hold data that nobody reads.
type pipes struct {
	ends [][2]int
	used int64
}

// pipeBytes fit into one (pipe(7)).
const pipeBytes = 64 << 10

func (p *pipes) hold(n int64) error {
	for ; p.used+pipeBytes <= n; p.used += pipeBytes {
		var ends [2]int
		if err := unix.Pipe2(ends[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
			return err
		}
		p.ends = append(p.ends, ends)
		if _, err := unix.Write(ends[1], zeros[:pipeBytes]); err != nil {
			return err
		}
	}
	for ; p.used > n; p.used -= pipeBytes {
		last := p.ends[len(p.ends)-1]
		p.ends = p.ends[:len(p.ends)-1]
		unix.Close(last[0])
		unix.Close(last[1])
	}
	return nil
}

// mostUnread is what the buffers of a connection take at least, so that no write waits (tcp(7): tcp_rmem has 128 KiB).
const mostUnread = 64 << 10

// connections are of this process to itself. They are no net.Conn, whose goroutines and buffers would be more than the sockets.
type connections struct {
	listener int
	address  unix.SockaddrInet4
	open     [][2]int
}

// backlog is 1: each connection is accepted at once.
const backlog = 1

func (c *connections) hold(n, bytes int64) error {
	if c.listener == 0 {
		if err := c.listen(); err != nil {
			return err
		}
	}
	for int64(len(c.open)) < n {
		if err := c.connect(min(bytes, mostUnread)); err != nil {
			return err
		}
	}
	for int64(len(c.open)) > n {
		last := c.open[len(c.open)-1]
		c.open = c.open[:len(c.open)-1]
		unix.Close(last[0])
		unix.Close(last[1])
	}
	return nil
}

func (c *connections) listen() error {
	s, err := socket()
	if err != nil {
		return err
	}
	loopback := net.IPv4(127, 0, 0, 1).To4()
	if err := unix.Bind(s, &unix.SockaddrInet4{Addr: [4]byte(loopback)}); err != nil {
		return err
	}
	if err := unix.Listen(s, backlog); err != nil {
		return err
	}
	name, err := unix.Getsockname(s)
	if err != nil {
		return err
	}
	c.listener, c.address = s, *name.(*unix.SockaddrInet4)
	return nil
}

func socket() (int, error) {
	return unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
}

func (c *connections) connect(bytes int64) error {
	s, err := socket()
	if err != nil {
		return err
	}
	// A reset instead of a farewell: thousands of closed connections would wait for a minute (TIME_WAIT).
	if err := unix.SetsockoptLinger(s, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
		return err
	}
	if err := unix.Connect(s, &c.address); err != nil {
		return err
	}
	other, _, err := unix.Accept4(c.listener, unix.SOCK_CLOEXEC)
	if err != nil {
		return err
	}
	c.open = append(c.open, [2]int{s, other})
	if bytes > 0 {
		_, err = unix.Write(s, zeros[:bytes])
	}
	return err
}
