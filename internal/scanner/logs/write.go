package logs

import (
	"context"
	"fmt"
	"time"

	"stella/internal/scanner"
	"stella/internal/store"
)

// write takes lines from the queue to the database until the log is closed.
func (l *Logs) write(ctx context.Context) {
	defer close(l.done)
	for l.wait() {
		l.drain(ctx)
	}
	l.drain(ctx)
}

// wait returns true when there are lines that have waited for long enough, and
// false when the log is closed.
func (l *Logs) wait() bool {
	select {
	case <-l.wake:
	case <-l.stop:
		return false
	}
	timer := time.NewTimer(gather)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.hurry:
	case <-l.stop:
		return false
	}
	return true
}

// drain writes until the queue is empty. While the database fails it tries again
// and again, but once the log is being closed only until the next failure.
func (l *Logs) drain(ctx context.Context) {
	for {
		more, err := l.writeBatch(ctx)
		l.mu.Lock()
		before := l.failure
		l.failure = err
		l.mu.Unlock()
		switch {
		case err != nil && before == nil:
			l.log.Error("the log cannot be written to the database; trying again, and dropping lines once too many wait", "error", err)
		case err == nil && before != nil:
			l.log.Info("the log is written to the database again")
		}
		if err == nil {
			if !more {
				return
			}
			continue
		}
		timer := time.NewTimer(retryPause)
		select {
		case <-timer.C:
		case <-l.stop:
			timer.Stop()
			if before != nil || ctx.Err() != nil {
				return
			}
		}
	}
}

// writeBatch writes the oldest lines of the queue, which keeps them until that
// has worked, and reports whether there are more.
func (l *Logs) writeBatch(ctx context.Context) (more bool, err error) {
	l.mu.Lock()
	batch := l.queue[:min(len(l.queue), maxBatch)]
	dropped := l.dropped
	l.mu.Unlock()
	said := batch
	if dropped > 0 {
		// A copy, since Append writes behind the batch.
		said = append(batch[:len(batch):len(batch)], scanner.LogLine{
			At: time.Now(), Level: "warn", Instance: l.instance, Source: "server",
			Message: fmt.Sprintf("%d lines of the log were dropped here: they came faster than the database took them", dropped),
		})
	}
	if len(said) == 0 {
		return false, nil
	}
	if err := l.insert(ctx, said); err != nil {
		return true, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range batch {
		l.bytes -= sizeOf(line)
	}
	clear(batch) // their text is not needed any more
	l.queue = l.queue[len(batch):]
	if len(l.queue) == 0 {
		l.queue = nil
	}
	l.dropped -= dropped
	l.kept += uint64(len(batch))
	close(l.changed)
	l.changed = make(chan struct{})
	return len(l.queue) > 0, nil
}

const insertLine = `INSERT INTO log_lines (at, level, instance, source, job, attempt, worker, message, written) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`

func (l *Logs) insert(ctx context.Context, lines []scanner.LogLine) error {
	var sum int64
	for _, line := range lines {
		sum += int64(sizeOf(line))
	}
	return l.db.Write(ctx, func(tx *store.Tx) error {
		var written int64
		// This row is held until the end of the transaction: see the schema.
		if _, err := tx.Get(ctx, `UPDATE log_total SET written = written + $1 RETURNING written`, []any{sum}, &written); err != nil {
			return err
		}
		written -= sum
		for _, line := range lines {
			written += int64(sizeOf(line))
			_, err := tx.Exec(ctx, insertLine, line.At.UnixMicro(), levelNumber(line.Level), line.Instance, line.Source,
				line.Job, int64(line.Attempt), line.Worker, line.Message, written)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// pruneBatch is how many lines are removed at once: others wait that long.
const pruneBatch = 1000

// Prune removes lines that were said before that time, and then the oldest until
// the lines of all instances take at most maxBytes, or up to pruneBatch lines more.
func (l *Logs) Prune(ctx context.Context, before time.Time, maxBytes int64) error {
	err := l.pruneBatches(ctx, func(tx *store.Tx) (int64, error) {
		return tx.Exec(ctx, `DELETE FROM log_lines WHERE id IN (SELECT id FROM log_lines WHERE at < $1 ORDER BY at LIMIT $2)`, before.UnixMicro(), int64(pruneBatch))
	})
	if err != nil {
		return err
	}
	return l.pruneBatches(ctx, func(tx *store.Tx) (int64, error) {
		var total, id, written int64
		if _, err := tx.Get(ctx, `SELECT written FROM log_total`, nil, &total); err != nil {
			return 0, err
		}
		found, err := tx.Get(ctx, `SELECT id, written FROM log_lines ORDER BY id LIMIT 1 OFFSET $1`, []any{int64(pruneBatch - 1)}, &id, &written)
		if err != nil || !found || written > total-maxBytes {
			return 0, err
		}
		return tx.Exec(ctx, `DELETE FROM log_lines WHERE id <= $1`, id)
	})
}

// pruneBatches runs a transaction until one removes less than a batch.
func (l *Logs) pruneBatches(ctx context.Context, batch func(*store.Tx) (int64, error)) error {
	for {
		var n int64
		err := l.db.Write(ctx, func(tx *store.Tx) (err error) {
			n, err = batch(tx)
			return err
		})
		if err != nil {
			return fmt.Errorf("remove old lines of the log: %w", err)
		}
		if n < pruneBatch {
			return nil
		}
	}
}
