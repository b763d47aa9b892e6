package webhook_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"stella/internal/rdev"
	"stella/internal/rdev/webhook"
	"stella/internal/store"
	"stella/internal/testkit/postgres"
)

const secret = "0123456789abcdef0123456789abcdef"

// env is a sender on a real database, and a receiver on this machine, which it may call.
type env struct {
	*testing.T
	o       webhook.Options
	s       *webhook.Sender
	got     chan *http.Request // with Body as it was
	answer  http.HandlerFunc   // what the receiver does; nil is 200
	url     string
	mu      sync.Mutex
	results []webhook.Result
}

func onEach(t *testing.T, f func(t *testing.T, e *env)) {
	t.Run("sqlite", func(t *testing.T) { f(t, newEnv(t, "sqlite:"+filepath.Join(t.TempDir(), "hooks.db"))) })
	t.Run("postgres", func(t *testing.T) { f(t, newEnv(t, postgres.Database(t))) })
}

func newEnv(t *testing.T, url string) *env {
	db, err := store.Open(t.Context(), store.Options{URL: url, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	e := &env{T: t, got: make(chan *http.Request, 100)}
	e.o = webhook.Options{
		DB: db, SecretFile: file, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Log: slog.New(slog.DiscardHandler),
		Done: func(r webhook.Result) { e.mu.Lock(); e.results = append(e.results, r); e.mu.Unlock() },
	}
	receiver := httptest.NewServer(http.HandlerFunc(e.receive))
	t.Cleanup(receiver.Close)
	e.url = receiver.URL + "/hook"
	return e
}

func (e *env) receive(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		e.Error(err)
	}
	copied := r.Clone(context.Background())
	copied.Body = io.NopCloser(strings.NewReader(string(body)))
	e.mu.Lock()
	answer := e.answer
	e.mu.Unlock()
	if answer != nil {
		answer(w, r)
	}
	e.got <- copied
}

func (e *env) set(answer http.HandlerFunc) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.answer = answer
}

// start opens the sender and runs it until the test ends, or what it returns is called.
func (e *env) start() (stop func()) {
	e.Helper()
	s, err := webhook.Open(e.Context(), e.o)
	if err != nil {
		e.Fatal(err)
	}
	e.s = s
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				e.Error(err)
			}
		})
	}
	e.Cleanup(stop)
	return stop
}

func command(n int) rdev.Command {
	return rdev.Command{
		ID: fmt.Sprintf("%013d", n), Project: "web", By: "key ada", Status: rdev.Ended, Created: time.Now().UTC(),
		Request: rdev.Request{Argv: []string{"make", "test"}}, End: &rdev.End{Reason: rdev.ReasonExit, ExitCode: 2},
	}
}

func (e *env) add(url string, c rdev.Command) {
	e.Helper()
	err := e.o.DB.Write(e.Context(), func(tx *store.Tx) error { return e.s.Add(e.Context(), tx, url, c) })
	if err != nil {
		e.Fatal(err)
	}
	e.s.Wake()
}

// receives is what the receiver gets next.
func (e *env) receives() (*http.Request, []byte, webhook.Message) {
	e.Helper()
	select {
	case r := <-e.got:
		body, err := io.ReadAll(r.Body)
		if err != nil {
			e.Fatal(err)
		}
		var m webhook.Message
		if err := json.Unmarshal(body, &m); err != nil {
			e.Fatal(err)
		}
		return r, body, m
	case <-time.After(30 * time.Second):
		e.Fatal("nothing was received")
		return nil, nil, webhook.Message{}
	}
}

// row is one number of the database.
func (e *env) row(query string, args ...any) (n int64) {
	e.Helper()
	err := e.o.DB.Read(e.Context(), func(tx *store.Tx) error {
		_, err := tx.Get(e.Context(), query, args, &n)
		return err
	})
	if err != nil {
		e.Fatal(err)
	}
	return n
}

func (e *env) exec(query string, args ...any) {
	e.Helper()
	err := e.o.DB.Write(e.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(e.Context(), query, args...)
		return err
	})
	if err != nil {
		e.Fatal(err)
	}
}

// until waits for the database to say n.
func (e *env) until(n int64, query string, args ...any) {
	e.Helper()
	for end := time.Now().Add(30 * time.Second); e.row(query, args...) != n; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			e.Fatalf("%s is %d, want %d", query, e.row(query, args...), n)
		}
	}
}

// expect waits until as many tries have these results, in any order: they are told after the database has them.
func (e *env) expect(want ...webhook.Result) {
	e.Helper()
	slices.Sort(want)
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		e.mu.Lock()
		got := slices.Sorted(slices.Values(e.results))
		e.mu.Unlock()
		if slices.Equal(got, want) {
			return
		}
		if time.Now().After(end) {
			e.Fatalf("results %v, want %v", got, want)
		}
	}
}
