// Package book keeps the incidents of all sources in a database: their events, and what these make of them.
//
// Words: [Book.Append] adds events in the caller's transaction, for what this process tells itself; [Book.Tell] adds what somebody sent, as far as
// they may. An event counts once, by its incident and its ID. A summary is the [incident.Incident] that the events make, kept with them: events that are newer than
// all others go on from it, and one that is older makes it anew. The owner of an incident is who told of it first.
//
// Bounds: an incident has at most [incident.MaxEvents] events and [MaxBytes] bytes. To make room the oldest of its kills and samples are let go,
// the kills told together by one event, so that their number stays. Where there are none of these left, only its end is taken. [Book.Prune] removes incidents
// that ended long ago, and when all together are too large those that ended first, and then those in which nothing happened for longest.
//
// Hazards:
//
//   - Kills and samples that were let go are known by their time alone: one that is as old, but was not there before, is taken for one of them.
//   - Transactions that add events take turns from there to their end, in which case they are ordered for who follows. What can be done before is done before.
package book

import (
	"context"
	"embed"
	"errors"
	"io/fs"
	"log/slog"
	"time"

	"stella/internal/incident"
	"stella/internal/store"
)

//go:embed migrations/*.sql
var migrations embed.FS

const (
	// MaxBytes bounds the events of one incident, as JSON: so much is answered, and held in memory, when somebody asks for it.
	MaxBytes = 8 << 20
	// maxTotal bounds all incidents together: some 100,000 of 10 KiB.
	maxTotal = 1 << 30
	// keepEnded is how long an incident is kept after its end: people write reports of a quarter.
	keepEnded = 100 * 24 * time.Hour
	// maxHead bounds an event without its data, as JSON: no real one has a twentieth of it.
	maxHead = 64 << 10
	// maxSummaries bounds the bytes of one list of incidents, as JSON.
	maxSummaries = 8 << 20
)

// What an error can be, for errors.Is.
var (
	ErrNotFound = errors.New("there is no such incident")
	ErrTooLarge = errors.New("the answer would be too large")
)

// Options say how much is kept. The zero value of each is the package's own.
type Options struct {
	// MaxTotal is the most bytes of all events, and KeepEnded how long an incident is kept after its end.
	MaxTotal  int64
	KeepEnded time.Duration
	Log       *slog.Logger
}

// Book keeps incidents. It may be used by several goroutines, and several may have the same database.
type Book struct {
	db *store.DB
	o  Options
}

// Open makes the tables where they are not there.
func Open(ctx context.Context, db *store.DB, o Options) (*Book, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	if err := db.Migrate(ctx, files, "incident_schema"); err != nil {
		return nil, err
	}
	if o.MaxTotal == 0 {
		o.MaxTotal = maxTotal
	}
	if o.KeepEnded == 0 {
		o.KeepEnded = keepEnded
	}
	return &Book{db, o}, nil
}

// Append adds events that this process tells itself, in a transaction, and becomes the owner of incidents that they open. What is wrong with an event is an error; an event that
// finds no room is left out, and logged.
func (b *Book) Append(ctx context.Context, tx *store.Tx, events ...incident.Event) error {
	for i := range events {
		if err := check(&events[i], events[i].Time); err != nil { // its clock is the database's
			return err
		}
	}
	receipt, err := b.add(ctx, tx, Teller{Name: "stellad", own: true}, events)
	for _, r := range receipt.Refused {
		b.o.Log.Warn("an event of an incident was left out", "incident", r.Incident, "event", r.ID, "reason", r.Reason)
	}
	return err
}

// micros is a time of the database; none is 0.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}
