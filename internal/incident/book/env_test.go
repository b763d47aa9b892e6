package book_test

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"stella/internal/incident"
	"stella/internal/incident/book"
	"stella/internal/store"
	"stella/internal/testkit/postgres"
)

// began is when everything begins, long enough ago for all that is added to it.
var began = time.Date(2026, 5, 30, 3, 33, 0, 0, time.UTC)

// onEach runs a test on SQLite, and on a real PostgreSQL server where there is one.
func onEach(t *testing.T, f func(t *testing.T, e *env)) {
	t.Run("sqlite", func(t *testing.T) {
		f(t, newEnv(t, "sqlite:"+filepath.Join(t.TempDir(), "book.db")))
	})
	t.Run("postgres", func(t *testing.T) {
		f(t, newEnv(t, postgres.Database(t)))
	})
}

// env is a database for one test, and a book in it.
type env struct {
	*testing.T
	url string
	db  *store.DB
	*book.Book
}

func newEnv(t *testing.T, url string) *env {
	e := &env{T: t, url: url}
	e.db = e.open()
	e.Book = e.another(book.Options{})
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

// another is a book as another stellad would have it: with its own connections, where the database can be shared.
func (e *env) another(o book.Options) *book.Book {
	e.Helper()
	db := e.db
	if db.Dialect() == "postgres" {
		db = e.open()
	}
	o.Log = slog.New(slog.DiscardHandler)
	b, err := book.Open(e.Context(), db, o)
	if err != nil {
		e.Fatal(err)
	}
	return b
}

// n1 is an agent.
var n1 = book.Teller{Name: "key n1", Machine: true, Remedies: true}

func (e *env) tell(b *book.Book, events ...incident.Event) incident.Receipt {
	e.Helper()
	receipt, err := b.Tell(e.Context(), n1, events)
	if err != nil {
		e.Fatal(err)
	}
	return receipt
}

func (e *env) get(id string) incident.Details {
	e.Helper()
	d, err := e.Get(e.Context(), id)
	if err != nil {
		e.Fatal(err)
	}
	return d
}

// at is an event so many minutes after the beginning.
func at(in string, minute int, kind incident.Kind) incident.Event {
	e := incident.Event{Incident: in, ID: fmt.Sprintf("%s-%d", kind, minute), Time: began.Add(time.Duration(minute) * time.Minute), Kind: kind, Actor: "stella-agent on n1"}
	switch kind {
	case incident.Opened:
		e.Source, e.Subject, e.Limit = incident.SourceNode, &incident.Subject{Name: "shop/" + in, Namespace: "shop"}, &incident.Limit{Scope: "container", Bytes: 64 << 20}
	case incident.Killed:
		e.Kills, e.Peak, e.Data = 2, int64(minute)<<20, []byte(`{"pid":7}`)
	case incident.Explained:
		e.Cause, e.Confidence = "leak", 0.9
	}
	return e
}
