// Package queue keeps the scanner's jobs, attempts, results, pools and settings in
// a database, so that whatever is killed when, each job ends exactly once.
//
// Words: a job is pending, running, or final. [Queue.Claim] gives a worker the
// oldest pending job of its pool, as a new attempt; [Queue.Finish] ends the attempt, and the job with
// it or not. Whoever is first ends an attempt; who comes later is fenced ([ErrFenced]). An instance
// is heard of while it calls [Queue.Renew]. The attempts of one that is not are lost, and
// their jobs pending again: by [Queue.Recover] when an instance of the same name
// starts, by [Queue.TakeOver] from another. The subject of a job is what quarantine and retries
// go by: the image's digest, or its reference where it has none.
//
// A method that changes something is one transaction: what it returned without error is on disk, and
// what it did not may be, if the database went away just then. So a client that
// submits again shares its own job, an attempt that no worker knows of is lost at the next
// Renew but one, and a Finish that comes twice is fenced.
//
// Hazards:
//
//   - All times are the database's. A job's delay and an instance's life do not
//     depend on the clocks of the machines that ask.
//   - A running job that is cancelled goes on until its instance hears of it. Only
//     [Queue.Cancel] cancels: an attempt that ends as cancelled without it is tried again.
//   - Errors that match [scanner.ErrUnavailable] are the database's, and may pass.
//   - Text comes from images and clients. What PostgreSQL cannot keep (NUL, invalid
//     UTF-8) is refused in references and replaced in messages.
package queue

import (
	"context"
	"embed"
	"errors"
	"io/fs"

	"stella/internal/scanner"
	"stella/internal/store"
)

// ErrFenced is the error of ending an attempt that has ended already, or that
// belongs to another instance. Nothing was changed.
var ErrFenced error = &scanner.Error{Kind: scanner.ErrConflict, Message: "the attempt has ended already"}

//go:embed migrations/*.sql
var migrations embed.FS

// Queue is one instance's view of the database. It is safe for concurrent use.
type Queue struct {
	db        *store.DB
	incidents Incidents
	instance  scanner.Instance
}

// New brings the queue's tables up to date, and makes the instance known under its
// name, host and version. Two that live at once must not have the same name.
//
// What happens to jobs whose workers were OOM-killed goes to incidents, which has its tables in the same database.
func New(ctx context.Context, db *store.DB, incidents Incidents, instance scanner.Instance) (*Queue, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	q := &Queue{db: db, incidents: incidents, instance: instance}
	if err := db.Migrate(ctx, files, "queue_schema", store.Step{Version: 2, Run: q.move}); err != nil {
		return nil, kind(err)
	}
	return q, q.write(ctx, func(tx *store.Tx) error { return q.register(ctx, tx) })
}

func (q *Queue) register(ctx context.Context, tx *store.Tx) error {
	_, err := tx.Exec(ctx, `INSERT INTO instances (name, host, version, started, seen, workers)
		VALUES ($1, $2, $3, {now}, {now}, '[]')
		ON CONFLICT (name) DO UPDATE SET host = excluded.host, version = excluded.version,
			started = excluded.started, seen = excluded.seen, workers = excluded.workers`,
		q.instance.Name, q.instance.Host, q.instance.Version)
	return err
}

func (q *Queue) write(ctx context.Context, f func(*store.Tx) error) error {
	return kind(q.db.Write(ctx, f))
}

func (q *Queue) read(ctx context.Context, f func(*store.Tx) error) error {
	return kind(q.db.Read(ctx, f))
}

// kind makes what may pass by itself an error of the service's kind.
func kind(err error) error {
	if errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrFull) {
		return scanner.Errorf(scanner.ErrUnavailable, "%w", err)
	}
	return err
}
