package sse_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"stella/internal/sse"
)

// pipes is a listener of connections in memory, whose deadlines go by the bubble's time.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// connect serves h over a connection in memory, and returns the client's end, where a
// GET has been sent.
func connect(t *testing.T, h http.HandlerFunc) net.Conn {
	t.Helper()
	p := &pipes{make(chan net.Conn), make(chan struct{})}
	server := &http.Server{Handler: h, ReadTimeout: time.Second, WriteTimeout: time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(p) }()
	ours, theirs := net.Pipe()
	p.conns <- theirs
	t.Cleanup(func() {
		ours.Close()
		server.Close()
		<-served
	})
	if _, err := io.WriteString(ours, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	return ours
}

// wait is a produce that sends nothing until its context ends.
func wait(ctx context.Context, _ func(sse.Event) error) error {
	<-ctx.Done()
	return ctx.Err()
}

// Heartbeats come as long as nothing else does, through the timeouts that the server has for
// other answers, until the stream's age is up; then the answer ends as it should.
func TestHeartbeatsAndAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		conn := connect(t, func(w http.ResponseWriter, r *http.Request) {
			if err := sse.Serve(w, r, nil, wait); err != nil {
				t.Error(err)
			}
		})
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		age := time.Since(start)
		if age > sse.MaxAge || age < sse.MaxAge/2 {
			t.Errorf("the stream ended after %v", age)
		}
		if got, want := strings.Count(string(text), ":\n\n"), int(age/sse.Heartbeat); got < want-1 || got > want {
			t.Errorf("%d heartbeats in %v", got, age)
		}
		if got := resp.Header.Get("Content-Type"); got != "text/event-stream" {
			t.Errorf("Content-Type %q", got)
		}
	})
}

// A client that does not read is cut off within the write timeout, in the
// middle of events and in the middle of silence.
func TestSlowReader(t *testing.T) {
	flood := func(ctx context.Context, send func(sse.Event) error) error {
		for ctx.Err() == nil {
			if err := send(sse.Event{Data: []byte(strings.Repeat("x", 1<<10))}); err != nil {
				return err
			}
		}
		return ctx.Err()
	}
	for name, produce := range map[string]func(context.Context, func(sse.Event) error) error{"flood": flood, "silence": wait} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				ended := make(chan time.Duration, 1)
				connect(t, func(w http.ResponseWriter, r *http.Request) {
					if err := sse.Serve(w, r, nil, produce); err != nil {
						t.Error(err)
					}
					ended <- time.Since(start)
				})
				if took := <-ended; took > sse.WriteTimeout {
					t.Errorf("cut off after %v", took)
				}
			})
		})
	}
}

func TestClientGoesAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan error, 1)
		conn := connect(t, func(w http.ResponseWriter, r *http.Request) { ended <- sse.Serve(w, r, nil, wait) })
		if _, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		conn.Close()
		if err := <-ended; err != nil || time.Since(start) > 0 {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

func TestClosing(t *testing.T) {
	closing := make(chan struct{})
	ended := make(chan error, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ended <- sse.Serve(w, r, closing, wait)
	}))
	defer server.Close()
	resp, err := http.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	close(closing)
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Errorf("the answer did not end as it should: %v", err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// What produce returns is the caller's to handle, as long as the client is there.
func TestProduceFails(t *testing.T) {
	failure := errors.New("no")
	w := withDeadlines{httptest.NewRecorder()}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	err := sse.Serve(w, r, nil, func(_ context.Context, send func(sse.Event) error) error {
		if err := send(sse.Event{ID: "1\n2"}); err == nil {
			t.Error("an ID of two lines was sent")
		}
		return failure
	})
	if !errors.Is(err, failure) {
		t.Errorf("got %v", err)
	}
}

// failing is a writer whose client is gone, which nobody has noticed yet.
type failing struct{ withDeadlines }

func (failing) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// A write that fails ends the stream by itself, without net/http's help.
func TestWriteFails(t *testing.T) {
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	if err := sse.Serve(failing{withDeadlines{httptest.NewRecorder()}}, r, nil, wait); err != nil {
		t.Error(err)
	}
}
