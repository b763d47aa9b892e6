package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// pipes is a server without a network, so that its time can be a bubble's.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.conns <- theirs:
		return ours, nil
	case <-p.done:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// bubbled starts a server in a bubble. Each request is answered by the next function; the last one answers the rest.
func bubbled(t *testing.T, answers ...http.HandlerFunc) (*Client, *pipes) {
	t.Helper()
	p := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	var mu sync.Mutex
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		answer := answers[0]
		if len(answers) > 1 {
			answers = answers[1:]
		}
		mu.Unlock()
		answer(w, r)
	})}
	served := make(chan struct{})
	go func() {
		defer close(served)
		s.Serve(p)
	}()
	kubeconfig := kubeCluster{Server: "http://api"}
	config := Config{who: static{}}
	if err := kubeconfig.apply(&config); err != nil {
		t.Fatal(err)
	}
	c := New(config, "test/1")
	c.transport.DialContext = p.dial
	c.transport.Proxy = func(*http.Request) (*url.URL, error) { return nil, nil }
	t.Cleanup(func() {
		c.Close()
		s.Close()
		<-served
	})
	return c, p
}

// expect answers a request whose query has these values ("-" for none), with lines that it
// sends one by one.
func expect(t *testing.T, query string, lines ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		t.Helper()
		want, _ := url.ParseQuery(query)
		for key := range want {
			if got := r.URL.Query().Get(key); got != want.Get(key) {
				t.Errorf("request %s; want %s", r.URL.RawQuery, query)
			}
		}
		for _, line := range lines {
			io.WriteString(w, line)
			w.(http.Flusher).Flush()
		}
	}
}

// hang never answers.
func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func event(kind, name, version string) string {
	return fmt.Sprintf(`{"type":%q,"object":{"metadata":{"name":%q,"resourceVersion":%q}}}`+"\n", kind, name, version)
}

// recorder writes down what a watch tells.
type recorder struct {
	told     []string
	troubles []string
	at       []time.Duration
	start    time.Time
}

var errEnough = errors.New("enough")

// watch runs a watch until it told so many things, or until the time is over.
func watch(t *testing.T, c *Client, steps int, within time.Duration) *recorder {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	r := &recorder{start: time.Now()}
	err := Watch(ctx, c, Query{Resource: Pods}, func(e Event[Pod]) error {
		text := [...]string{Reset: "reset", Synced: "synced", Put: "+", Delete: "-"}[e.Change]
		if e.Object != nil {
			text += e.Object.Metadata.Name
		}
		r.told = append(r.told, text)
		if len(r.told) == steps {
			return errEnough
		}
		return nil
	}, func(err error) {
		text := "well"
		if err != nil {
			text = err.Error()
		}
		r.troubles = append(r.troubles, text)
		r.at = append(r.at, time.Since(r.start))
	})
	if len(r.told) == steps && err != errEnough || len(r.told) != steps && !errors.Is(err, context.DeadlineExceeded) { //nolint:errorlint // the very same
		t.Errorf("ended with %v after %v", err, r.told)
	}
	return r
}

const twoPods = `{"kind":"PodList","metadata":{"resourceVersion":"10"},"items":[{"metadata":{"name":"a"}},{"metadata":{"name":"b"}}]}`

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := bubbled(t,
			// A page after the first is of the same list: it may not ask for a version.
			expect(t, "resourceVersion=0&limit=500", `{"kind":"PodList","metadata":{"resourceVersion":"10","continue":"more"},"items":[{"metadata":{"name":"a"}}]}`),
			expect(t, "resourceVersion=&continue=more&limit=500", `{"kind":"PodList","metadata":{"resourceVersion":"10"},"items":[{"metadata":{"name":"b"}}]}`),
			expect(t, "watch=true&allowWatchBookmarks=true&resourceVersion=10", event("ADDED", "c", "11"), event("DELETED", "a", "12"), event("BOOKMARK", "", "20")),
			// The request ended, as they do after some minutes. It goes on where it was.
			expect(t, "watch=true&resourceVersion=20", event("MODIFIED", "c", "21"), `{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}`),
			// The server forgot: now the newest list, not one of any age.
			expect(t, "watch=&resourceVersion=&limit=500", `{"kind":"PodList","metadata":{"resourceVersion":"30"},"items":[{"metadata":{"name":"d"}}]}`),
			expect(t, "watch=true&resourceVersion=30", event("ADDED", "e", "31")),
		)
		r := watch(t, c, 11, time.Hour)
		want := []string{"reset", "+a", "+b", "synced", "+c", "-a", "+c", "reset", "+d", "synced", "+e"}
		if diff := cmp.Diff(want, r.told); diff != "" || r.troubles != nil {
			t.Error(diff, r.troubles)
		}
	})
}

// Whatever breaks is tried again, goes on where it was, and is told.
func TestWatchGoesOn(t *testing.T) {
	busy := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "20")
		w.WriteHeader(http.StatusTooManyRequests)
	}
	for name, c := range map[string]struct {
		between http.HandlerFunc
		want    string
		// after is when it goes on.
		min, max time.Duration
	}{
		"broken in the middle":   {expect(t, "", `{"type":"ADDED","obj`), "unexpected EOF", time.Second / 2, time.Second},
		"ends at once":           {expect(t, ""), "unexpected EOF", time.Second / 2, time.Second},
		"no JSON":                {expect(t, "", "<html>"), "invalid character", time.Second / 2, time.Second},
		"an event nobody knows":  {expect(t, "", event("CONFUSED", "", "")), `type "CONFUSED"`, time.Second / 2, time.Second},
		"an event of a string":   {expect(t, "", `{"type":"ADDED","object":"x"}`), "cannot unmarshal", time.Second / 2, time.Second},
		"an error of the server": {expect(t, "", `{"type":"ERROR","object":{"kind":"Status","code":500,"message":"etcd is ill"}}`), "etcd is ill (HTTP status 500)", time.Second / 2, time.Second},
		"too large":              {expect(t, "", `{"type":"ADDED","object":{"x":"`+strings.Repeat("x", MaxObject)), "more than 3145728 bytes", time.Second / 2, time.Second},
		"busy":                   {busy, "429", 20 * time.Second, 20 * time.Second},
		"no answer at all":       {hang, "timeout awaiting response headers", headerTimeout, headerTimeout + time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, _ := bubbled(t, expect(t, "", twoPods), c.between, expect(t, "watch=true&resourceVersion=10", event("ADDED", "c", "11")))
				r := watch(t, client, 5, time.Hour)
				if diff := cmp.Diff([]string{"reset", "+a", "+b", "synced", "+c"}, r.told); diff != "" {
					t.Error(diff)
				}
				if len(r.troubles) != 2 || !strings.Contains(r.troubles[0], c.want) || !strings.Contains(r.troubles[0], "watch pods") || r.troubles[1] != "well" {
					t.Errorf("troubles %q; want %q", r.troubles, c.want)
				} else if r.at[1] < c.min || r.at[1] > c.max {
					t.Errorf("well after %v; want %v to %v", r.at[1], c.min, c.max)
				}
			})
		})
	}
}

// A server that stops in the middle of a list does not hold it for ever.
func TestListStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stall := func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, `{"items":[{"metadata":{"name":"a"}},`)
			w.(http.Flusher).Flush()
			hang(w, r)
		}
		c, _ := bubbled(t, stall)
		start := time.Now()
		got, err := names(t.Context(), c, Query{Resource: Pods})
		if len(got) != 1 || err == nil || !strings.Contains(err.Error(), "nothing came from the server for 30s") || time.Since(start) != idleTimeout {
			t.Errorf("%v, %v after %v", got, err, time.Since(start))
		}
	})
}

// One that is slow, and goes on, is waited for.
func TestListIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := func(w http.ResponseWriter, _ *http.Request) {
			for _, part := range []string{`{"kind":"PodList","items":[{"metadata"`, `:{"name":"a"}},`, `{"metadata":{"name":"b"}}`, `]}`} {
				time.Sleep(idleTimeout - time.Second)
				io.WriteString(w, part)
				w.(http.Flusher).Flush()
			}
		}
		c, _ := bubbled(t, slow)
		if got, err := names(t.Context(), c, Query{Resource: Pods}); len(got) != 2 || err != nil {
			t.Errorf("%v, %v", got, err)
		}
	})
}

// After an illness the next one begins with a short wait.
func TestWatchRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := expect(t, "", "<html>")
		c, _ := bubbled(t, expect(t, "", twoPods), broken, broken, broken, broken, broken,
			expect(t, "", event("ADDED", "c", "11"), "<html>"), expect(t, "", event("ADDED", "d", "12")))
		r := watch(t, c, 6, time.Hour)
		n := len(r.at)
		if n < 2 || r.at[n-3] < 15*time.Second || r.at[n-1]-r.at[n-2] > time.Second {
			t.Errorf("told %v; troubles %q at %v", r.told, r.troubles, r.at)
		}
	})
}

// A watch in which nothing happens is no trouble, and a connection that died without a word is given up.
func TestWatchIsQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		quiet := func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()
			select {
			case <-time.After(watchTime):
			case <-r.Context().Done():
			}
		}
		silent := func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()
			hang(w, r)
		}
		c, _ := bubbled(t, expect(t, "", twoPods), quiet, quiet, silent, expect(t, "watch=true&resourceVersion=10", event("ADDED", "c", "11")))
		r := watch(t, c, 5, time.Hour)
		if len(r.told) != 5 || len(r.troubles) != 2 || !strings.Contains(r.troubles[0], "deadline exceeded") {
			t.Errorf("%v %q", r.told, r.troubles)
		}
		if took := time.Since(r.start); took < 3*watchTime || took > 3*watchTime+time.Minute {
			t.Errorf("took %v", took)
		}
	})
}

// A server that is ill is left alone for longer and longer, whatever its illness is.
func TestWatchBacksOff(t *testing.T) {
	expired := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusGone) }
	forgetful := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("watch") == "" {
			io.WriteString(w, twoPods)
			return
		}
		expired(w, r)
	}
	for name, answer := range map[string]http.HandlerFunc{
		"expired":         expired,
		"watches expired": forgetful,
		"forbidden":       func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) },
		"a list, no more": func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, twoPods) },
		"no version":      func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"kind":"PodList","items":[]}`) },
		"an expired object": func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, `{"type":"ERROR","object":{"code":410}}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				requests := 0
				c, _ := bubbled(t, func(w http.ResponseWriter, r *http.Request) {
					requests++
					answer(w, r)
				})
				watch(t, c, -1, time.Hour)
				// 1, 2, 4, … 60 s, half of it by chance: some 80 waits in an hour, each for a list and a watch.
				if requests > 250 {
					t.Errorf("%d requests in an hour", requests)
				}
			})
		})
	}
	t.Run("not there", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, p := bubbled(t, hang)
			p.Close()
			if r := watch(t, c, -1, time.Hour); len(r.troubles) < 60 || len(r.troubles) > 130 {
				t.Errorf("%d attempts in an hour", len(r.troubles))
			}
		})
	})
}

func FuzzList(f *testing.F) {
	f.Add([]byte(twoPods))
	f.Add([]byte(`{"items":null,"metadata":{"continue":"x"}}`))
	f.Add([]byte(`{"items":[{"spec":{"containers":[{"resources":{"limits":{"memory":"64Mi"}}}]}}]}`))
	f.Fuzz(func(t *testing.T, answer []byte) {
		p := parser[Pod]{in: &budget{r: strings.NewReader(string(answer))}}
		n := 0
		_, err := p.list(func(pod *Pod) error {
			if n++; pod == nil {
				t.Fatal("no object")
			}
			return nil
		})
		if n > len(answer) || err == nil && !json.Valid(answer) {
			t.Fatalf("%d objects of %q, %v", n, answer, err)
		}
	})
}

func FuzzWatch(f *testing.F) {
	f.Add([]byte(event("ADDED", "a", "1") + event("BOOKMARK", "", "2")))
	f.Add([]byte(`{"type":"ERROR","object":{"kind":"Status","code":410}}`))
	f.Add([]byte(`{"type":"DELETED","object":null}`))
	f.Fuzz(func(t *testing.T, answer []byte) {
		w := watcher[Pod]{query: Query{Resource: Pods}, each: func(e Event[Pod]) error {
			if e.Object == nil || e.Change != Put && e.Change != Delete {
				t.Fatalf("%q: %+v", answer, e)
			}
			return nil
		}}
		if progress, err := w.follow(strings.NewReader(string(answer))); err == nil && !progress {
			t.Fatalf("%q: an answer without an event is a good one", answer)
		}
	})
}
