package api_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"stella/internal/rdev"
	"stella/internal/rdev/api"
	"stella/internal/rdev/audit"
	"stella/internal/rdev/keys"
	"stella/internal/rdev/outlog"
	"stella/internal/rdev/projects"
	"stella/internal/rdev/run"
	"stella/internal/rdev/service"
	"stella/internal/rdev/stream"
	"stella/internal/store"
)

// master is a key with the scope admin.
const master = "0123456789abcdef0123456789abcdef"

// rig is an API with everything behind it, and two projects, p and q, on TCP.
type rig struct {
	t       *testing.T
	api     *api.API
	keys    *keys.Keys
	hub     *stream.Hub
	url     string
	dir     string // of the project p
	refuse  bool   // new streams
	options api.Options
	log     safeBuffer
}

// safeBuffer is a buffer for several goroutines.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

type runHere struct{ *run.Runner }

func newRig(t *testing.T) *rig {
	t.Helper()
	g := &rig{t: t}
	log := slog.New(slog.NewTextHandler(&g.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	root, state := t.TempDir(), t.TempDir()
	for _, name := range []string{"p", "q"} {
		must(t, os.Mkdir(filepath.Join(root, name), 0o755))
	}
	g.dir = filepath.Join(root, "p")
	db, err := store.Open(t.Context(), store.Options{URL: "sqlite:" + filepath.Join(state, "db"), Log: log})
	must(t, err)
	t.Cleanup(func() { db.Close() })
	logs, err := outlog.Open(filepath.Join(state, "logs"), outlog.Options{Log: log})
	must(t, err)
	t.Cleanup(func() { logs.Close() })
	where, err := projects.New(projects.Options{Roots: []string{root}, Log: log})
	must(t, err)
	t.Cleanup(func() { where.Close() })
	g.hub, err = stream.New(stream.Options{Log: log})
	must(t, err)
	t.Cleanup(func() { g.hub.Close() })
	runner, err := run.New(run.Options{Group: "rdev-api-test", Grace: time.Second, Log: log})
	must(t, err)
	commands, err := service.Open(t.Context(), service.Options{DB: db, Logs: logs, Runner: runHere{runner}, Projects: where, Log: log})
	must(t, err)
	g.keys, err = keys.Open(t.Context(), db, log)
	must(t, err)
	who, err := audit.Open(t.Context(), db, log)
	must(t, err)
	g.options = api.Options{
		Service: commands, Projects: where, Hub: g.hub, Keys: g.keys, Gate: keys.NewGate(g.keys, master), Audit: who,
		RefuseStreams: func() (bool, string) { return g.refuse, "memory is short" },
		Own:           http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "own "+r.URL.Path) }),
		MetricsFrom:   []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		PerSecond:     100,
		Answered:      func(int) {}, Refused: func() {}, Log: log,
	}
	g.api = api.New(g.options)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	g.url = "http://" + l.Addr().String()
	server := g.api.Server()
	var work sync.WaitGroup
	work.Go(func() { _ = server.Serve(l) })
	work.Go(func() {
		if err := commands.Run(t.Context()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { server.Close(); work.Wait() }) // before what is above is closed
	return g
}

// Run runs everything in the directory that it was asked for.
func (r runHere) Run(ctx context.Context, _ rdev.Project, s run.Spec, started func()) rdev.End {
	return r.Runner.Run(ctx, s, started)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// key makes an API key.
func (g *rig) key(name string, scope rdev.Scope, projects ...string) string {
	g.t.Helper()
	k, err := g.keys.Create(g.t.Context(), rdev.Caller{Name: "test"}, rdev.KeyRequest{Name: name, Scope: scope, Projects: projects})
	must(g.t, err)
	return k.Secret
}

// reply is an answer with its body.
type reply struct {
	*http.Response
	body string
}

// send sends a request. Of header are pairs of names and values.
func (g *rig) send(key, method, path, body string, header ...string) reply {
	g.t.Helper()
	r := g.open(key, method, path, body, header...)
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	must(g.t, err)
	return reply{r, string(text)}
}

// open sends a request, and leaves the body to the caller.
func (g *rig) open(key, method, path, body string, header ...string) *http.Response {
	g.t.Helper()
	r, err := http.NewRequestWithContext(g.t.Context(), method, g.url+path, strings.NewReader(body))
	must(g.t, err)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
		if header[i] == "Host" {
			r.Host = header[i+1]
		}
	}
	res, err := http.DefaultTransport.RoundTrip(r)
	must(g.t, err)
	return res
}

// status checks an answer's status.
func (g *rig) status(r reply, want int) reply {
	g.t.Helper()
	if r.StatusCode != want {
		g.t.Fatalf("%s %s: %d %s; want %d", r.Request.Method, r.Request.URL, r.StatusCode, r.body, want)
	}
	return r
}

func into[T any](t *testing.T, r reply) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.body), &v); err != nil {
		t.Fatalf("%v: %s", err, r.body)
	}
	return v
}

// submit asks for a command in p.
func (g *rig) submit(request rdev.Request) rdev.Command {
	g.t.Helper()
	body, err := json.Marshal(request)
	must(g.t, err)
	return into[rdev.Command](g.t, g.status(g.send(master, "POST", "/v1/projects/p/commands", string(body)), 202))
}

// shell runs a line in p to its end.
func (g *rig) shell(line string) rdev.Command {
	g.t.Helper()
	c := g.submit(rdev.Request{Shell: line})
	g.wait(c)
	return c
}

// wait waits for the end of a command, and until that is written down.
func (g *rig) wait(c rdev.Command) rdev.Command {
	g.t.Helper()
	for {
		c := into[rdev.Command](g.t, g.status(g.send(master, "GET", "/v1/projects/p/commands/"+c.ID, ""), 200))
		if c.Status == rdev.Ended {
			return c
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// event is a server-sent event.
type event struct{ id, name, data string }

// events reads server-sent events strictly: what is no line of one fails.
func events(t *testing.T, r io.Reader) (all []event) {
	t.Helper()
	var e event
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		name, value, ok := strings.Cut(lines.Text(), ": ")
		switch {
		case lines.Text() == "":
			if e.name != "" {
				all = append(all, e)
			}
			e = event{}
		case ok && name == "id":
			e.id = value
		case ok && name == "event":
			e.name = value
		case ok && name == "data":
			e.data += value
		case ok && (name == "" || name == "retry"):
		default:
			t.Errorf("a line of no event: %q", lines.Text())
		}
	}
	return all
}
