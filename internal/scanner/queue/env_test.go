package queue_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"

	"stella/internal/incident/book"
	"stella/internal/scanner"
	"stella/internal/scanner/queue"
	"stella/internal/store"
	"stella/internal/testkit/postgres"
)

// env is a database for one test. Every test in this package runs on both.
type env struct {
	testing.TB
	url string
	db  *store.DB
}

// onEach runs a test on SQLite, and on a real PostgreSQL server where there is one.
func onEach(t *testing.T, f func(t *testing.T, e *env)) {
	t.Run("sqlite", func(t *testing.T) {
		f(t, newEnv(t, "sqlite:"+filepath.Join(t.TempDir(), "queue.db")))
	})
	t.Run("postgres", func(t *testing.T) {
		f(t, newEnv(t, postgres.Database(t)))
	})
}

func newEnv(t testing.TB, url string) *env {
	e := &env{TB: t, url: url}
	e.db = e.open()
	return e
}

func (e *env) open() *store.DB {
	e.Helper()
	db, err := store.Open(e.Context(), store.Options{URL: e.url, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		e.Fatal(err)
	}
	e.Cleanup(func() {
		if err := db.Close(); err != nil {
			e.Error(err)
		}
	})
	return db
}

// instance is a queue as another stellad would have it: with its own connections, where the database can be shared.
func (e *env) instance(name string) *queue.Queue {
	e.Helper()
	db := e.db
	if db.Dialect() == "postgres" {
		db = e.open()
	}
	incidents, err := book.Open(e.Context(), db, book.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		e.Fatal(err)
	}
	q, err := queue.New(e.Context(), db, incidents, scanner.Instance{Name: name, Host: "host-" + name, Version: "1.2.3"})
	if err != nil {
		e.Fatal(err)
	}
	return q
}

// exec changes the database behind the queue's back.
func (e *env) exec(text string, args ...any) {
	e.Helper()
	err := e.db.Write(e.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(e.Context(), text, args...)
		return err
	})
	if err != nil {
		e.Fatal(err)
	}
}

// number reads one number.
func (e *env) number(text string, args ...any) (n int64) {
	e.Helper()
	err := e.db.Read(e.Context(), func(tx *store.Tx) error {
		_, err := tx.Get(e.Context(), text, args, &n)
		return err
	})
	if err != nil {
		e.Fatal(err)
	}
	return n
}

// plan has the pools default (64 MiB) and large (1 GiB).
func plan() scanner.Plan {
	return scanner.Plan{
		Pools:    []scanner.Pool{{Name: "default", Memory: 64 << 20, Count: 2}, {Name: "large", Memory: 1 << 30, Count: 1}},
		Settings: scanner.DefaultSettings(),
	}
}

func digest(n int) string {
	return fmt.Sprintf("sha256:%064x", n)
}

// submission asks for image number n.
func submission(n int) queue.Submission {
	return queue.Submission{
		Request: scanner.Request{Image: fmt.Sprintf("example.test/image:%d", n)},
		Target:  scanner.Target{Digest: digest(n), Size: 1 << 20, Layers: 3},
		Pool:    "default",
		By:      "key test",
	}
}

// inventory is what image number n has in it.
func inventory(n, size int) []byte {
	return bytes.Repeat([]byte(fmt.Sprintf("%09d\n", n)), (size+9)/10)[:size]
}

// success ends the attempt of a claim with an inventory.
func success(c *queue.Claim, content []byte) queue.Ended {
	sum := sha256.Sum256(content)
	return queue.Ended{
		Job: c.Job.ID, Number: c.Attempt.Number, Outcome: scanner.OutcomeSucceeded,
		End:       scanner.End{Peak: 40 << 20, RSS: 30 << 20, Progress: scanner.Progress{Phase: "done", Layers: 3, Done: 3, Layer: -1}},
		Decision:  scanner.Decision{Status: scanner.StatusSucceeded, Pool: c.Job.Pool},
		Mode:      scanner.ModeStreaming,
		Result:    &scanner.Result{Inventory: "sha256:" + hex.EncodeToString(sum[:]), Size: int64(len(content)), Components: 7},
		Subject:   []byte(`{"name":"x"}`),
		Inventory: bytes.NewReader(content),
	}
}

// failure ends it otherwise, as the plan routes it.
func failure(c *queue.Claim, o scanner.Outcome, message string) queue.Ended {
	exit := 137
	return queue.Ended{
		Job: c.Job.ID, Number: c.Attempt.Number, Outcome: o,
		End:      scanner.End{ExitCode: &exit, Kills: 1, Peak: c.Attempt.Limit, Message: message, Progress: scanner.Progress{Phase: "layers", Layer: 1, Path: "usr/lib/big.jar"}},
		Decision: plan().Route(c.Job, o, c.Attempt.Limit, true, c.Failures+1, message),
		Mode:     scanner.ModeStreaming,
	}
}

func submit(t testing.TB, q *queue.Queue, s queue.Submission) scanner.Job {
	t.Helper()
	job, _, err := q.Submit(context.Background(), s, plan())
	if err != nil {
		t.Fatal(err)
	}
	return job
}

// claim expects that there is a job.
func claim(t testing.TB, q *queue.Queue, pool, worker string) *queue.Claim {
	t.Helper()
	p, _ := plan().Pool(pool)
	c, err := q.Claim(context.Background(), pool, worker, p.Memory)
	if err != nil {
		t.Fatal(err)
	}
	if c == nil {
		t.Fatalf("pool %s has no job", pool)
	}
	return c
}

func noClaim(t testing.TB, q *queue.Queue, pool string) {
	t.Helper()
	c, err := q.Claim(context.Background(), pool, "w", 1)
	if err != nil {
		t.Fatal(err)
	}
	if c != nil {
		t.Fatalf("pool %s has job %d", pool, c.Job.ID)
	}
}

func finish(t testing.TB, q *queue.Queue, e queue.Ended) (scanner.Job, *scanner.WorkerKill) {
	t.Helper()
	job, incident, err := q.Finish(context.Background(), e)
	if err != nil {
		t.Fatal(err)
	}
	return job, incident
}
