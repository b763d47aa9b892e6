package pods

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"stella/internal/kube"
	"stella/internal/rdev"
)

// Protocols of exec over a WebSocket, the better one first: v5 (Kubernetes 1.30) can say that stdin is at its end.
const (
	protocolV5 = "v5.channel.k8s.io"
	protocolV4 = "v4.channel.k8s.io"
)

// Channels: the first byte of each message.
const (
	channelStdin  = 0
	channelStdout = 1
	channelStderr = 2
	channelStatus = 3
	channelClose  = 255 // v5: the next byte is the channel that is at its end
)

const (
	// maxStatus bounds how an exec ended, in bytes: messages of container runtimes have some hundred.
	maxStatus = 64 << 10
	// pingAfter is how often the server is asked for a sign of life, so that nobody on the way takes the connection for idle.
	pingAfter = 10 * time.Second
	// goneAfter is after what time without any sign the server is given up.
	goneAfter = 40 * time.Second
	// closeAfter is after what time a server that has said everything is not waited for.
	closeAfter = 2 * time.Second
)

// errNoStdin says that input cannot be given.
var errNoStdin = errors.New("the cluster (before Kubernetes 1.30) cannot tell a command that its input is at an end, so none can be given")

// exitError is that the program ended with a code other than 0.
type exitError struct{ code int }

func (e *exitError) Error() string { return fmt.Sprintf("it ended with exit code %d", e.code) }

// refusedError is that the server, or the container's runtime, could not do it.
type refusedError struct{ message string }

func (e *refusedError) Error() string { return e.message }

// exec is one program in a container.
type exec struct {
	project        rdev.Project
	argv           []string
	stdin          io.Reader
	stdout, stderr func([]byte) error
}

// run runs the program until it ends: nil is exit code 0, an *exitError another, a *refusedError that it could not be
// started; anything else is that nobody can tell. When ctx ends, the connection is closed, which says nothing to the program.
func (e *exec) run(ctx context.Context, c *kube.Client) error {
	params := url.Values{"container": {e.project.Container}, "stdout": {"true"}, "stderr": {"true"}, "command": e.argv}
	if e.stdin != nil {
		params.Set("stdin", "true")
	}
	conn, protocol, err := c.WebSocket(ctx, kube.Query{Resource: kube.Pods, Namespace: e.project.Namespace}, e.project.PodName, "exec", params, protocolV5, protocolV4)
	if err != nil {
		return err
	}
	s := newSocket(conn, goneAfter)
	defer s.close()
	if !slices.Contains([]string{protocolV5, protocolV4}, protocol) {
		return fmt.Errorf("the server speaks %q, not %s", protocol, protocolV5)
	}
	if e.stdin != nil && protocol != protocolV5 {
		return errNoStdin
	}
	stop := context.AfterFunc(ctx, s.close)
	defer stop()
	var others sync.WaitGroup
	defer others.Wait()
	done := make(chan struct{})
	defer close(done)
	others.Go(func() { s.ping(done) })
	if e.stdin != nil {
		others.Go(func() { s.send(e.stdin) })
	}
	defer s.close() // before the others are waited for
	return e.receive(s)
}

// ping asks for signs of life.
func (s *socket) ping(done <-chan struct{}) {
	tick := time.NewTicker(pingAfter)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			if s.write(opPing) != nil {
				return // the reader finds out, too
			}
		}
	}
}

// send sends the input, and that it is at its end. The program may end before, which is no error.
func (s *socket) send(stdin io.Reader) {
	buf := make([]byte, chunk)
	for {
		n, err := stdin.Read(buf)
		if n > 0 && s.write(opBinary, []byte{channelStdin}, buf[:n]) != nil {
			return
		}
		if err != nil {
			_ = s.write(opBinary, []byte{channelClose, channelStdin}) // as above
			return
		}
	}
}

// receive gives what the program writes to where it belongs, and says how it ended once the server has.
func (e *exec) receive(s *socket) error {
	var status []byte
	var channel byte
	var failed error // of whoever takes the output
	err := s.read(func(piece []byte, first bool) error {
		if first {
			channel, piece = piece[0], piece[1:]
		}
		switch channel {
		case channelStdout:
			failed = e.stdout(piece)
		case channelStderr:
			failed = e.stderr(piece)
		case channelStatus:
			if status = append(status, piece...); len(status) > maxStatus {
				return errFrame
			}
			// All output has been sent before; what is left is that the server closes.
			s.life.Reset(closeAfter)
		}
		return failed
	})
	switch {
	case failed != nil:
		return failed
	case json.Valid(status):
		return parseStatus(status)
	case err == nil || errors.Is(err, io.EOF):
		return errors.New("the server closed the connection and did not say how the command ended")
	}
	return err
}

// parseStatus is how a program ended, as a Status of Kubernetes says it.
func parseStatus(text []byte) error {
	var s struct {
		Status  string `json:"status"`
		Reason  string `json:"reason"`
		Message string `json:"message"`
		Details struct {
			Causes []struct {
				Reason  string `json:"reason"`
				Message string `json:"message"`
			} `json:"causes"`
		} `json:"details"`
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return fmt.Errorf("how the command ended cannot be read: %w", err)
	}
	if s.Status == "Success" {
		return nil
	}
	if s.Reason == "NonZeroExitCode" {
		for _, c := range s.Details.Causes {
			if code, err := strconv.Atoi(c.Message); c.Reason == "ExitCode" && err == nil {
				return &exitError{code}
			}
		}
	}
	return &refusedError{s.Message}
}
