// Package audit keeps who did what with rdev-api: who ran and cancelled commands, who made and changed keys. Entries
// are only added; the oldest go when there are too many.
//
// Hazard: an entry is written after what it is about was done. If that fails, the entry is in the service's log.
package audit

import (
	"context"
	"database/sql"
	"embed"
	"io/fs"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"stella/internal/rdev"
	"stella/internal/store"
)

//go:embed migrations/*.sql
var migrations embed.FS

const (
	// maxEntries is how many entries are kept, of some 300 bytes each and at most 1 KiB.
	maxEntries = 200_000
	// pruneEvery is after how many entries those that are too many go.
	pruneEvery = 1000
	// maxDetail is the most bytes of what is said of an entry.
	maxDetail = 512
	// MaxPage is the most entries of one answer.
	MaxPage = 500
)

// Log is the audit log of one database. It may be used by several goroutines.
type Log struct {
	db    *store.DB
	log   *slog.Logger
	keep  int64
	added atomic.Int64
}

// Open makes the table where it is not there.
func Open(ctx context.Context, db *store.DB, log *slog.Logger) (*Log, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	if err := db.Migrate(ctx, files, "rdev_audit_schema"); err != nil {
		return nil, err
	}
	return &Log{db: db, log: log, keep: maxEntries}, nil
}

// Add adds an entry, whose ID and time it sets. It does not end with the request that it is about.
func (l *Log) Add(ctx context.Context, e rdev.AuditEntry) {
	ctx = context.WithoutCancel(ctx)
	if len(e.Detail) > maxDetail {
		e.Detail = strings.ToValidUTF8(e.Detail[:maxDetail], "") + "…"
	}
	prune := l.added.Add(1)%pruneEvery == 1 // also the first, for what an earlier process left
	err := l.db.Write(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO rdev_audit (at, caller, action, origin, project, command, api_key, detail) VALUES ({now}, $1, $2, $3, $4, $5, $6, $7)`,
			e.By, e.Action, e.From, e.Project, e.Command, e.Key, e.Detail)
		if err == nil && prune {
			_, err = tx.Exec(ctx, `DELETE FROM rdev_audit WHERE id <= (SELECT max(id) FROM rdev_audit) - CAST($1 AS BIGINT)`, l.keep)
		}
		return err
	})
	if err != nil {
		l.log.Error("an audit entry could not be kept", "by", e.By, "action", e.Action, "from", e.From,
			"project", e.Project, "command", e.Command, "key", e.Key, "error", err)
	}
}

// Page returns entries before the one with an ID, 0 for the newest, newest first. limit is from 1 to [MaxPage].
func (l *Log) Page(ctx context.Context, before int64, limit int) (rdev.AuditPage, error) {
	var page rdev.AuditPage
	err := l.db.Read(ctx, func(tx *store.Tx) error {
		page = rdev.AuditPage{Entries: []rdev.AuditEntry{}}
		return tx.Each(ctx, `SELECT id, at, caller, action, origin, project, command, api_key, detail FROM rdev_audit
			WHERE CAST($1 AS BIGINT) = 0 OR id < $1 ORDER BY id DESC LIMIT $2`, []any{before, limit + 1}, func(rows *sql.Rows) error {
			var e rdev.AuditEntry
			var at int64
			if err := rows.Scan(&e.ID, &at, &e.By, &e.Action, &e.From, &e.Project, &e.Command, &e.Key, &e.Detail); err != nil {
				return err
			}
			e.Time = time.UnixMicro(at).UTC()
			page.Entries = append(page.Entries, e)
			return nil
		})
	})
	if len(page.Entries) > limit {
		page.Entries = page.Entries[:limit]
		page.Next = page.Entries[limit-1].ID
	}
	return page, err
}
