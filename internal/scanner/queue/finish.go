package queue

import (
	"context"
	"errors"
	"fmt"
	"io"

	"stella/internal/scanner"
	"stella/internal/store"
)

// Ended is an attempt that has ended, and what is to become of its job.
type Ended struct {
	Job      int64
	Number   int
	Outcome  scanner.Outcome
	End      scanner.End
	Decision scanner.Decision
	// Mode is how the image was scanned, for its quarantine.
	Mode scanner.Mode
	// Result, Subject and Inventory are there where the decision is succeeded. Subject
	// is what an SBOM says of the image, at most MaxSubject bytes. The inventory is read from its
	// beginning, and must be what the result says.
	Result    *scanner.Result
	Subject   []byte
	Inventory io.ReadSeeker
}

func (e *Ended) check() error {
	succeeded := e.Decision.Status == scanner.StatusSucceeded
	switch {
	case e.Outcome == "":
		return errors.New("it has no outcome")
	case succeeded != (e.Outcome == scanner.OutcomeSucceeded):
		return fmt.Errorf("its outcome is %s, and its job's status %s", e.Outcome, e.Decision.Status)
	case succeeded && (e.Result == nil || e.Inventory == nil):
		return errors.New("it has succeeded without a result")
	case succeeded && e.Result.Size < 1:
		return errors.New("its inventory is empty")
	case len(e.Subject) > MaxSubject:
		return fmt.Errorf("what it says of the image has %d bytes; at most %d are kept", len(e.Subject), MaxSubject)
	case e.Decision.Status == scanner.StatusRunning || e.Decision.Status == "":
		return fmt.Errorf("its job cannot become %q", e.Decision.Status)
	}
	return nil
}

// Finish ends an attempt of this instance and does what was decided: its job waits
// again, or is final. A job that was cancelled meanwhile is final, as cancelled,
// whatever was decided; one that was not, and should be, waits again. The
// incident is there where the decision has an action.
//
// [ErrFenced] says that the attempt has ended already, and that nothing was
// changed. After [scanner.ErrUnavailable] the caller tries again.
func (q *Queue) Finish(ctx context.Context, e Ended) (scanner.Job, *scanner.WorkerKill, error) {
	if err := e.check(); err != nil {
		return scanner.Job{}, nil, fmt.Errorf("end attempt %d of job %d: %w", e.Number, e.Job, err)
	}
	var r *row
	var incident *scanner.WorkerKill
	err := q.write(ctx, func(tx *store.Tx) (err error) {
		r, incident, err = q.finish(ctx, tx, e)
		return err
	})
	if err != nil {
		return scanner.Job{}, nil, fmt.Errorf("end attempt %d of job %d: %w", e.Number, e.Job, err)
	}
	return r.job(), incident, nil
}

func (q *Queue) finish(ctx context.Context, tx *store.Tx, e Ended) (*row, *scanner.WorkerKill, error) {
	r, err := lock(ctx, tx, e.Job)
	if errors.Is(err, scanner.ErrNotFound) { // only a final job can have been removed
		return nil, nil, ErrFenced
	}
	if err != nil {
		return nil, nil, err
	}
	a, err := q.endAttempt(ctx, tx, e)
	if err != nil {
		return nil, nil, err
	}
	d := decide(r, e.Decision)
	k, err := q.kill(ctx, tx, r, a, d)
	if err != nil {
		return nil, nil, err
	}
	// What is told of the incident comes last, because others wait for it from there on.
	switch d.Status {
	case scanner.StatusSucceeded:
		err = q.succeed(ctx, tx, r, e, d)
	case scanner.StatusPending:
		if err = requeue(ctx, tx, r, d.Pool, d.Delay, e.Number, ending(e)); err == nil {
			err = q.tell(ctx, tx, k)
		}
	default:
		err = q.giveUp(ctx, tx, r, a, e, d, k)
	}
	if k == nil {
		return r, nil, err
	}
	return r, &k.WorkerKill, err
}

// giveUp ends a job that did not succeed.
func (q *Queue) giveUp(ctx context.Context, tx *store.Tx, r *row, a scanner.Attempt, e Ended, d scanner.Decision, k *killed) error {
	if d.Quarantine {
		if err := quarantine(ctx, tx, r, a, e.Mode, k); err != nil {
			return err
		}
	}
	if err := q.tell(ctx, tx, k); err != nil {
		return err
	}
	return q.end(ctx, tx, r, d, e.Number, ending(e))
}

// endAttempt is the fence: of several that would end an attempt, one finds it running.
func (q *Queue) endAttempt(ctx context.Context, tx *store.Tx, e Ended) (scanner.Attempt, error) {
	values, err := endFields(e.End)
	if err != nil {
		return scanner.Attempt{}, err
	}
	var r attemptRow
	found, err := tx.Get(ctx, `UPDATE attempts SET ended = {now}, outcome = $4, exit_code = $5, kills = $6, peak = $7, rss = $8, progress = $9, message = $10
		WHERE job = $1 AND number = $2 AND instance = $3 AND outcome = '' RETURNING `+attemptColumns,
		append([]any{e.Job, e.Number, q.instance.Name, string(e.Outcome)}, values...), r.fields()...)
	switch {
	case err != nil:
		return scanner.Attempt{}, err
	case !found:
		return scanner.Attempt{}, ErrFenced
	}
	return r.attempt()
}

// decide is what becomes of the job in truth; see [Queue.Finish].
func decide(r *row, d scanner.Decision) scanner.Decision {
	switch {
	case r.cancelled != "":
		return cancellation(r, d)
	case d.Status == scanner.StatusCancelled:
		return scanner.Decision{Status: scanner.StatusPending, Pool: r.Pool}
	}
	return d
}

func cancellation(r *row, d scanner.Decision) scanner.Decision {
	c := scanner.Decision{Status: scanner.StatusCancelled, Pool: r.Pool, Message: "cancelled by " + r.cancelled}
	if d.Action != "" {
		c.Action = "none: the job was cancelled"
	}
	return c
}

// ending says how an attempt ended, for its event.
func ending(e Ended) string {
	text := fmt.Sprintf("attempt %d: %s", e.Number, e.Outcome)
	if e.Outcome == scanner.OutcomeSucceeded {
		return fmt.Sprintf("%s, %d components", text, e.Result.Components)
	}
	if e.End.Message != "" {
		text += ": " + e.End.Message
	}
	return text
}

func (q *Queue) succeed(ctx context.Context, tx *store.Tx, r *row, e Ended, d scanner.Decision) error {
	if err := keepResult(ctx, tx, e); err != nil {
		return err
	}
	// What it needed when it was put there, it no longer needs.
	if _, err := tx.Exec(ctx, `DELETE FROM quarantine WHERE subject = $1`, r.subject); err != nil {
		return err
	}
	r.result = *e.Result
	return q.end(ctx, tx, r, d, e.Number, ending(e))
}
