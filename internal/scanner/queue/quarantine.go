package queue

import (
	"context"
	"database/sql"

	"stella/internal/scanner"
	"stella/internal/store"
)

// quarantined looks an image up by its subject.
func quarantined(ctx context.Context, tx *store.Tx, subject string) (q scanner.Quarantine, found bool, err error) {
	q.Digest = subject
	var at int64
	found, err = tx.Get(ctx, `SELECT memory_limit, mode, incident_id, at FROM quarantine WHERE subject = $1`,
		[]any{subject}, &q.Limit, &q.Mode, &q.Incident, &at)
	q.At = fromMicros(at)
	return q, found, err
}

// Quarantines are the images that are not tried again by themselves, newest first,
// at most limit and [scanner.MaxPage].
func (q *Queue) Quarantines(ctx context.Context, limit int) (all []scanner.Quarantine, err error) {
	err = q.read(ctx, func(tx *store.Tx) error {
		all = nil
		return tx.Each(ctx, `SELECT subject, memory_limit, mode, incident_id, at FROM quarantine ORDER BY at DESC LIMIT $1`, []any{bounded(limit)},
			func(rows *sql.Rows) error {
				var x scanner.Quarantine
				var at int64
				err := rows.Scan(&x.Digest, &x.Limit, &x.Mode, &x.Incident, &at)
				x.At = fromMicros(at)
				all = append(all, x)
				return err
			})
	})
	return all, err
}

// quarantine puts the job's image there, with the most memory that it was killed in.
func quarantine(ctx context.Context, tx *store.Tx, r *row, a scanner.Attempt, mode scanner.Mode, k *killed) error {
	var incident string
	if k != nil {
		incident = k.ID
	}
	_, err := tx.Exec(ctx, `INSERT INTO quarantine (subject, memory_limit, mode, incident_id, at) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (subject) DO UPDATE SET mode = excluded.mode, incident_id = excluded.incident_id, at = excluded.at,
			memory_limit = CASE WHEN quarantine.memory_limit > excluded.memory_limit THEN quarantine.memory_limit ELSE excluded.memory_limit END`,
		r.subject, a.Limit, string(mode), incident, toMicros(a.Ended))
	return err
}
