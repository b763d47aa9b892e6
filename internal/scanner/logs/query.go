package logs

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"

	"stella/internal/scanner"
	"stella/internal/store"
)

const (
	// page is how many lines are held at once while they are handed out: at most 400 KiB.
	page = 100
	// syncTime bounds the wait for lines that were said before a query; a database
	// that fails must not keep people from what there is.
	syncTime = time.Second
	// poll is how often a follower looks for lines of other instances.
	poll = time.Second
)

// Query calls fn for the lines that the filter chooses, what was said before on
// this instance included. No transaction is open while fn runs. A filter that
// cannot be understood is [scanner.ErrInvalid].
func (l *Logs) Query(ctx context.Context, f scanner.LogFilter, fn func(scanner.LogLine) error) error {
	_, err := l.query(ctx, f, fn)
	return err
}

// Follow is [Logs.Query] that goes on with new lines until ctx ends or fn fails.
// Every line that the filter chooses comes once, in order.
func (l *Logs) Follow(ctx context.Context, f scanner.LogFilter, fn func(scanner.LogLine) error) error {
	last, err := l.query(ctx, f, fn)
	if err != nil {
		return err
	}
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	for {
		l.mu.Lock()
		changed := l.changed
		l.mu.Unlock()
		for n := page; n == page; {
			if n, err = l.next(ctx, f, &last, fn); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		case <-ticker.C:
		}
	}
}

// query hands out the newest lines, and returns the number of the newest line of all.
func (l *Logs) query(ctx context.Context, f scanner.LogFilter, fn func(scanner.LogLine) error) (last int64, err error) {
	if f.Tail < 1 || f.Tail > scanner.MaxLogPage {
		return 0, scanner.Errorf(scanner.ErrInvalid, "%d lines of the log: ask for 1 to %d", f.Tail, scanner.MaxLogPage)
	}
	where, args, err := conditions(f)
	if err != nil {
		return 0, err
	}
	l.sync(ctx)
	var ids []int64
	err = l.db.Read(ctx, func(tx *store.Tx) error {
		ids, last = nil, f.After
		if _, err := tx.Get(ctx, `SELECT COALESCE(max(id), 0) FROM log_lines`, nil, &last); err != nil {
			return err
		}
		last = max(last, f.After)
		text := fmt.Sprintf(`SELECT id FROM log_lines WHERE %s ORDER BY id DESC LIMIT $%d`, where, len(args)+1)
		return tx.Each(ctx, text, append(slices.Clone(args), int64(f.Tail)), func(r *sql.Rows) error {
			var id int64
			err := r.Scan(&id)
			ids = append(ids, id)
			return err
		})
	})
	if err != nil {
		return 0, fmt.Errorf("read the log: %w", err)
	}
	slices.Reverse(ids)
	for part := range slices.Chunk(ids, page) {
		text := fmt.Sprintf(`%s AND id BETWEEN $%d AND $%d ORDER BY id`, where, len(args)+1, len(args)+2)
		lines, err := l.lines(ctx, text, append(slices.Clone(args), part[0], part[len(part)-1]))
		if err != nil {
			return 0, err
		}
		for _, line := range lines {
			if err := fn(line); err != nil {
				return 0, err
			}
		}
	}
	return last, nil
}

// next hands out the page of lines after the last, which it moves, and returns how many there were.
func (l *Logs) next(ctx context.Context, f scanner.LogFilter, last *int64, fn func(scanner.LogLine) error) (int, error) {
	f.After = *last
	where, args, err := conditions(f)
	if err != nil {
		return 0, err
	}
	lines, err := l.lines(ctx, fmt.Sprintf(`%s ORDER BY id LIMIT $%d`, where, len(args)+1), append(args, int64(page)))
	if err != nil {
		return 0, err
	}
	for _, line := range lines {
		if err := fn(line); err != nil {
			return 0, err
		}
		*last = line.ID
	}
	return len(lines), nil
}

// conditions are the filter in SQL: only those that it has, so that indexes serve.
func conditions(f scanner.LogFilter) (where string, args []any, err error) {
	level := 1
	if f.Level != "" {
		if level = slices.Index(levels, f.Level); level < 0 {
			return "", nil, scanner.Errorf(scanner.ErrInvalid, "%q is no level of the log: choose one of %s", f.Level, strings.Join(levels, ", "))
		}
	}
	var all []string
	add := func(condition string, arg any) {
		args = append(args, arg)
		all = append(all, fmt.Sprintf(condition, len(args)))
	}
	add("id > $%d", f.After)
	add("level >= $%d", int64(level))
	if f.Job != 0 {
		add("job <> 0 AND job = $%d", f.Job)
	}
	if !f.Since.IsZero() {
		add("at >= $%d", f.Since.UnixMicro())
	}
	if f.Text != "" {
		// Both sides are made small by the database, so that they agree about letters beyond ASCII.
		escaped := strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(tidy(f.Text))
		add(`lower(message) LIKE lower(CAST($%d AS TEXT)) ESCAPE '\'`, "%"+escaped+"%")
	}
	return strings.Join(all, " AND "), args, nil
}

// lines reads what is at most a page.
func (l *Logs) lines(ctx context.Context, where string, args []any) ([]scanner.LogLine, error) {
	var all []scanner.LogLine
	err := l.db.Read(ctx, func(tx *store.Tx) error {
		all = nil
		return tx.Each(ctx, `SELECT id, at, level, instance, source, job, attempt, worker, message FROM log_lines WHERE `+where, args, func(r *sql.Rows) error {
			var line scanner.LogLine
			var at int64
			var level int
			if err := r.Scan(&line.ID, &at, &level, &line.Instance, &line.Source, &line.Job, &line.Attempt, &line.Worker, &line.Message); err != nil {
				return err
			}
			line.At, line.Level = time.UnixMicro(at).UTC(), levels[min(max(level, 0), len(levels)-1)]
			all = append(all, line)
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read the log: %w", err)
	}
	return all, nil
}

// sync waits until the lines appended so far are in the database.
func (l *Logs) sync(ctx context.Context) {
	timer := time.NewTimer(syncTime)
	defer timer.Stop()
	l.mu.Lock()
	wanted := l.appended
	for l.kept < wanted {
		changed := l.changed
		l.mu.Unlock()
		nudge(l.hurry)
		select {
		case <-changed:
		case <-timer.C:
			return
		case <-l.done:
			return
		case <-ctx.Done():
			return
		}
		l.mu.Lock()
	}
	l.mu.Unlock()
}
