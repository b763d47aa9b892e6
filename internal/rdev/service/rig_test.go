package service_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"stella/internal/rdev"
	"stella/internal/rdev/outlog"
	"stella/internal/rdev/projects"
	"stella/internal/rdev/run"
	"stella/internal/rdev/service"
	"stella/internal/store"
	"stella/internal/testkit/postgres"
)

// ada and bob ask for commands.
var ada, bob = rdev.Caller{Name: "key ada"}, rdev.Caller{Name: "key bob"}

// onEach runs a test on SQLite, and on a real PostgreSQL server where there is one.
func onEach(t *testing.T, f func(t *testing.T, r *rig)) {
	t.Run("sqlite", func(t *testing.T) { f(t, newRig(t, "sqlite:"+filepath.Join(t.TempDir(), "rdev.db"))) })
	t.Run("postgres", func(t *testing.T) { f(t, newRig(t, postgres.Database(t))) })
}

// rig is a service on a real database and real logs, whose programs the test runs by hand.
type rig struct {
	*testing.T
	o        service.Options
	url, dir string
	db       *store.DB
	logs     *outlog.Store
	programs chan *program
	hooks    *hooks
	metrics  *metrics
	said     *lockedText
	s        *service.Service
	stop     context.CancelFunc
	stopped  chan error
}

func newRig(t *testing.T, url string) *rig {
	r := &rig{T: t, url: url, dir: t.TempDir(), programs: make(chan *program), hooks: &hooks{}, metrics: &metrics{ends: map[rdev.Reason]int{}}, said: &lockedText{}}
	r.openStores()
	r.o = service.Options{
		Runner: fakeRunner(r.programs), Projects: places{}, Hooks: r.hooks, Metrics: r.metrics,
		Log: slog.New(slog.NewTextHandler(r.said, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	return r
}

func sqliteRig(t *testing.T) *rig { return newRig(t, "sqlite:"+filepath.Join(t.TempDir(), "rdev.db")) }

func (r *rig) openStores() {
	r.Helper()
	db, err := store.Open(r.Context(), store.Options{URL: r.url, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { db.Close() })
	r.db = db
	r.openLogs(outlog.Options{})
}

func (r *rig) openLogs(o outlog.Options) {
	r.Helper()
	logs, err := outlog.Open(r.dir, o)
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { logs.Close() })
	r.logs = logs
}

// open opens the service, and start runs it, until the test ends or halt.
func (r *rig) open() *rig {
	r.Helper()
	r.o.DB, r.o.Logs = r.db, r.logs
	s, err := service.Open(r.Context(), r.o)
	if err != nil {
		r.Fatal(err)
	}
	r.s = s
	return r
}

func (r *rig) start() *rig {
	r.Helper()
	if r.s == nil {
		r.open()
	}
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	go func(s *service.Service) { stopped <- s.Run(ctx) }(r.s)
	r.stop, r.stopped = cancel, stopped
	r.Cleanup(cancel)
	return r
}

func (r *rig) halt() {
	r.Helper()
	r.stop()
	if err := <-r.stopped; err != nil {
		r.Error(err)
	}
	r.s = nil
}

func shell(line string) rdev.Request { return rdev.Request{Shell: line} }

func (r *rig) submit(by rdev.Caller, project string, q rdev.Request) rdev.Command {
	r.Helper()
	c, existed, err := r.s.Submit(r.Context(), by, project, q, "")
	if err != nil || existed {
		r.Fatalf("submit: %v, existed %v", err, existed)
	}
	return c
}

func (r *rig) command(c rdev.Command) rdev.Command {
	r.Helper()
	got, err := r.s.Command(r.Context(), c.Project, c.ID)
	if err != nil {
		r.Fatal(err)
	}
	return got
}

// next is the program that is started next.
func (r *rig) next() *program {
	r.Helper()
	select {
	case p := <-r.programs:
		return p
	case <-time.After(30 * time.Second):
		r.Fatalf("no program was started\n%s", r.said)
		return nil
	}
}

// nothing expects that no program is started. The scheduler has had its chance when the service has answered after a nudge.
func (r *rig) nothing() {
	r.Helper()
	select {
	case p := <-r.programs:
		r.Fatalf("%s was started", p.ID)
	case <-time.After(50 * time.Millisecond): // a wrong start that is later is missed, never one that is right
	}
}

// output reads all of a log, which waits for its end, and returns it with the end.
func output(t testing.TB, log *service.Log) (string, rdev.End) {
	t.Helper()
	var text strings.Builder
	buf := make([]byte, outlog.MinBuffer)
	for after := uint64(0); ; {
		at, err := log.Read(after, buf, func(r outlog.Record) bool {
			fmt.Fprintf(&text, "%s: %s%s", r.Stream, r.Data, r.End)
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
		if at.End != nil {
			return text.String(), *at.End
		}
		after = at.Next
		select {
		case <-log.More(after):
		case <-time.After(30 * time.Second):
			t.Fatal("the log does not end")
		}
	}
}

func (r *rig) logOf(c rdev.Command) *service.Log {
	r.Helper()
	log, err := r.s.Log(r.Context(), c.Project, c.ID)
	if err != nil {
		r.Fatal(err)
	}
	return log
}

// end waits for the end of a command, and until it is written down.
func (r *rig) end(c rdev.Command) rdev.Command {
	r.Helper()
	output(r, r.logOf(c))
	for {
		if c = r.command(c); c.Status == rdev.Ended {
			return c
		}
		time.Sleep(time.Millisecond) // between the end of the log and that of the command
	}
}

// program is one that the service has started; the test says what it does.
type program struct {
	run.Spec
	project rdev.Project
	ctx     context.Context
	end     chan rdev.End
}

func (p *program) exit(code int) { p.end <- rdev.End{Reason: rdev.ReasonExit, ExitCode: code} }

type fakeRunner chan *program

func (f fakeRunner) Run(ctx context.Context, project rdev.Project, s run.Spec, started func()) rdev.End {
	if ctx.Err() != nil {
		return rdev.End{Reason: rdev.ReasonCancelled, ExitCode: -1, Detail: "before it was started"}
	}
	p := &program{s, project, ctx, make(chan rdev.End)}
	started()
	select {
	case f <- p:
	case <-ctx.Done():
		return rdev.End{Reason: rdev.ReasonCancelled, ExitCode: -1, Detail: "cancelled: " + context.Cause(ctx).Error()}
	}
	select {
	case end := <-p.end:
		return end
	case <-ctx.Done():
		return rdev.End{Reason: rdev.ReasonCancelled, ExitCode: 143, Detail: "cancelled: " + context.Cause(ctx).Error()}
	}
}

// places has all projects but those whose names begin with no, and busy ones.
type places struct{}

func (places) Get(_ context.Context, name string) (rdev.Project, error) {
	switch {
	case strings.HasPrefix(name, "no"):
		return rdev.Project{}, fmt.Errorf("project %s: %w", name, projects.ErrNotFound)
	case strings.HasPrefix(name, "broken"):
		return rdev.Project{}, errors.New("the cluster does not answer")
	}
	return rdev.Project{Name: name, Kind: rdev.Local, Directory: "/", Ready: !strings.HasPrefix(name, "busy"), Reason: "it is busy"}, nil
}

func (places) Directory(p rdev.Project, below string) (string, error) {
	if strings.HasPrefix(below, "no") {
		return "", fmt.Errorf("there is no directory %s", below)
	}
	return filepath.Join(p.Directory, below), nil
}

// hooks has what was added in transactions that were kept.
type hooks struct {
	mu    sync.Mutex
	added map[string][]rdev.Command
	woken int
}

func (h *hooks) Check(url string) error {
	if strings.Contains(url, "forbidden") {
		return rdev.Errorf(rdev.ErrInvalid, "not there")
	}
	return nil
}

func (h *hooks) Add(_ context.Context, _ *store.Tx, url string, c rdev.Command) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.added == nil {
		h.added = map[string][]rdev.Command{}
	}
	h.added[url] = append(h.added[url], c)
	return nil
}

func (h *hooks) Wake() { h.mu.Lock(); h.woken++; h.mu.Unlock() }

func (h *hooks) of(url string) []rdev.Command {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.added[url]
}

type metrics struct {
	mu      sync.Mutex
	refused []error
	started int
	ends    map[rdev.Reason]int
}

func (m *metrics) CommandRefused(kind error) {
	m.mu.Lock()
	m.refused = append(m.refused, kind)
	m.mu.Unlock()
}
func (m *metrics) CommandStarted(time.Duration) {
	m.mu.Lock()
	m.started++
	m.mu.Unlock()
}
func (m *metrics) CommandEnded(r rdev.Reason, _ time.Duration) {
	m.mu.Lock()
	m.ends[r]++
	m.mu.Unlock()
}

// lockedText is a log that several goroutines write.
type lockedText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lockedText) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lockedText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
