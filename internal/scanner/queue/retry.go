package queue

import (
	"context"
	"fmt"

	"stella/internal/scanner"
	"stella/internal/store"
)

// Cancel ends a job that is pending. One that is running stays so until its
// instance hears of it ([Queue.Renew], or at once from the caller); then it ends as
// cancelled. A job that has ended is [scanner.ErrConflict]. by says who asks, for people.
func (q *Queue) Cancel(ctx context.Context, id int64, by string) (scanner.Job, error) {
	by = clean(by)
	var r *row
	err := q.write(ctx, func(tx *store.Tx) (err error) {
		if r, err = lock(ctx, tx, id); err != nil {
			return err
		}
		switch r.Status {
		case scanner.StatusPending:
			r.cancelled = by
			return q.end(ctx, tx, r, cancellation(r, scanner.Decision{}), 0, "cancelled by "+by)
		case scanner.StatusRunning:
			// Who asks for the same image from now on wants a result, so nobody shares it.
			_, err := tx.Exec(ctx, `UPDATE jobs SET cancelled = $2, shared = NULL WHERE id = $1 AND cancelled = ''`, id, by)
			return err
		}
		return scanner.Errorf(scanner.ErrConflict, "job %d has already ended: it is %s", id, r.Status)
	})
	if err != nil {
		return scanner.Job{}, err
	}
	return r.job(), nil
}

// retryable reports whether somebody may ask to try such a job again.
func retryable(s scanner.Status) bool { return s.Final() && s != scanner.StatusSucceeded }

// Retry makes a job that failed, timed out or was cancelled wait again, in this
// pool, and takes its image out of quarantine. Any other job is [scanner.ErrConflict], and so
// is one whose image another job is scanning already.
func (q *Queue) Retry(ctx context.Context, id int64, pool, by string) (scanner.Job, error) {
	var r *row
	err := q.write(ctx, func(tx *store.Tx) error {
		pool, err := existing(ctx, tx, pool)
		if err != nil {
			return err
		}
		if r, err = lock(ctx, tx, id); err != nil {
			return err
		}
		if !retryable(r.Status) {
			return scanner.Errorf(scanner.ErrConflict, "job %d is %s; only one that failed, timed out or was cancelled can be tried again", id, r.Status)
		}
		other, err := sharing(ctx, tx, sharedKey(r.Digest, r.Platform, r.Attach))
		if err != nil {
			return err
		}
		if other != 0 {
			return scanner.Errorf(scanner.ErrConflict, "job %d scans the image of job %d already", other, id)
		}
		return q.retry(ctx, tx, r, pool, by)
	})
	if err != nil {
		return scanner.Job{}, err
	}
	return r.job(), nil
}

// sharing is the job that requests with this key share now, 0 where there is none.
func sharing(ctx context.Context, tx *store.Tx, shared any) (id int64, err error) {
	if shared != nil {
		_, err = tx.Get(ctx, `SELECT id FROM jobs WHERE shared = $1`, []any{shared}, &id)
	}
	return id, err
}

// resubmit finds the job that a request with Retry is about: the one that it would
// share, or the newest that did not succeed.
func (q *Queue) resubmit(ctx context.Context, tx *store.Tx, s Submission) (*row, error) {
	if r, err := share(ctx, tx, s.shared()); r != nil || err != nil {
		return r, err
	}
	var id int64
	found, err := tx.Get(ctx, `SELECT id FROM jobs WHERE subject = $1 AND status IN ('failed', 'timeout', 'cancelled') ORDER BY id DESC LIMIT 1`,
		[]any{s.subject()}, &id)
	switch {
	case err != nil:
		return nil, err
	case !found:
		return nil, scanner.Errorf(scanner.ErrNotFound, "no job of %s has failed; ask without --retry", s.Image)
	}
	r, err := lock(ctx, tx, id)
	if err != nil {
		return nil, err
	}
	if !retryable(r.Status) { // somebody else was first to ask for the same
		return r, nil
	}
	// The job may be for another platform's name, or with attach, and somebody may share that.
	if other, err := share(ctx, tx, sharedKey(r.Digest, r.Platform, r.Attach)); other != nil || err != nil {
		return other, err
	}
	return r, q.retry(ctx, tx, r, s.Pool, s.By)
}

// share adds a request to a job that has not ended; nil where there is none to share.
func share(ctx context.Context, tx *store.Tx, shared any) (*row, error) {
	if shared == nil {
		return nil, nil
	}
	r := &row{}
	found, err := tx.Get(ctx, `UPDATE jobs SET requests = requests + 1 WHERE shared = $1 RETURNING `+columns, []any{shared}, r.fields()...)
	if err != nil || !found {
		return nil, err
	}
	return r, nil
}

// retry makes a final job that r has locked wait again, as one that never failed: the event of its
// end goes, because no event comes after an end.
func (q *Queue) retry(ctx context.Context, tx *store.Tx, r *row, pool, by string) error {
	was := string(r.Status)
	if r.Reason != "" {
		was += " (" + r.Reason + ")"
	}
	for _, text := range []string{
		`DELETE FROM quarantine WHERE subject = (SELECT subject FROM jobs WHERE id = $1)`,
		`DELETE FROM events WHERE job = $1 AND kind = 'ended'`,
	} {
		if _, err := tx.Exec(ctx, text, r.ID); err != nil {
			return err
		}
	}
	_, err := tx.Exec(ctx, `UPDATE jobs SET reason = '', message = '', cancelled = '', ended = 0,
		forgiven = attempts, requests = requests + 1, shared = $2 WHERE id = $1`, r.ID, sharedKey(r.Digest, r.Platform, r.Attach))
	if err != nil {
		return err
	}
	if err := requeue(ctx, tx, r, pool, 0, 0, fmt.Sprintf("was %s, %s asks to try again", was, by)); err != nil {
		return err
	}
	return q.again(ctx, tx, r, by)
}
