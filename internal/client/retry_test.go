package client

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"stella/internal/scanner"
)

// transport is what takes the place of the network.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answer(status int, body io.Reader, headers ...string) *http.Response {
	h := http.Header{}
	for i := 0; i < len(headers); i += 2 {
		h.Set(headers[i], headers[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(body)}
}

// over is a client over a transport.
func over(t *testing.T, f transport) *Client {
	t.Helper()
	c := newTest(t, Options{Address: "http://scanner.example"})
	c.http.Transport = f
	return c
}

func reset(string) (*http.Response, error) { return nil, syscall.ECONNRESET }
func gone(string) (*http.Response, error) {
	return nil, &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
}
func good(string) (*http.Response, error) { return answer(200, strings.NewReader("{}")), nil }
func cut(string) (*http.Response, error) {
	return answer(200, io.MultiReader(strings.NewReader("{"), broken{})), nil
}

func status(code int, headers ...string) func(string) (*http.Response, error) {
	return func(string) (*http.Response, error) {
		return answer(code, strings.NewReader(`{"detail":"because"}`), headers...), nil
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// What is tried again, and what is not: it is the request that decides.
func TestRetries(t *testing.T) {
	type try = func(string) (*http.Response, error)
	read := func(ctx context.Context, c *Client) error { _, err := c.Status(ctx); return err }
	submit := func(ctx context.Context, c *Client) error {
		_, err := c.Submit(ctx, scanner.Request{Image: "debian:12"})
		return err
	}
	change := func(ctx context.Context, c *Client) error { _, err := c.Cancel(ctx, 1); return err }
	document := func(ctx context.Context, c *Client) error { return c.SBOM(ctx, 1, "", io.Discard) }
	for name, test := range map[string]struct {
		call  func(context.Context, *Client) error
		tries []try // the last goes on
		want  int   // how many there are
		err   error // nil for success
	}{
		"read, reset once":            {read, []try{reset, good}, 2, nil},
		"read, cut once":              {read, []try{cut, good}, 2, nil},
		"read, always reset":          {read, []try{reset}, attempts, syscall.ECONNRESET},
		"read, busy":                  {read, []try{status(503), status(429), status(502), good}, 4, nil},
		"read, always busy":           {read, []try{status(503)}, attempts, scanner.ErrUnavailable},
		"read, wrong":                 {read, []try{status(422)}, 1, scanner.ErrInvalid},
		"read, a defect":              {read, []try{status(500)}, 1, errAny},
		"read, nobody":                {read, []try{gone}, 1, ErrNoServer},
		"read, nobody for a moment":   {read, []try{reset, gone, gone, good}, 4, nil},
		"read, nobody any more":       {read, []try{reset, gone}, attempts, ErrNoServer},
		"submit, reset once":          {submit, []try{reset, good}, 2, nil},
		"submit, the registry is out": {submit, []try{status(503)}, 1, scanner.ErrUnavailable},
		"submit, too many":            {submit, []try{status(429), good}, 2, nil},
		"change, reset once":          {change, []try{reset, good}, 1, syscall.ECONNRESET},
		"change, too many":            {change, []try{status(429), good}, 2, nil},
		"change, busy":                {change, []try{status(503), good}, 1, scanner.ErrUnavailable},
		"document, reset once":        {document, []try{reset, good}, 2, nil},
		"document, cut":               {document, []try{cut, good}, 1, io.ErrUnexpectedEOF},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := 0
				c := over(t, func(r *http.Request) (*http.Response, error) {
					if r.Body != nil {
						if text, err := io.ReadAll(r.Body); err != nil || len(text) == 0 {
							t.Errorf("try %d was sent without its body: %v", n+1, err)
						}
					}
					n++
					return test.tries[min(n, len(test.tries))-1]("")
				})
				begun := time.Now()
				err := test.call(t.Context(), c)
				if n != test.want {
					t.Errorf("%d tries, want %d", n, test.want)
				}
				if took := time.Since(begun); took > 10*time.Second {
					t.Errorf("it took %v", took)
				}
				ok := errors.Is(err, test.err)
				if errors.Is(test.err, errAny) {
					ok = err != nil
				}
				if !ok {
					t.Errorf("got %v, want %v", err, test.err)
				}
			})
		})
	}
}

var errAny = errors.New("any")

// The server says when to come back, within reason.
func TestRetryAfter(t *testing.T) {
	for header, want := range map[string]time.Duration{"5": 5 * time.Second, "86400": maxRetryAfter, "-1": 0, "soon": 0, "": 0} {
		synctest.Test(t, func(t *testing.T) {
			n := 0
			c := over(t, func(*http.Request) (*http.Response, error) {
				if n++; n == 1 {
					return status(429, "Retry-After", header)("")
				}
				return good("")
			})
			begun := time.Now()
			if _, err := c.Status(t.Context()); err != nil {
				t.Error(err)
			}
			if took := time.Since(begun); took < want || took > want+firstWait {
				t.Errorf("Retry-After %q: came back after %v", header, took)
			}
		})
	}
}

// The end of the context ends waiting, and is what the error says.
func TestContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		c := over(t, func(*http.Request) (*http.Response, error) { return reset("") })
		begun := time.Now()
		_, err := c.Status(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, syscall.ECONNRESET) || time.Since(begun) > 300*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
	})
}

// A server that accepts and says nothing is given up.
func TestSilence(t *testing.T) {
	silent := transport(func(r *http.Request) (*http.Response, error) {
		return answer(200, &silence{r.Context()}), nil
	})
	for name, test := range map[string]struct {
		call func(ctx context.Context, c *Client) error
		most time.Duration
	}{
		"a small answer": {func(ctx context.Context, c *Client) error { _, err := c.Status(ctx); return err }, attempts * answerTimeout},
		"a document":     {func(ctx context.Context, c *Client) error { return c.SBOM(ctx, 1, "", io.Discard) }, idleTimeout},
		"a stream":       {func(ctx context.Context, c *Client) error { return c.Events(ctx, 1, 0, nil) }, comebacks * (idleTimeout + maxWait)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun := time.Now()
				err := test.call(t.Context(), over(t, silent))
				if took := time.Since(begun); err == nil || took > test.most {
					t.Errorf("%v after %v", err, took)
				}
			})
		})
	}
}

// silence is a body of which nothing comes.
type silence struct{ ctx context.Context }

func (s *silence) Read([]byte) (int, error) { <-s.ctx.Done(); return 0, s.ctx.Err() }

// A stream is taken up for as long as events come, and is given up when they do not.
func TestComebacks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, events := 0, 0
		c := over(t, func(*http.Request) (*http.Response, error) {
			if n++; n <= 50 {
				return answer(200, strings.NewReader("id: 7\ndata: {}\n\n")), nil
			}
			return answer(200, strings.NewReader(": heartbeat\n\n")), nil
		})
		err := c.Events(t.Context(), 1, 0, func(scanner.Event) error { events++; return nil })
		if err == nil || events != 50 || n != 50+comebacks-1 {
			t.Errorf("%v after %d events in %d connections", err, events, n)
		}
	})
}

// A stream that is refused is not asked for again, unless it may pass.
func TestStreamIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for code, want := range map[int]int{404: 1, 403: 1, 500: 1, 503: comebacks} {
			n := 0
			c := over(t, func(*http.Request) (*http.Response, error) { n++; return status(code)("") })
			if err := c.Events(t.Context(), 1, 0, nil); err == nil || n != want {
				t.Errorf("%d: %v after %d tries", code, err, n)
			}
		}
	})
}

func TestStreamOfNonsense(t *testing.T) {
	for name, body := range map[string]io.Reader{
		"no JSON":         strings.NewReader("data: what\n\n"),
		"a line too long": strings.NewReader("data: " + strings.Repeat("x", 1<<20)),
	} {
		n := 0
		c := over(t, func(*http.Request) (*http.Response, error) { n++; return answer(200, body), nil })
		if err := c.Events(t.Context(), 1, 0, nil); err == nil || n != 1 || !strings.Contains(err.Error(), "does not understand") {
			t.Errorf("%s: %v after %d tries", name, err, n)
		}
	}
}
