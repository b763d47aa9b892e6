package queue

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"stella/internal/scanner"
	"stella/internal/store"
)

// Job returns a job, or [scanner.ErrNotFound].
func (q *Queue) Job(ctx context.Context, id int64) (job scanner.Job, err error) {
	err = q.read(ctx, func(tx *store.Tx) error {
		r, err := find(ctx, tx, id)
		job = r.job()
		return err
	})
	return job, err
}

func find(ctx context.Context, tx *store.Tx, id int64) (*row, error) {
	r := &row{}
	found, err := tx.Get(ctx, `SELECT `+columns+` FROM jobs WHERE id = $1`, []any{id}, r.fields()...)
	if err == nil && !found {
		err = noJob(id)
	}
	return r, err
}

// Details returns a job with the newest [scanner.MaxPage] of its attempts, kills and events, in ascending order.
func (q *Queue) Details(ctx context.Context, id int64) (d scanner.JobDetails, err error) {
	err = q.read(ctx, func(tx *store.Tx) error {
		r, err := find(ctx, tx, id)
		if err != nil {
			return err
		}
		d = scanner.JobDetails{Job: r.job()}
		if d.History, err = attempts(ctx, tx, id); err != nil {
			return err
		}
		if d.Incidents, err = q.killsOf(ctx, tx, id); err != nil {
			return err
		}
		if d.Events, err = lastEvents(ctx, tx, id); err != nil {
			return err
		}
		quarantine, found, err := quarantined(ctx, tx, r.subject)
		if found {
			d.Quarantine = &quarantine
		}
		return err
	})
	return d, err
}

func attempts(ctx context.Context, tx *store.Tx, job int64) ([]scanner.Attempt, error) {
	all := []scanner.Attempt{}
	text := fmt.Sprintf(`SELECT %s FROM (SELECT * FROM attempts WHERE job = $1 ORDER BY number DESC LIMIT %d) a ORDER BY a.number`, attemptColumns, scanner.MaxPage)
	err := tx.Each(ctx, text, []any{job}, func(rows *sql.Rows) error {
		var r attemptRow
		if err := rows.Scan(r.fields()...); err != nil {
			return err
		}
		a, err := r.attempt()
		all = append(all, a)
		return err
	})
	return all, err
}

// Jobs lists jobs, newest first.
func (q *Queue) Jobs(ctx context.Context, f scanner.JobFilter) ([]scanner.Job, error) {
	text, args := listing(f)
	all := []scanner.Job{}
	err := q.read(ctx, func(tx *store.Tx) error {
		all = all[:0]
		return tx.Each(ctx, text, args, func(rows *sql.Rows) error {
			var r row
			err := rows.Scan(r.fields()...)
			all = append(all, r.job())
			return err
		})
	})
	return all, err
}

// listing is the query for a filter.
func listing(f scanner.JobFilter) (text string, args []any) {
	var conditions []string
	// add adds a condition, in which %s are its arguments.
	add := func(format string, values ...any) {
		var names []any
		for _, v := range values {
			args = append(args, v)
			names = append(names, fmt.Sprintf("$%d", len(args)))
		}
		conditions = append(conditions, fmt.Sprintf(format, names...))
	}
	if len(f.Status) > 0 {
		var values []any
		for _, s := range f.Status[:min(len(f.Status), len(scanner.Statuses))] {
			values = append(values, string(s))
		}
		add("status IN (%s"+strings.Repeat(", %s", len(values)-1)+")", values...)
	}
	if f.Pool != "" {
		add("pool = %s", f.Pool)
	}
	if f.Image != "" {
		part := strings.NewReplacer(`!`, `!!`, `%`, `!%`, `_`, `!_`).Replace(strings.ToLower(clean(f.Image)))
		add("(digest = %s OR lower(image) LIKE %s ESCAPE '!')", clean(f.Image), "%"+part+"%")
	}
	if !f.Since.IsZero() {
		since := f.Since.UnixMicro()
		add("(submitted > %s OR ended > %s)", since, since)
	}
	if f.Before > 0 {
		add("id < %s", f.Before)
	}
	text = `SELECT ` + columns + ` FROM jobs`
	if len(conditions) > 0 {
		text += ` WHERE ` + strings.Join(conditions, " AND ")
	}
	args = append(args, bounded(f.Limit))
	return fmt.Sprintf(`%s ORDER BY id DESC LIMIT $%d`, text, len(args)), args
}

// bounded is a limit from 1 to the most rows of an answer.
func bounded(limit int) int { return max(1, min(limit, scanner.MaxPage)) }

// Events returns events of a job with a higher ID than after, in ascending order, at most limit and [scanner.MaxPage].
func (q *Queue) Events(ctx context.Context, job, after int64, limit int) (all []scanner.Event, err error) {
	err = q.read(ctx, func(tx *store.Tx) (err error) {
		all, err = events(ctx, tx, `SELECT * FROM events WHERE job = $1 AND id > $2 ORDER BY id LIMIT $3`, job, after, bounded(limit))
		return err
	})
	return all, err
}

func lastEvents(ctx context.Context, tx *store.Tx, job int64) ([]scanner.Event, error) {
	return events(ctx, tx, `SELECT * FROM events WHERE job = $1 ORDER BY id DESC LIMIT $2`, job, scanner.MaxPage)
}

// events reads events that a query chooses, in ascending order.
func events(ctx context.Context, tx *store.Tx, query string, args ...any) ([]scanner.Event, error) {
	all := []scanner.Event{}
	err := tx.Each(ctx, `SELECT id, job, at, kind, message, attempt, status FROM (`+query+`) e ORDER BY id`, args, func(rows *sql.Rows) error {
		var e scanner.Event
		var at int64
		err := rows.Scan(&e.ID, &e.Job, &at, &e.Kind, &e.Message, &e.Attempt, &e.Status)
		e.At = fromMicros(at)
		all = append(all, e)
		return err
	})
	return all, err
}
