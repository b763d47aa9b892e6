package supervise

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"golang.org/x/sys/unix"
)

// A test that waits for a socket fails after this, where it would hang.
const soon = 10 * time.Second

// FuzzReadLine holds readLine to what a connection needs: what it returns and
// the newline are all that it has read, and it never reads more than maxLine.
func FuzzReadLine(f *testing.F) {
	for _, seed := range []string{"", "\n", "10.0.0.1:80\nGET /", "no end", "\r\n", "\n\n", strings.Repeat("x", maxLine-1) + "\nrest", strings.Repeat("x", maxLine) + "\nrest"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		source := bytes.NewReader(data)
		line, err := readLine(source)
		read := len(data) - source.Len()
		end := bytes.IndexByte(data, '\n')
		if whole := end >= 0 && end < maxLine; whole != (err == nil) {
			t.Fatalf("the newline is at %d: %v", end, err)
		}
		if err != nil {
			if line != "" || read > maxLine {
				t.Errorf("%v, and %d bytes were read for the line %q", err, read, line)
			}
			return
		}
		if line != string(data[:end]) || read != end+1 {
			t.Errorf("%d bytes were read of %q for the line %q", read, data, line)
		}
	})
}

func TestReadLineSaysWhatFailed(t *testing.T) {
	broken := errors.New("broken")
	if _, err := readLine(io.MultiReader(strings.NewReader("half"), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Error(err)
	}
	if _, err := readLine(strings.NewReader(strings.Repeat("x", maxLine))); err == nil || !strings.Contains(err.Error(), "512") {
		t.Error(err)
	}
}

// door is a Unix socket that leads into this process's own network.
func door(t *testing.T) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), DialSocket)
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { serveDial(listener); close(done) }()
	t.Cleanup(func() { listener.Close(); <-done })
	return socket
}

// server answers one connection with what f does, and returns its address.
func server(t *testing.T, f func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := listener.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(soon))
		f(c)
	}()
	t.Cleanup(func() { listener.Close(); <-done })
	return listener.Addr().String()
}

// forwarded is an address of this machine that leads through both ends to another.
func forwarded(t *testing.T, socket, address string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { Forward(listener, socket, address); close(done) }()
	t.Cleanup(func() { listener.Close(); <-done })
	return listener.Addr().String()
}

func dialTCP(t *testing.T, address string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(soon))
	return c.(*net.TCPConn)
}

// What goes through four sockets comes out as it was, both ways at once.
func TestEveryByteArrives(t *testing.T) {
	const size = 1<<20 + 1
	random := rand.NewChaCha8([32]byte{})
	up, down := make([]byte, size), make([]byte, size)
	_, _ = random.Read(up)
	_, _ = random.Read(down)
	got := make(chan [32]byte, 1)
	address := server(t, func(c net.Conn) {
		sent := make(chan struct{})
		go func() { defer close(sent); _, _ = c.Write(down); closeWrite(c) }()
		sum := sha256.New()
		_, _ = io.Copy(sum, c)
		got <- [32]byte(sum.Sum(nil))
		<-sent
	})
	c := dialTCP(t, forwarded(t, door(t), address))
	go func() { _, _ = c.Write(up); closeWrite(c) }()
	back, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(back, down) {
		t.Errorf("%d of %d bytes came down, or others: %v", len(back), size, err)
	}
	if <-got != sha256.Sum256(up) {
		t.Error("what came up is not what was sent")
	}
}

// Each side may be the first to have nothing more to say, and still hears the other.
func TestHalfClose(t *testing.T) {
	for _, c := range []struct {
		name   string
		server func(net.Conn)
		client func(*testing.T, *net.TCPConn)
	}{
		{"the client first", func(c net.Conn) {
			question, _ := io.ReadAll(c) // until the client has nothing more to say
			_, _ = c.Write(append([]byte("you said "), question...))
		}, func(t *testing.T, c *net.TCPConn) {
			_, _ = io.WriteString(c, "this")
			closeWrite(c)
			if answer, err := io.ReadAll(c); err != nil || string(answer) != "you said this" {
				t.Errorf("%q, %v", answer, err)
			}
		}},
		{"the server first", func(c net.Conn) {
			_, _ = io.WriteString(c, "hello")
			closeWrite(c)
			_, _ = io.ReadFull(c, make([]byte, 4))
			c.(*net.TCPConn).SetLinger(0)
		}, func(t *testing.T, c *net.TCPConn) {
			if greeting, err := io.ReadAll(c); err != nil || string(greeting) != "hello" {
				t.Errorf("%q, %v", greeting, err)
			}
			if _, err := io.WriteString(c, "late"); err != nil {
				t.Error(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			heard := make(chan struct{})
			address := server(t, func(s net.Conn) { defer close(heard); c.server(s) })
			c.client(t, dialTCP(t, forwarded(t, door(t), address)))
			<-heard
		})
	}
}

// refusing is an address where nobody listens.
func refusing(t *testing.T) string {
	t.Helper()
	socket, port, err := reservePort()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

func TestDialSaysWhyNot(t *testing.T) {
	socket, address := door(t), refusing(t)
	for _, c := range []struct{ address, want string }{
		{address, "reach " + address + " in the node's network: dial tcp " + address + ": connect: connection refused"},
		{"nonsense", "missing port in address"},
		{strings.Repeat("x", maxLine-10), "dial tcp"}, // the error holds the address, and is cut
	} {
		_, err := Dial(t.Context(), socket, c.address)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("want %q, got %v", c.want, err)
		}
	}
	none := filepath.Join(t.TempDir(), "none.sock")
	if _, err := Dial(t.Context(), none, address); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), none) {
		t.Errorf("no socket: %v", err)
	}
	if _, err := Dial(t.Context(), socket, strings.Repeat("x", maxLine)); err == nil {
		t.Error("an address that is too long was taken")
	}
}

// A connection that cannot be made ends, as that of a server that ended.
func TestForwardToNobody(t *testing.T) {
	c := dialTCP(t, forwarded(t, door(t), refusing(t)))
	if data, err := io.ReadAll(c); err != nil || len(data) > 0 {
		t.Errorf("%q, %v", data, err)
	}
}

// Nobody is kept waiting by clients that ask for nothing, or for too much.
func TestClientsThatDoNotAsk(t *testing.T) {
	socket := door(t)
	raw := func(says string) net.Conn {
		c, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(soon))
		_, _ = io.WriteString(c, says)
		return c
	}
	raw("")     // and nothing more
	raw("half") // of a line
	ended := raw("half")
	closeWrite(ended)
	for _, c := range []net.Conn{ended, raw(strings.Repeat("x", maxLine))} {
		if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("a connection that asks for nothing is held open")
		}
	}
	address := server(t, func(c net.Conn) { _, _ = io.WriteString(c, "hello") })
	c, err := Dial(t.Context(), socket, address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if data, err := io.ReadAll(c); err != nil || string(data) != "hello" {
		t.Errorf("%q, %v", data, err)
	}
}

// Who no longer waits for a connection gets none, also from a door that does not answer.
func TestDialUntilTheContextEnds(t *testing.T) {
	socket := filepath.Join(t.TempDir(), DialSocket)
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		c, err := listener.Accept()
		if err != nil {
			return
		}
		_, _ = readLine(c)
		cancel()
		_, _ = io.Copy(io.Discard, c) // until Dial gives up
		c.Close()
	}()
	if c, err := Dial(ctx, socket, "10.0.0.1:80"); err == nil {
		c.Close()
		t.Error("a connection to a door that says nothing")
	}
}

// While a port is reserved only those who share it get it.
func TestReservePort(t *testing.T) {
	reserved, port, err := reservePort()
	if err != nil {
		t.Fatal(err)
	}
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	if l, err := net.Listen("tcp", address); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("somebody else got the port: %v, %v", l, err)
	}
	if c, err := net.Dial("tcp", address); err == nil {
		c.Close()
		t.Error("a reservation answers")
	}
	sharing := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var set error
		err := c.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
		return errors.Join(err, set)
	}}
	listener, err := sharing.Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatalf("the API server would not get its port: %v", err)
	}
	defer listener.Close()
	for range 20 { // none of them ends at the reservation
		c := dialTCP(t, address)
		accepted, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		accepted.Close()
		c.Close()
	}
	listener.Close()
	if err := reserved.Close(); err != nil {
		t.Error(err)
	}
	again, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatalf("a port that was given back: %v", err)
	}
	again.Close()
}
