package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"stella/internal/rdev"
)

// rdevOver is a client of an rdev-api over a transport.
func rdevOver(t *testing.T, f transport) *Rdev {
	t.Helper()
	r, err := NewRdev(Options{Address: "http://rdev.example"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	r.c.http.Transport = f
	return r
}

// The errors are those of package rdev.
func TestRdevErrors(t *testing.T) {
	r := rdevOver(t, func(*http.Request) (*http.Response, error) { return status(500)("") })
	if _, err := r.Keys(t.Context()); err == nil || !strings.Contains(err.Error(), "the rdev-api at http://rdev.example failed (500 Internal Server Error): because") {
		t.Errorf("500: %v", err)
	}
	for code, want := range map[int]error{
		400: rdev.ErrInvalid, 413: rdev.ErrInvalid, 422: rdev.ErrInvalid, 401: rdev.ErrDenied, 403: rdev.ErrDenied, 404: rdev.ErrNotFound,
		409: rdev.ErrConflict, 410: rdev.ErrGone, 429: rdev.ErrTooMany, 503: rdev.ErrUnavailable,
	} {
		synctest.Test(t, func(t *testing.T) {
			r := rdevOver(t, func(*http.Request) (*http.Response, error) { return status(code)("") })
			_, err := r.Command(t.Context(), "web", "1")
			if !errors.Is(err, want) || !strings.Contains(err.Error(), "because") {
				t.Errorf("%d: %v, want %v", code, err, want)
			}
		})
	}
}

// A command is asked for again when the connection breaks, as the same one; what it is about is in its path alone.
func TestRdevRunIsOneCommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var keys []string
		r := rdevOver(t, func(q *http.Request) (*http.Response, error) {
			keys = append(keys, q.Header.Get("Idempotency-Key"))
			if q.Method != http.MethodPost || q.URL.EscapedPath() != "/v1/projects/a%2Fb/commands" {
				t.Errorf("%s %s", q.Method, q.URL.EscapedPath())
			}
			if len(keys) < 3 {
				return reset("")
			}
			return answer(202, strings.NewReader(`{"id":"7","status":"queued"}`)), nil
		})
		for range 2 {
			c, err := r.Run(t.Context(), "a/b", rdev.Request{Argv: []string{"true"}})
			if err != nil || c.ID != "7" || c.Status != rdev.Queued {
				t.Errorf("%+v, %v", c, err)
			}
		}
		if len(keys) != 4 || len(keys[0]) < 20 || keys[0] != keys[2] || keys[2] == keys[3] {
			t.Errorf("keys %q", keys)
		}
	})
}

func TestRdevPaths(t *testing.T) {
	var asked []string
	r := rdevOver(t, func(q *http.Request) (*http.Response, error) {
		asked = append(asked, q.Method+" "+q.URL.RequestURI())
		return good("")
	})
	ctx := t.Context()
	_, err1 := r.Projects(ctx)
	_, err2 := r.Commands(ctx, rdev.Filter{Status: rdev.Running, By: "key ci", Limit: 7, After: "x"})
	_, err3 := r.Commands(ctx, rdev.Filter{Project: "web"})
	_, err4 := r.Cancel(ctx, "web", "1")
	err5 := r.Output(ctx, "web", "1", 20, rdev.Stderr, io.Discard)
	_, err6 := r.RotateKey(ctx, "ci", rdev.RotateRequest{})
	err7 := r.RevokeKey(ctx, "ci")
	if err := errors.Join(err1, err2, err3, err4, err5, err6, err7); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"GET /v1/projects", "GET /v1/commands?after=x&by=key+ci&limit=7&status=running", "GET /v1/projects/web/commands", "DELETE /v1/projects/web/commands/1",
		"GET /v1/projects/web/commands/1/output?stream=stderr&tail=20", "POST /v1/keys/ci/rotate", "DELETE /v1/keys/ci",
	}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Error(diff)
	}
}

// sent is the stream of a command that printed n lines, behind a cursor.
func sent(n, after int) string {
	var b strings.Builder
	b.WriteString(": output of a command\nretry: 1000\n\n")
	for i := after + 1; i <= n; i++ {
		name, data := "output", fmt.Sprintf(`{"stream":"stdout","text":"line %d","end":"\n"}`, i)
		switch i % 7 {
		case 0:
			data = `{"stream":"stderr","base64":"/w==","end":""}`
		case 1:
			name, data = "gap", fmt.Sprintf(`{"from":%d,"to":%d,"dropped":1}`, i, i)
		}
		fmt.Fprintf(&b, "id: %d\nevent: %s\ndata: %s\n\n", i, name, data)
	}
	fmt.Fprintf(&b, "event: truncated\ndata: {\"dropped\":3}\n\nevent: later\ndata: ?\n\nid: %d\nevent: end\ndata: {\"reason\":\"exit\",\"exit_code\":3}\n\n", n+1)
	return b.String()
}

// However the connection breaks, every event is told once, in order, up to the end.
func TestRdevFollowMissesNothing(t *testing.T) {
	const lines = 100
	for range 50 {
		synctest.Test(t, func(t *testing.T) {
			r := rdevOver(t, func(q *http.Request) (*http.Response, error) {
				after, err := strconv.Atoi(q.Header.Get("Last-Event-ID"))
				if err != nil && q.Header.Get("Last-Event-ID") != "" {
					t.Error(err)
				}
				if rand.N(8) == 0 {
					return reset("")
				}
				text := sent(lines, after)
				if rand.N(4) > 0 {
					text = text[:rand.N(len(text))]
				}
				return answer(200, strings.NewReader(text)), nil
			})
			next := uint64(1)
			var end *rdev.End
			err := r.Follow(t.Context(), "web", "1", From{}, func(e OutputEvent) error {
				if e.Seq != next {
					t.Fatalf("event %d, want %d", e.Seq, next)
				}
				next++
				switch {
				case e.End != nil:
					end = e.End
				case e.Seq%7 == 1:
					if e.Gap == nil || e.Gap.Dropped != 1 {
						t.Errorf("%d is no gap: %+v", e.Seq, e)
					}
				case e.Seq%7 == 0:
					if e.Output == nil || e.Output.Stream != rdev.Stderr || string(e.Output.Base64) != "\xff" || e.Output.End != "" {
						t.Errorf("%d is %+v", e.Seq, e.Output)
					}
				case e.Output == nil || e.Output.Text != fmt.Sprintf("line %d", e.Seq) || e.Output.End != "\n":
					t.Errorf("%d is %+v", e.Seq, e.Output)
				}
				return nil
			})
			if err != nil || end == nil || end.ExitCode != 3 || next != lines+2 {
				t.Errorf("%v, end %+v, next %d", err, end, next)
			}
		})
	}
}

// A stream whose events have no number cannot be gone on with.
func TestRdevFollowOfNonsense(t *testing.T) {
	for _, body := range []string{"event: output\ndata: {}\n\n", "id: x\nevent: end\ndata: {}\n\n", "id: 1\nevent: gap\ndata: []\n\n"} {
		r := rdevOver(t, func(*http.Request) (*http.Response, error) { return answer(200, strings.NewReader(body)), nil })
		err := r.Follow(t.Context(), "web", "1", From{Tail: 5}, func(OutputEvent) error { t.Error("told"); return nil })
		if err == nil || !strings.Contains(err.Error(), "does not understand") {
			t.Errorf("%q: %v", body, err)
		}
	}
}

// A silent command is followed for as long as its connections are well: the service ends each after an hour.
func TestSilentStreamGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		r := rdevOver(t, func(q *http.Request) (*http.Response, error) {
			if n++; n > 2*rdevComebacks {
				return answer(200, strings.NewReader(sent(0, 0))), nil
			}
			return answer(200, &beats{left: 240, ctx: q.Context()}), nil
		})
		if err := r.Follow(t.Context(), "web", "1", From{}, func(OutputEvent) error { return nil }); err != nil {
			t.Errorf("after %d connections: %v", n, err)
		}
	})
}

// A service that is stopped as slowly as it may is waited for, which is said once; one that stays away is not, for ever.
func TestRdevFollowOutlastsARestart(t *testing.T) {
	for name, tt := range map[string]struct {
		away time.Duration
		ok   bool
	}{"as slow as can be": {50 * time.Second, true}, "for good": {time.Hour, false}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const lines = 20
				begun, n, told := time.Now(), 0, []time.Duration{}
				r := rdevOver(t, func(q *http.Request) (*http.Response, error) {
					switch n++; {
					case n == 1:
						return answer(200, strings.NewReader(sent(lines, 0)[:500])), nil
					case time.Since(begun) < tt.away:
						return gone("")
					}
					after, err := strconv.Atoi(q.Header.Get("Last-Event-ID"))
					if err != nil || after == 0 {
						t.Errorf("asked for what is behind %q", q.Header.Get("Last-Event-ID"))
					}
					return answer(200, strings.NewReader(sent(lines, after))), nil
				})
				r.c.away = func(why error) {
					told = append(told, time.Since(begun))
					if !errors.Is(why, ErrNoServer) {
						t.Errorf("it is away for %v", why)
					}
				}
				events := uint64(0)
				err := r.Follow(t.Context(), "web", "1", From{}, func(e OutputEvent) error {
					if events++; e.Seq != events {
						t.Errorf("event %d is %d", events, e.Seq)
					}
					return nil
				})
				if (err == nil) != tt.ok || tt.ok && events != lines+1 || time.Since(begun) > 2*time.Minute {
					t.Errorf("%v after %v and %d events", err, time.Since(begun), events)
				}
				if len(told) != 1 || told[0] < time.Second || told[0] > 5*time.Second {
					t.Errorf("told after %v", told)
				}
			})
		})
	}
}

// beats is a body with a heartbeat each quarter of a minute.
type beats struct {
	left int
	ctx  context.Context
}

func (b *beats) Read(p []byte) (int, error) {
	if b.left--; b.left < 0 {
		return 0, io.EOF
	}
	if !sleep(b.ctx, idleTimeout/4) {
		return 0, b.ctx.Err()
	}
	return copy(p, ":\n\n"), nil
}
