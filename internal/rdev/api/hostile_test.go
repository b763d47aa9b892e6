package api_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"stella/internal/rdev"
	"stella/internal/rdev/api"
	"stella/internal/rdev/keys"
)

func TestHugeRequests(t *testing.T) {
	g := newRig(t)
	const at = "/v1/projects/p/commands"
	g.status(g.send(master, "GET", "/v1/projects", "", "X-Long", strings.Repeat("x", 32<<10)), 431)
	g.status(g.send(master, "POST", at, `{"shell":"`+strings.Repeat("x", 5<<20)+`"}`), 413)
	g.status(g.send(master, "POST", "/v1/keys", `{"name":"`+strings.Repeat("x", 70<<10)+`"}`), 413)
	// Of a length that nobody says, and that never ends.
	r, err := http.NewRequestWithContext(t.Context(), "POST", g.url+at, io.MultiReader(strings.NewReader(`{"shell":"`), forever{}))
	must(t, err)
	r.Header.Set("Authorization", "Bearer "+master)
	r.Header.Set("Content-Type", "application/json")
	if res, err := http.DefaultTransport.RoundTrip(r); err == nil { // the service may close before the client has sent what it wants to
		res.Body.Close()
		if res.StatusCode != 413 {
			t.Errorf("a body without end: %d", res.StatusCode)
		}
	}
	for body, want := range map[string]int{
		`{"argv":[` + strings.Repeat(`"",`, 1_000_000) + `""]}`:                      422,
		`{"argv":["true"],"env":{` + strings.Repeat(`"A":"",`, 500_000) + `"B":""}}`: 422,
		strings.Repeat("[", 1_000_000):                                               422,
		`{"shell":"true","sudo":true}`:                                               400,
		`{"shell":"true"} {"shell":"false"}`:                                         400,
		`{"shell":"true"`:                                                            400,
		`["true"]`:                                                                   400,
		`null`:                                                                       422,
		`{"shell":"true","memory":1e400}`:                                            400,
		`{"shell":"true","memory":99999999999999}`:                                   422,
		`{"shell":"echo ,,,,,,[[[[{{{{ \",\""}`:                                      202,
	} {
		r := g.send(master, "POST", at, body)
		if r.StatusCode != want {
			t.Errorf("%.60s: %d %.200s; want %d", body, r.StatusCode, r.body, want)
		}
	}
}

// Who holds large bodies back takes the places of nobody else, and small ones need none.
func TestLargeBodiesAreLimited(t *testing.T) {
	g := newRig(t)
	slow, other := g.key("slow", rdev.ScopeRun), g.key("other", rdev.ScopeRun)
	begin := func(key string) *http.Response {
		t.Helper()
		body, writer := io.Pipe()
		t.Cleanup(func() { writer.Close() })
		r, err := http.NewRequestWithContext(t.Context(), "POST", g.url+"/v1/projects/p/commands", body)
		must(t, err)
		r.Header.Set("Authorization", "Bearer "+key)
		r.Header.Set("Content-Type", "application/json")
		answers := make(chan *http.Response, 1)
		go func() {
			if res, err := http.DefaultTransport.RoundTrip(r); err == nil {
				answers <- res
			}
		}()
		select {
		case res := <-answers:
			res.Body.Close()
			return res
		case <-time.After(200 * time.Millisecond): // it is being read
			return nil
		}
	}
	for range 2 {
		if res := begin(slow); res != nil {
			t.Fatalf("the first two: %v", res.Status)
		}
	}
	if res := begin(slow); res == nil || res.StatusCode != 429 {
		t.Errorf("the third: %v", res)
	}
	if res := begin(other); res != nil {
		t.Errorf("another's: %v", res.Status)
	}
	g.status(g.send(slow, "POST", "/v1/projects/p/commands", `{"argv":["true"]}`), 202)
}

// forever is x without end.
type forever struct{}

func (forever) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// Who sends headers or a body slowly is cut off in time, and costs nobody anything.
func TestSlowLoris(t *testing.T) {
	for name, begin := range map[string]string{
		"headers": "POST /v1/projects/p/commands HTTP/1.1\r\nHost: x\r\n",
		"body": "POST /v1/projects/p/commands HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n" +
			"Authorization: Bearer " + master + "\r\n\r\n{",
		"nothing": "",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := api.New(api.Options{
					Gate: keys.NewGate(nil, master), PerSecond: 1, Answered: func(int) {}, Refused: func() {}, Log: slog.New(slog.DiscardHandler),
				})
				l := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
				server := a.Server()
				go func() { _ = server.Serve(l) }()
				client := l.dial()
				start := time.Now()
				fmt.Fprint(client, begin)
				var slowly sync.WaitGroup
				slowly.Go(func() {
					for { // one byte in a second
						time.Sleep(time.Second)
						if _, err := io.WriteString(client, "a"); err != nil {
							return
						}
					}
				})
				if name != "headers" {
					if res, err := http.ReadResponse(bufio.NewReader(client), nil); err == nil {
						if res.StatusCode != 400 && res.StatusCode != 408 {
							t.Errorf("%v", res.Status)
						}
						res.Body.Close()
					}
				}
				_, _ = io.Copy(io.Discard, client)
				if took := time.Since(start); took > 31*time.Second {
					t.Errorf("it was cut off after %v", took)
				}
				client.Close()
				server.Close()
				slowly.Wait()
			})
		})
	}
}

// pipes is a listener whose connections are in memory, so that the time of a test is theirs.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (l *pipes) dial() net.Conn {
	here, there := net.Pipe()
	l.conns <- there
	return here
}

func (l *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, errors.New("closed")
	}
}

func (l *pipes) Close() error {
	close(l.closed)
	return nil
}

func (l *pipes) Addr() net.Addr { return &net.TCPAddr{} }
