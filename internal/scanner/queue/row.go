package queue

import (
	"context"
	"database/sql"
	"encoding/json"
	"strings"
	"time"
	"unicode/utf8"

	"stella/internal/scanner"
	"stella/internal/store"
)

// maxText bounds a message or a path that is kept: a long path has 4096 bytes (PATH_MAX).
const maxText = 8 << 10

// row is a row of the table jobs.
type row struct {
	scanner.Job
	subject, cancelled                   string
	forgiven                             int
	due, queued, submitted, start, ended int64
	result                               scanner.Result
}

// columns are what fields scans, in the same order.
const columns = `id, image, platform, digest, size, layers, subject, status, reason, message, pool, attempts, forgiven, requests,
	timeout, attach, local, cancelled, due, queued, submitted, started, ended, inventory, bytes, components, problems, attached`

func (r *row) fields() []any {
	return []any{
		&r.ID, &r.Image, &r.Platform, &r.Digest, &r.Size, &r.Layers, &r.subject, &r.Status, &r.Reason, &r.Message, &r.Pool, &r.Attempts, &r.forgiven, &r.Requests,
		(*int64)(&r.Timeout), &r.Attach, &r.Local, &r.cancelled, &r.due, &r.queued, &r.submitted, &r.start, &r.ended,
		&r.result.Inventory, &r.result.Size, &r.result.Components, &r.result.Problems, &r.result.Attached,
	}
}

// job is the job as others see it.
func (r *row) job() scanner.Job {
	j := r.Job
	j.NotBefore, j.Submitted, j.Started, j.Ended = fromMicros(r.due), fromMicros(r.submitted), fromMicros(r.start), fromMicros(r.ended)
	if j.Status == scanner.StatusSucceeded {
		result := r.result
		j.Result = &result
	}
	return j
}

// lock reads a job that nobody else changes until the transaction ends.
func lock(ctx context.Context, tx *store.Tx, id int64) (*row, error) {
	r := &row{}
	found, err := tx.Get(ctx, `SELECT `+columns+` FROM jobs WHERE id = $1 {lock}`, []any{id}, r.fields()...)
	if err == nil && !found {
		err = noJob(id)
	}
	return r, err
}

func noJob(id int64) error {
	return scanner.Errorf(scanner.ErrNotFound, "there is no job %d, or it ended so long ago that it has been removed (results.retention)", id)
}

// attemptColumns are what attemptRow.fields scans.
const attemptColumns = `job, number, pool, worker, instance, memory_limit, started, ended, outcome, exit_code, kills, peak, rss, progress, message`

// attemptRow is a row of the table attempts.
type attemptRow struct {
	scanner.Attempt
	start, end int64
	exit       sql.NullInt64
	progress   string
}

func (r *attemptRow) fields() []any {
	return []any{
		&r.Job, &r.Number, &r.Pool, &r.Worker, &r.Instance, &r.Limit, &r.start, &r.end, &r.Outcome,
		&r.exit, &r.Kills, &r.Peak, &r.RSS, &r.progress, &r.Message,
	}
}

func (r *attemptRow) attempt() (scanner.Attempt, error) {
	a := r.Attempt
	a.Started, a.Ended = fromMicros(r.start), fromMicros(r.end)
	if r.exit.Valid {
		code := int(r.exit.Int64)
		a.ExitCode = &code
	}
	if r.progress == "" {
		return a, nil
	}
	return a, json.Unmarshal([]byte(r.progress), &a.Progress)
}

// endFields are the values of exit_code, kills, peak, rss, progress and message.
func endFields(e scanner.End) ([]any, error) {
	var exit sql.NullInt64
	if e.ExitCode != nil {
		exit = sql.NullInt64{Int64: int64(*e.ExitCode), Valid: true}
	}
	progress := ""
	if e.Progress != (scanner.Progress{}) {
		e.Progress.Path = clean(e.Progress.Path)
		text, err := json.Marshal(e.Progress)
		if err != nil {
			return nil, err
		}
		progress = string(text)
	}
	return []any{exit, e.Kills, e.Peak, e.RSS, progress, clean(e.Message)}, nil
}

// event keeps an event of a job.
func event(ctx context.Context, tx *store.Tx, job int64, status scanner.Status, e scanner.EventKind, attempt int, message string) error {
	_, err := tx.Exec(ctx, `INSERT INTO events (job, at, kind, message, attempt, status) VALUES ($1, {now}, $2, $3, $4, $5)`,
		job, string(e), clean(message), attempt, string(status))
	return err
}

// clean makes a text that every database keeps, of at most maxText bytes.
func clean(text string) string {
	text = strings.ToValidUTF8(strings.ReplaceAll(text, "\x00", "\uFFFD"), "\uFFFD")
	if len(text) <= maxText {
		return text
	}
	const cut = " … (cut)"
	end := maxText - len(cut)
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + cut
}

func fromMicros(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// toMicros is before all times for the zero time.
func toMicros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func toInt(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
