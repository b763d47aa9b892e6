package api_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"stella/internal/scanner"
)

// pipes is a listener with one connection in memory, whose deadlines go by the bubble's time.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// bubble runs f with a server and a connection to it, in a time of its own.
func bubble(t *testing.T, f func(t *testing.T, run *running, conn net.Conn, auth string)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		run := prepare(t)
		auth := "Host: x\r\nAuthorization: Bearer " + run.key(t, scanner.ScopeAdmin) + "\r\n"
		p := &pipes{conns: make(chan net.Conn, 1), closed: make(chan struct{})}
		ours, theirs := net.Pipe()
		defer ours.Close()
		p.conns <- theirs
		run.listen(p)
		f(t, run, ours, auth)
	})
}

// Who sends slowly is cut off: in the headers, in a body, and between requests.
func TestSlowSender(t *testing.T) {
	for name, test := range map[string]struct {
		text string // with AUTH for the credentials
		most time.Duration
	}{
		"headers": {"GET /v1/status HTTP/1.1\r\nAUTHX: ", 10 * time.Second},
		"body":    {"POST /v1/jobs HTTP/1.1\r\nAUTHContent-Length: 10\r\n\r\n{", 10 * time.Second},
		"nothing": {"", 10 * time.Second},
		"idle":    {"GET /v1/status HTTP/1.1\r\nAUTH\r\n", 2 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, run *running, conn net.Conn, auth string) {
				begun := time.Now()
				go io.WriteString(conn, strings.ReplaceAll(test.text, "AUTH", auth))
				if _, err := io.Copy(io.Discard, conn); err != nil {
					t.Error(err)
				}
				if took := time.Since(begun); took > test.most+time.Second || took < test.most-time.Second {
					t.Errorf("cut off after %v", took)
				}
			})
		})
	}
}

// A request may take as long as it takes: no deadline of the connection ends it.
func TestLongRequest(t *testing.T) {
	bubble(t, func(t *testing.T, run *running, conn net.Conn, auth string) {
		run.submit = func(ctx context.Context) error {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Hour):
				return nil
			}
		}
		for range 2 { // a connection is good for another one, too
			go io.WriteString(conn, "POST /v1/jobs HTTP/1.1\r\n"+auth+"Content-Length: 13\r\n\r\n"+`{"image":"a"}`)
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusAccepted {
				t.Fatalf("%s, %v", resp.Status, err)
			}
		}
	})
}

// A document is written as long as its reader goes on, however slowly, and no longer.
func TestSlowReaderOfDocument(t *testing.T) {
	bubble(t, func(t *testing.T, run *running, conn net.Conn, auth string) {
		ended := make(chan error, 1)
		run.sbom = func(_ context.Context, w io.Writer) error {
			for {
				if _, err := w.Write(make([]byte, 16<<10)); err != nil {
					ended <- err
					return err
				}
			}
		}
		if _, err := io.WriteString(conn, "GET /v1/jobs/7/sbom HTTP/1.1\r\n"+auth+"\r\n"); err != nil {
			t.Fatal(err)
		}
		for range 20 {
			time.Sleep(20 * time.Second)
			if _, err := io.ReadFull(conn, make([]byte, 32<<10)); err != nil {
				t.Fatal(err)
			}
		}
		begun := time.Now()
		<-ended
		if took := time.Since(begun); took > 31*time.Second {
			t.Errorf("cut off after %v", took)
		}
	})
}
