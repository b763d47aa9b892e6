package auth

import (
	"context"
	"database/sql"
	"embed"
	"io/fs"
	"log/slog"
	"time"

	"stella/internal/apikey"
	"stella/internal/scanner"
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
	secretPrefix = "stella"
)

// Keys keeps API keys in a database. It may be used by several goroutines.
type Keys struct {
	db  *store.DB
	log *slog.Logger
}

// Open makes the table of keys where it is not there. log gets what fails without
// harm to the request.
func Open(ctx context.Context, db *store.DB, log *slog.Logger) (*Keys, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	if err := db.Migrate(ctx, files, "auth_schema"); err != nil {
		return nil, err
	}
	return &Keys{db, log}, nil
}

// Create makes a key on behalf of by. The answer is the only place that ever has its secret.
func (k *Keys) Create(ctx context.Context, by scanner.Caller, r scanner.KeyRequest) (scanner.NewKey, error) {
	if err := r.Check(); err != nil {
		return scanner.NewKey{}, err
	}
	s := apikey.New(secretPrefix)
	hash := s.Hash()
	var key scanner.Key
	err := k.db.Write(ctx, func(tx *store.Tx) error {
		var count int
		if _, err := tx.Get(ctx, `SELECT count(*) FROM api_keys`, nil, &count); err != nil {
			return err
		}
		if count >= maxKeys {
			return scanner.Errorf(scanner.ErrConflict, "there are %d keys, as many as there may be: revoke those that are not used", count)
		}
		made, err := tx.Exec(ctx, `INSERT INTO api_keys (name, id, hash, scope, made_by, created, expires, used)
			SELECT $1, $2, $3, $4, $5, now, CASE WHEN CAST($6 AS BIGINT) = 0 THEN 0 ELSE now + CAST($6 AS BIGINT) END, 0 FROM (SELECT {now} AS now) AS clock
			WHERE true ON CONFLICT (name) DO NOTHING`,
			r.Name, s.ID, hash[:], string(r.Scope), by.Name, time.Duration(r.TTL).Microseconds())
		if err != nil {
			return err
		}
		if made == 0 {
			return scanner.Errorf(scanner.ErrConflict, "there is a key %s already: revoke it first, or choose another name", r.Name)
		}
		return tx.Each(ctx, selectKeys+` WHERE name = $1`, []any{r.Name}, func(rows *sql.Rows) (err error) {
			key, err = scan(rows)
			return err
		})
	})
	if err != nil {
		return scanner.NewKey{}, err
	}
	k.log.Info("API key made", "key", key.Name, "scope", key.Scope, "by", by.Name)
	return scanner.NewKey{Key: key, Secret: s.Text}, nil
}

const selectKeys = `SELECT name, scope, made_by, created, expires, used FROM api_keys`

func scan(rows *sql.Rows) (scanner.Key, error) {
	var key scanner.Key
	var created, expires, used int64
	err := rows.Scan(&key.Name, &key.Scope, &key.By, &created, &expires, &used)
	key.Created, key.Expires, key.Used = moment(created), moment(expires), moment(used)
	return key, err
}

// moment is a time of the database; 0 is none.
func moment(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micros).UTC()
}

// List returns all keys by name, also those that have expired.
func (k *Keys) List(ctx context.Context) ([]scanner.Key, error) {
	var keys []scanner.Key
	err := k.db.Read(ctx, func(tx *store.Tx) error {
		keys = nil
		return tx.Each(ctx, selectKeys+` ORDER BY name`, nil, func(rows *sql.Rows) error {
			key, err := scan(rows)
			keys = append(keys, key)
			return err
		})
	})
	return keys, err
}

// Revoke removes a key: the next request with it is refused.
func (k *Keys) Revoke(ctx context.Context, by scanner.Caller, name string) error {
	err := k.db.Write(ctx, func(tx *store.Tx) error {
		gone, err := tx.Exec(ctx, `DELETE FROM api_keys WHERE name = $1`, name)
		if err == nil && gone == 0 {
			err = scanner.Errorf(scanner.ErrNotFound, "there is no key %q", name)
		}
		return err
	})
	if err == nil {
		k.log.Info("API key revoked", "key", name, "by", by.Name)
	}
	return err
}

// find returns the key that s is the secret of, or [apikey.ErrBadKey].
func (k *Keys) find(ctx context.Context, s apikey.Secret) (scanner.Key, error) {
	var (
		key     scanner.Key
		want    = make([]byte, 0, len(apikey.Hash{}))
		expired bool
		stale   bool // its last use is to be written
	)
	err := k.db.Read(ctx, func(tx *store.Tx) error {
		_, err := tx.Get(ctx, `SELECT name, scope, hash, expires <> 0 AND expires <= {now}, used + CAST($2 AS BIGINT) <= {now} FROM api_keys WHERE id = $1`,
			[]any{s.ID, usedEvery.Microseconds()}, &key.Name, &key.Scope, &want, &expired, &stale)
		return err
	})
	if err != nil {
		return scanner.Key{}, err
	}
	if !s.Hash().Is(want) || expired {
		return scanner.Key{}, apikey.ErrBadKey
	}
	if stale {
		err := k.db.Write(ctx, func(tx *store.Tx) error {
			_, err := tx.Exec(ctx, `UPDATE api_keys SET used = {now} WHERE id = $1`, s.ID)
			return err
		})
		if err != nil {
			k.log.Warn("the use of an API key was not written down", "key", key.Name, "error", err)
		}
	}
	return key, nil
}
