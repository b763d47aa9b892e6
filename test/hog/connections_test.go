//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestConnectionsFillTheBuffersOfSockets(t *testing.T) {
	t.Parallel()
	const unread = 50 * 100 << 10
	g := newGroup(t, 64*mib)
	// v1 counts sockets apart from memory, and only where they have a limit.
	v1, err := os.OpenFile(filepath.Join(g.Dir(), "memory.kmem.tcp.limit_in_bytes"), os.O_WRONLY, 0)
	if err == nil {
		_, err = fmt.Fprint(v1, 64*mib)
		v1.Close()
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	p := launch(t, g, exec.Command(binary, "connections", "50", "--bytes", "100Ki"))
	p.line("hog: opened 50 connections")
	if got := p.sockets(); got != 101 { // both ends, and the listener
		t.Errorf("%d sockets, want 101", got)
	}
	counted := p.stat("sock")
	if text, err := os.ReadFile(filepath.Join(g.Dir(), "memory.kmem.tcp.usage_in_bytes")); err == nil {
		counted, _ = strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	}
	if counted < unread || counted > 2*unread {
		t.Errorf("sockets hold %.1f MiB, want a little more than %.1f", mibs(counted), mibs(unread))
	}
	p.stop()
}

// sockets counts the open sockets of the process.
func (p *process) sockets() (n int) {
	p.t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid)
	fds, err := os.ReadDir(dir)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, fd := range fds {
		if to, _ := os.Readlink(filepath.Join(dir, fd.Name())); strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

func TestConnectionsToSomebodyElse(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := free(t, "connections", "3", "--to", l.Addr().String(), "--bytes", "5")
	p.line("hog: opened 3 connections")
	for range 3 {
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
			t.Error(err)
		}
		c.Close()
	}
	p.stop()
}

func TestConnectionsToNobody(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	p := free(t, "connections", "3", "--to", address)
	p.ends("exit status 1")
	if text := p.errors.String(); !strings.Contains(text, "connection 1: ") || !strings.Contains(text, "refused") {
		t.Errorf("says %q", text)
	}
}
