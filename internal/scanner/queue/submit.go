package queue

import (
	"context"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"stella/internal/scanner"
	"stella/internal/store"
)

// ReasonQuarantined is the reason of a job that was not tried, because its image is in quarantine.
const ReasonQuarantined = "quarantined"

// maxReference and maxPlatform are what the API allows; see [scanner.Request].
const maxReference, maxPlatform = 4096, 64

// Submission is a request with what its reference led to.
type Submission struct {
	scanner.Request
	scanner.Target
	// Pool is where it waits first; where it has been removed meanwhile, default.
	Pool string
	// By says who asks, for people, and Local that they could read the server's files
	// anyway; see [scanner.Caller].
	By    string
	Local bool
}

// subject is what quarantine and retries go by.
func (s *Submission) subject() string {
	if s.Digest != "" {
		return s.Digest
	}
	return s.Image
}

// shared is what requests for the same job have in common. Only a digest says that
// two references mean the same image, so without one there is nothing to share.
func (s *Submission) shared() any {
	return sharedKey(s.Digest, s.Platform, s.Attach)
}

func sharedKey(digest, platform string, attach bool) any {
	if digest == "" {
		return nil
	}
	return fmt.Sprintf("%s %s %d", digest, platform, toInt(attach))
}

func (s *Submission) check() error {
	switch {
	case s.Image == "":
		return scanner.Errorf(scanner.ErrInvalid, "the request names no image")
	case !plain(s.Image, maxReference):
		return scanner.Errorf(scanner.ErrInvalid, "the image's reference must have at most %d bytes, in UTF-8 without control characters", maxReference)
	case !plain(s.Platform, maxPlatform):
		return scanner.Errorf(scanner.ErrInvalid, "the platform must have at most %d bytes, in UTF-8 without control characters", maxPlatform)
	}
	return nil
}

func plain(text string, most int) bool {
	return len(text) <= most && utf8.ValidString(text) && !strings.ContainsFunc(text, unicode.IsControl)
}

// Submit adds a job, and reports whether it is new: requests for one digest,
// platform and attach share the job that has not ended. The job of an image in
// quarantine, where the plan still [scanner.Plan.Blocks] it, has failed at once.
//
// With Retry it is the newest job of the same subject that failed, timed out or
// was cancelled that waits again, out of quarantine; [scanner.ErrNotFound] where there is none.
func (q *Queue) Submit(ctx context.Context, s Submission, plan scanner.Plan) (job scanner.Job, created bool, err error) {
	if err := s.check(); err != nil {
		return scanner.Job{}, false, err
	}
	var r *row
	err = q.write(ctx, func(tx *store.Tx) error {
		r, created = &row{}, false
		pool, err := existing(ctx, tx, s.Pool)
		if err != nil {
			return err
		}
		s := s
		s.Pool = pool
		if s.Retry {
			r, err = q.resubmit(ctx, tx, s)
		} else {
			created, err = q.insert(ctx, tx, s, plan, r)
		}
		return err
	})
	if err != nil {
		return scanner.Job{}, false, err
	}
	return r.job(), created, nil
}

// existing returns the pool, which stays until the transaction ends, or default where it has been removed.
func existing(ctx context.Context, tx *store.Tx, pool string) (string, error) {
	if pool == scanner.DefaultPool {
		return pool, nil
	}
	var name string
	found, err := tx.Get(ctx, `SELECT name FROM pools WHERE name = $1 {keep}`, []any{pool}, &name)
	if err == nil && !found {
		pool = scanner.DefaultPool
	}
	return pool, err
}

func (q *Queue) insert(ctx context.Context, tx *store.Tx, s Submission, plan scanner.Plan, r *row) (created bool, err error) {
	quarantine, found, err := quarantined(ctx, tx, s.subject())
	if err != nil {
		return false, err
	}
	if found {
		if why := plan.Blocks(quarantine, s.Target); why != "" {
			return true, q.insertBlocked(ctx, tx, s, why, r)
		}
	}
	found, err = tx.Get(ctx, insertJob+` ON CONFLICT (shared) DO UPDATE SET requests = jobs.requests + 1 RETURNING `+columns,
		append(s.values(), s.shared(), string(scanner.StatusPending)), r.fields()...)
	switch {
	case err != nil:
		return false, err
	case !found:
		return false, fmt.Errorf("the database added no job")
	case r.Requests > 1:
		return false, nil
	}
	return true, event(ctx, tx, r.ID, r.Status, scanner.EventSubmitted, 0, fmt.Sprintf("submitted by %s, waits for pool %s", s.By, r.Pool))
}

const insertJob = `INSERT INTO jobs (image, platform, digest, size, layers, subject, pool, timeout, attach, local, shared, status,
	reason, message, attempts, forgiven, requests, cancelled, due, queued, submitted, started, ended, inventory, bytes, components, problems, attached)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, '', '', 0, 0, 1, '', 0, {now}, {now}, 0, 0, '', 0, 0, 0, '')`

func (s *Submission) values() []any {
	return []any{s.Image, s.Platform, s.Digest, s.Size, s.Layers, s.subject(), s.Pool, int64(s.Timeout), toInt(s.Attach), toInt(s.Local)}
}

// insertBlocked adds a job that has failed already, and that nobody shares.
func (q *Queue) insertBlocked(ctx context.Context, tx *store.Tx, s Submission, why string, r *row) error {
	_, err := tx.Get(ctx, insertJob+` RETURNING `+columns,
		append(s.values(), nil, string(scanner.StatusPending)), r.fields()...)
	if err != nil {
		return err
	}
	if err := event(ctx, tx, r.ID, r.Status, scanner.EventSubmitted, 0, "submitted by "+s.By); err != nil {
		return err
	}
	return q.end(ctx, tx, r, scanner.Decision{Status: scanner.StatusFailed, Pool: r.Pool, Reason: ReasonQuarantined, Message: why}, 0, why)
}
