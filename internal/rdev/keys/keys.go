package keys

import (
	"context"
	"database/sql"
	"embed"
	"encoding/json"
	"io/fs"
	"log/slog"
	"time"

	"stella/internal/apikey"
	"stella/internal/rdev"
	"stella/internal/store"
)

//go:embed migrations/*.sql
var migrations embed.FS

const (
	// maxKeys is how many there may be: people have to be able to look through them.
	maxKeys = 1000
	// usedEvery is how exactly the last use of a key is known: writing it costs a sync of the disk.
	usedEvery = time.Hour
	// secretPrefix begins the keys of this service.
	secretPrefix = "rdev"
)

// Keys keeps API keys in a database. It may be used by several goroutines.
type Keys struct {
	db  *store.DB
	log *slog.Logger
}

// Open makes the table of keys where it is not there. log gets what fails without harm to the request.
func Open(ctx context.Context, db *store.DB, log *slog.Logger) (*Keys, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	if err := db.Migrate(ctx, files, "rdev_keys_schema"); err != nil {
		return nil, err
	}
	return &Keys{db, log}, nil
}

// Create makes a key on behalf of by. The answer is the only place that ever has its secret.
func (k *Keys) Create(ctx context.Context, by rdev.Caller, r rdev.KeyRequest) (rdev.NewKey, error) {
	if err := r.Check(); err != nil {
		return rdev.NewKey{}, err
	}
	projects, err := json.Marshal(append([]string{}, r.Projects...))
	if err != nil {
		return rdev.NewKey{}, err
	}
	s := apikey.New(secretPrefix)
	hash := s.Hash()
	key := rdev.NewKey{Secret: s.Text}
	err = k.db.Write(ctx, func(tx *store.Tx) error {
		var count int
		if _, err := tx.Get(ctx, `SELECT count(*) FROM rdev_keys`, nil, &count); err != nil {
			return err
		}
		if count >= maxKeys {
			return rdev.Errorf(rdev.ErrConflict, "there are %d keys, as many as there may be: revoke those that are not used", count)
		}
		made, err := tx.Exec(ctx, `INSERT INTO rdev_keys (name, id, hash, scope, projects, made_by, created, expires, used, old_id, old_hash, old_until)
			SELECT $1, $2, $3, $4, $5, $6, now, CASE WHEN CAST($7 AS BIGINT) = 0 THEN 0 ELSE now + CAST($7 AS BIGINT) END, 0, '', $8, 0
			FROM (SELECT {now} AS now) AS clock WHERE true ON CONFLICT (name) DO NOTHING`,
			r.Name, s.ID, hash[:], string(r.Scope), string(projects), by.Name, r.TTL.Microseconds(), []byte{})
		if err != nil {
			return err
		}
		if made == 0 {
			return rdev.Errorf(rdev.ErrConflict, "there is a key %s already: revoke it first, or choose another name", r.Name)
		}
		key.Key, err = get(ctx, tx, r.Name)
		return err
	})
	if err != nil {
		return rdev.NewKey{}, err
	}
	k.log.Info("API key made", "key", key.Name, "scope", key.Scope, "projects", key.Projects, "by", by.Name)
	return key, nil
}

// Rotate gives a key another secret; the one before counts for the grace, too. The answer is the only place that has the new one.
func (k *Keys) Rotate(ctx context.Context, by rdev.Caller, name string, r rdev.RotateRequest) (rdev.NewKey, error) {
	if err := r.Check(); err != nil {
		return rdev.NewKey{}, err
	}
	s := apikey.New(secretPrefix)
	hash := s.Hash()
	key := rdev.NewKey{Secret: s.Text}
	err := k.db.Write(ctx, func(tx *store.Tx) error {
		// In SQL the right sides are the row as it was.
		changed, err := tx.Exec(ctx, `UPDATE rdev_keys SET old_id = id, old_hash = hash, old_until = {now} + CAST($4 AS BIGINT),
			id = $2, hash = $3, made_by = $5 WHERE name = $1`, name, s.ID, hash[:], r.Grace.Microseconds(), by.Name)
		if err != nil {
			return err
		}
		if changed == 0 {
			return unknown(name)
		}
		key.Key, err = get(ctx, tx, name)
		return err
	})
	if err != nil {
		return rdev.NewKey{}, err
	}
	k.log.Info("API key rotated", "key", key.Name, "by", by.Name, "grace", r.Grace)
	return key, nil
}

// List returns all keys by name, also those that have expired.
func (k *Keys) List(ctx context.Context) ([]rdev.Key, error) {
	keys := []rdev.Key{}
	err := k.db.Read(ctx, func(tx *store.Tx) error {
		keys = keys[:0]
		return tx.Each(ctx, selectKeys+` ORDER BY name`, nil, func(rows *sql.Rows) error {
			key, err := scan(rows)
			keys = append(keys, key)
			return err
		})
	})
	return keys, err
}

// Revoke removes a key: the next request with it is refused.
func (k *Keys) Revoke(ctx context.Context, by rdev.Caller, name string) error {
	err := k.db.Write(ctx, func(tx *store.Tx) error {
		gone, err := tx.Exec(ctx, `DELETE FROM rdev_keys WHERE name = $1`, name)
		if err == nil && gone == 0 {
			err = unknown(name)
		}
		return err
	})
	if err == nil {
		k.log.Info("API key revoked", "key", name, "by", by.Name)
	}
	return err
}

func unknown(name string) error { return rdev.Errorf(rdev.ErrNotFound, "there is no key %.80q", name) }

const selectKeys = `SELECT name, scope, projects, made_by, created, expires, used, CASE WHEN old_until > {now} THEN old_until ELSE 0 END FROM rdev_keys`

func get(ctx context.Context, tx *store.Tx, name string) (key rdev.Key, err error) {
	err = tx.Each(ctx, selectKeys+` WHERE name = $1`, []any{name}, func(rows *sql.Rows) error {
		key, err = scan(rows)
		return err
	})
	return key, err
}

func scan(rows *sql.Rows) (rdev.Key, error) {
	var key rdev.Key
	var projects string
	var created, expires, used, old int64
	if err := rows.Scan(&key.Name, &key.Scope, &projects, &key.By, &created, &expires, &used, &old); err != nil {
		return key, err
	}
	key.Created, key.Expires, key.Used, key.Rotated = moment(created), moment(expires), moment(used), moment(old)
	return key, json.Unmarshal([]byte(projects), &key.Projects)
}

// moment is a time of the database; 0 is none.
func moment(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micros).UTC()
}

// find returns the key that s is a secret of, or [apikey.ErrBadKey]. Until is when s ends to count.
func (k *Keys) find(ctx context.Context, s apikey.Secret) (key rdev.Key, until time.Time, err error) {
	var (
		hash              = s.Hash()
		want, old         = make([]byte, 0, len(hash)), make([]byte, 0, len(hash))
		projects          string
		expires, oldUntil int64
		now, used         int64
	)
	err = k.db.Read(ctx, func(tx *store.Tx) error {
		_, err := tx.Get(ctx, `SELECT name, scope, projects, hash, old_hash, expires, old_until, used, {now} FROM rdev_keys WHERE id = $1 OR old_id = $1`,
			[]any{s.ID}, &key.Name, &key.Scope, &projects, &want, &old, &expires, &oldUntil, &used, &now)
		return err
	})
	if err != nil {
		return rdev.Key{}, time.Time{}, err
	}
	isNew, isOld := hash.Is(want), hash.Is(old)
	if isOld && !isNew && (expires == 0 || oldUntil < expires) {
		expires = oldUntil
	}
	if !isNew && !isOld || expires != 0 && expires <= now {
		return rdev.Key{}, time.Time{}, apikey.ErrBadKey
	}
	if err := json.Unmarshal([]byte(projects), &key.Projects); err != nil {
		return rdev.Key{}, time.Time{}, err
	}
	if used+usedEvery.Microseconds() <= now {
		k.use(ctx, key.Name)
	}
	return key, moment(expires), nil
}

// use writes down that a key was used.
func (k *Keys) use(ctx context.Context, name string) {
	err := k.db.Write(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE rdev_keys SET used = {now} WHERE name = $1`, name)
		return err
	})
	if err != nil {
		k.log.Warn("the use of an API key was not written down", "key", name, "error", err)
	}
}
