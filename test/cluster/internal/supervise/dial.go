package supervise

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// A path of the file system is the same in every network namespace, so a Unix
// socket leads into the node's. A client writes one line, the TCP address that it
// wants, and is answered with one line: empty for a connection, which everything
// after it belongs to, or the error. Whoever may enter the cluster's directory
// may do so.

// maxLine bounds both lines: a host name has at most 255 bytes, an error is cut.
const maxLine = 512

// dialWithin bounds a connection inside one machine.
const dialWithin = 10 * time.Second

// acceptAll serves each connection in a goroutine of its own until the listener is
// closed. A machine that has no descriptor left has one again later.
func acceptAll(listener net.Listener, serve func(net.Conn)) {
	for {
		client, err := listener.Accept()
		switch {
		case err == nil:
			go serve(client)
		case errors.Is(err, net.ErrClosed):
			return
		default:
			time.Sleep(firstPause)
		}
	}
}

// serveDial answers on a Unix socket until it is closed.
func serveDial(listener net.Listener) {
	acceptAll(listener, func(client net.Conn) {
		defer client.Close()
		var server net.Conn
		address, err := readLine(client)
		if err == nil {
			server, err = net.DialTimeout("tcp", address, dialWithin)
		}
		if err != nil {
			text := strings.ReplaceAll(err.Error(), "\n", " ")
			fmt.Fprintln(client, text[:min(len(text), maxLine-1)])
			return
		}
		defer server.Close()
		if _, err := fmt.Fprintln(client); err == nil {
			splice(client, server)
		}
	})
}

// readLine reads one line and not a byte more: the rest is the connection's.
func readLine(r io.Reader) (string, error) {
	line := make([]byte, 0, maxLine)
	for one := make([]byte, 1); len(line) < maxLine; line = append(line, one[0]) {
		if _, err := io.ReadFull(r, one); err != nil {
			return "", err
		}
		if one[0] == '\n' {
			return string(line), nil
		}
	}
	return "", fmt.Errorf("a line of more than %d bytes", maxLine)
}

// splice copies both ways. When one side has nothing more to say the other is told.
func splice(a, b net.Conn) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(b, a)
		closeWrite(b)
	}()
	_, _ = io.Copy(a, b)
	closeWrite(a)
	<-done
}

func closeWrite(c net.Conn) {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite() // gone: told already
	}
}

// Dial connects to a TCP address inside the node's network through its socket.
func Dial(ctx context.Context, socket, address string) (net.Conn, error) {
	dialer := net.Dialer{Timeout: dialWithin}
	c, err := dialer.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, fmt.Errorf("reach the node's network: %w", err)
	}
	if err := ask(ctx, c, address); err != nil {
		c.Close()
		return nil, fmt.Errorf("reach %s in the node's network: %w", address, err)
	}
	return c, nil
}

func ask(ctx context.Context, c net.Conn, address string) error {
	stop := context.AfterFunc(ctx, func() { c.Close() })
	_, err := fmt.Fprintln(c, address)
	var answer string
	if err == nil {
		answer, err = readLine(c)
	}
	if !stop() { // the connection is closed, or about to be
		return context.Cause(ctx)
	}
	if err == nil && answer != "" {
		err = errors.New(answer)
	}
	return err
}

// Forward leads every connection of a listener to an address in the node's
// network, until the listener is closed.
func Forward(listener net.Listener, socket, address string) {
	acceptAll(listener, func(client net.Conn) {
		defer client.Close()
		server, err := Dial(context.Background(), socket, address)
		if err != nil {
			return // the client sees a connection that ends, as from a server that ended
		}
		defer server.Close()
		splice(client, server)
	})
}
