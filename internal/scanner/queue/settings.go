package queue

import (
	"context"
	"database/sql"
	"fmt"

	"stella/internal/scanner"
	"stella/internal/store"
)

// Settings returns the values in force, each with its origin, and a version that
// grows with every change of settings and pools.
func (q *Queue) Settings(ctx context.Context) (s scanner.Settings, all []scanner.Setting, version int64, err error) {
	err = q.read(ctx, func(tx *store.Tx) error {
		if _, err := tx.Get(ctx, `SELECT version FROM config`, nil, &version); err != nil {
			return err
		}
		s, all, err = settings(ctx, tx)
		return err
	})
	return s, all, version, err
}

// Version is the version that [Queue.Settings] returns, for who only wants to know whether it has grown.
func (q *Queue) Version(ctx context.Context) (version int64, err error) {
	err = q.read(ctx, func(tx *store.Tx) error {
		_, err := tx.Get(ctx, `SELECT version FROM config`, nil, &version)
		return err
	})
	return version, err
}

// stored is a value that somebody set.
type stored struct {
	key, value, by string
	changed        int64
}

func settings(ctx context.Context, tx *store.Tx) (scanner.Settings, []scanner.Setting, error) {
	s := scanner.DefaultSettings()
	byKey := map[string]stored{}
	err := tx.Each(ctx, `SELECT key, value, set_by, changed FROM settings`, nil, func(rows *sql.Rows) error {
		var r stored
		err := rows.Scan(&r.key, &r.value, &r.by, &r.changed)
		byKey[r.key] = r
		return err
	})
	if err != nil {
		return s, nil, err
	}
	refused := map[string]bool{}
	for key, r := range byKey {
		// A version of stellad with other rules has set it.
		refused[key] = s.Set(key, r.value) != nil
	}
	all, err := s.Describe("")
	for i := range all {
		r, ok := byKey[all[i].Key]
		switch {
		case ok && refused[r.key]:
			all[i].Origin = fmt.Sprintf("default, because %q, set by %s, is no longer allowed", r.value, r.by)
		case ok:
			all[i].Origin, all[i].Changed = "set by "+r.by, fromMicros(r.changed)
		}
	}
	return s, all, err
}

// Set changes a setting; by says who, for people. A key or value that is not
// allowed is [scanner.ErrSetting].
func (q *Queue) Set(ctx context.Context, key, value, by string) (scanner.SettingChange, error) {
	return q.change(ctx, key, func(tx *store.Tx, s scanner.Settings) error {
		if err := s.Set(key, value); err != nil {
			return err
		}
		described, err := s.Describe(key)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `INSERT INTO settings (key, value, set_by, changed) VALUES ($1, $2, $3, {now})
			ON CONFLICT (key) DO UPDATE SET value = excluded.value, set_by = excluded.set_by, changed = excluded.changed`,
			key, described[0].Value, clean(by))
		return err
	})
}

// Unset brings back a setting's default.
func (q *Queue) Unset(ctx context.Context, key string) (scanner.SettingChange, error) {
	return q.change(ctx, key, func(tx *store.Tx, _ scanner.Settings) error {
		_, err := tx.Exec(ctx, `DELETE FROM settings WHERE key = $1`, key)
		return err
	})
}

// change runs f and compares the setting before and after it.
func (q *Queue) change(ctx context.Context, key string, f func(*store.Tx, scanner.Settings) error) (c scanner.SettingChange, err error) {
	err = q.write(ctx, func(tx *store.Tx) error {
		if err := takeTurn(ctx, tx); err != nil {
			return err
		}
		s, all, err := settings(ctx, tx)
		if err != nil {
			return err
		}
		before, err := pick(all, key)
		if err != nil {
			return err
		}
		if err := f(tx, s); err != nil {
			return err
		}
		if _, all, err = settings(ctx, tx); err != nil {
			return err
		}
		c.Old = before.Value
		c.Setting, err = pick(all, key)
		return err
	})
	return c, err
}

// pick finds one setting; the error for an unknown key names all that there are.
func pick(all []scanner.Setting, key string) (scanner.Setting, error) {
	for _, s := range all {
		if s.Key == key {
			return s, nil
		}
	}
	var s scanner.Settings
	return scanner.Setting{}, s.Set(key, "")
}

// takeTurn makes changes of settings and pools come one after the other, each with a version.
func takeTurn(ctx context.Context, tx *store.Tx) error {
	_, err := tx.Exec(ctx, `UPDATE config SET version = version + 1`)
	return err
}
