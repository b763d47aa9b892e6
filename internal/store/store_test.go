package store_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"stella/internal/store"
	"stella/internal/testkit/postgres"
)

// onEach runs a test on SQLite, and on a real PostgreSQL server where there is one.
func onEach(t *testing.T, f func(t *testing.T, url string)) {
	t.Run("sqlite", func(t *testing.T) { f(t, "sqlite:"+filepath.Join(t.TempDir(), "a.db")) })
	t.Run("postgres", func(t *testing.T) { f(t, postgres.Database(t)) })
}

func open(t testing.TB, url string) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), store.Options{URL: url, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func files(texts ...string) fstest.MapFS {
	fsys := fstest.MapFS{}
	for i, text := range texts {
		fsys[fmt.Sprintf("%04d_x.sql", i+1)] = &fstest.MapFile{Data: []byte(text)}
	}
	return fsys
}

// schema has two statements in one migration, and the words that differ.
const schema = `CREATE TABLE a (id {id}, n BIGINT NOT NULL, b {bytes}); CREATE TABLE b (n BIGINT UNIQUE);`

func migrated(t testing.TB, url string) *store.DB {
	t.Helper()
	db := open(t, url)
	if err := db.Migrate(t.Context(), files(schema), "test_schema"); err != nil {
		t.Fatal(err)
	}
	return db
}

func insert(t testing.TB, db *store.DB, n int) error {
	return db.Write(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(t.Context(), `INSERT INTO a (n) VALUES ($1)`, n)
		return err
	})
}

func count(t testing.TB, db *store.DB) (n int) {
	t.Helper()
	err := db.Read(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Get(t.Context(), `SELECT count(*) FROM a`, nil, &n)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestWriteIsAllOrNothing(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		db := migrated(t, url)
		if err := insert(t, db, 1); err != nil {
			t.Fatal(err)
		}
		refused := errors.New("no")
		err := db.Write(t.Context(), func(tx *store.Tx) error {
			if n, err := tx.Exec(t.Context(), `INSERT INTO a (n) VALUES (2), (3)`); n != 2 || err != nil {
				t.Errorf("%d rows, %v", n, err)
			}
			return refused
		})
		if !errors.Is(err, refused) || err.Error() != "no" {
			t.Errorf("got %v, want the function's own error", err)
		}
		func() {
			defer func() { _ = recover() }()
			_ = db.Write(t.Context(), func(tx *store.Tx) error {
				_, _ = tx.Exec(t.Context(), `INSERT INTO a (n) VALUES (4)`)
				panic("a fault")
			})
		}()
		ctx, cancel := context.WithCancel(t.Context())
		err = db.Write(ctx, func(tx *store.Tx) error {
			_, err := tx.Exec(ctx, `INSERT INTO a (n) VALUES (5)`)
			cancel()
			if err == nil {
				_, err = tx.Exec(ctx, `INSERT INTO a (n) VALUES (6)`)
			}
			return err
		})
		if !errors.Is(err, context.Canceled) || errors.Is(err, store.ErrUnavailable) {
			t.Errorf("got %v, want the context's error", err)
		}
		if n := count(t, db); n != 1 {
			t.Errorf("%d rows were kept, want 1", n)
		}
		if err := insert(t, db, 7); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}

func TestReadCannotWrite(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		db := migrated(t, url)
		err := db.Read(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Exec(t.Context(), `INSERT INTO a (n) VALUES (1)`)
			return err
		})
		if err == nil || count(t, db) != 0 {
			t.Errorf("got %v", err)
		}
	})
}

// A read sees one moment, and does not wait for a writer.
func TestReadBesideAWrite(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		db := migrated(t, url)
		err := db.Write(t.Context(), func(tx *store.Tx) error {
			if _, err := tx.Exec(t.Context(), `INSERT INTO a (n) VALUES (1)`); err != nil {
				return err
			}
			if n := count(t, db); n != 0 {
				t.Errorf("sees %d rows that are not there yet", n)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		err = db.Read(t.Context(), func(tx *store.Tx) error {
			for range 2 {
				var n int
				if _, err := tx.Get(t.Context(), `SELECT count(*) FROM a`, nil, &n); err != nil || n != 1 {
					t.Errorf("sees %d rows, %v", n, err)
				}
				if n == 1 {
					if err := insert(t, db, 2); err != nil {
						return err
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

func TestGetAndEach(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		db := migrated(t, url)
		content := []byte{0, 1, 255}
		err := db.Write(t.Context(), func(tx *store.Tx) error {
			var first, second int64
			for _, dest := range []*int64{&first, &second} {
				if found, err := tx.Get(t.Context(), `INSERT INTO a (n, b) VALUES ($1, $2) RETURNING id`, []any{int64(1) << 60, content}, dest); err != nil || !found {
					t.Errorf("found %v, %v", found, err)
				}
			}
			if second <= first {
				t.Errorf("numbers %d, %d", first, second)
			}
			var n, now int64
			var b []byte
			if found, err := tx.Get(t.Context(), `SELECT n, b, {now} FROM a WHERE id = $1 {lock}`, []any{second}, &n, &b, &now); err != nil || !found || n != 1<<60 || !bytes.Equal(b, content) || now < 1e15 {
				t.Errorf("found %v: %d, %v, %d, %v", found, n, b, now, err)
			}
			if found, err := tx.Get(t.Context(), `SELECT n FROM a WHERE id = $1 {skip}`, []any{-1}, &n); err != nil || found {
				t.Errorf("found %v, %v", found, err)
			}
			rows := 0
			enough := errors.New("enough")
			if err := tx.Each(t.Context(), `SELECT id FROM a`, nil, func(*sql.Rows) error { rows++; return enough }); !errors.Is(err, enough) || rows != 1 {
				t.Errorf("%d rows, %v", rows, err)
			}
			_, err := tx.Exec(t.Context(), `DELETE FROM a`)
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// There are more texts than statements that are kept prepared.
func TestManyStatements(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		db := migrated(t, url)
		for range 2 {
			err := db.Write(t.Context(), func(tx *store.Tx) error {
				for n := range 300 {
					var got int
					if _, err := tx.Get(t.Context(), fmt.Sprintf(`SELECT CAST($1 AS BIGINT) + %d`, n), []any{1000}, &got); err != nil || got != 1000+n {
						t.Fatalf("%d, %v", got, err)
					}
					if _, err := tx.Exec(t.Context(), fmt.Sprintf(`DELETE FROM a WHERE n = %d`, n)); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestWritersTakeTurns(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		db := migrated(t, url)
		var wg sync.WaitGroup
		for n := range 20 {
			wg.Go(func() {
				if err := insert(t, db, n); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := count(t, db); n != 20 {
			t.Errorf("%d rows", n)
		}
	})
}

func TestAfterClose(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		db := migrated(t, url)
		for range 2 {
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		}
		if err := insert(t, db, 1); err == nil || !strings.Contains(err.Error(), "closed") {
			t.Errorf("got %v", err)
		}
	})
}

func TestMigrate(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		db := migrated(t, url)
		if err := insert(t, db, 1); err != nil {
			t.Fatal(err)
		}
		// The second statement of a step is wrong, so the first does not count either.
		wrong := files(schema, `ALTER TABLE a ADD COLUMN c BIGINT; ALTER TABLE none ADD COLUMN c BIGINT`)
		if err := db.Migrate(t.Context(), wrong, "test_schema"); err == nil || !strings.Contains(err.Error(), "none") {
			t.Errorf("got %v", err)
		}
		right := files(schema, `ALTER TABLE a ADD COLUMN c BIGINT`, `ALTER TABLE a ADD COLUMN d BIGINT`)
		for range 2 {
			if err := db.Migrate(t.Context(), right, "test_schema"); err != nil {
				t.Fatal(err)
			}
		}
		if n := count(t, db); n != 1 {
			t.Errorf("%d rows", n)
		}
		// Another component counts for itself.
		if err := db.Migrate(t.Context(), files(`CREATE TABLE other (n BIGINT)`), "other_schema"); err != nil {
			t.Fatal(err)
		}
		err := db.Migrate(t.Context(), files(schema), "test_schema")
		if !errors.Is(err, store.ErrNewer) || !strings.Contains(err.Error(), "test_schema is at version 3, and this program knows up to 1") || !strings.Contains(err.Error(), db.Name()) {
			t.Errorf("got %v", err)
		}
		if n := count(t, db); n != 1 {
			t.Errorf("%d rows after the older program", n)
		}
		for what, fsys := range map[string]fstest.MapFS{"none": {}, "name": {"x.sql": {}}} {
			if err := db.Migrate(t.Context(), fsys, "x"); err == nil {
				t.Errorf("%s: no error", what)
			}
		}
	})
}

// Several processes start at once on a new database.
func TestMigrateAtOnce(t *testing.T) {
	url := postgres.Database(t)
	var wg sync.WaitGroup
	for range 4 {
		db := open(t, url)
		wg.Go(func() {
			if err := db.Migrate(t.Context(), files(schema, `ALTER TABLE a ADD COLUMN c BIGINT`), "test_schema"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestOpenRefusesOtherURLs(t *testing.T) {
	for _, url := range []string{"", "mysql://u:secret@h/d", "secret", "sqlite:", "sqlite"} {
		db, err := store.Open(t.Context(), store.Options{URL: url, Log: slog.New(slog.DiscardHandler)})
		if err == nil {
			db.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "sqlite:PATH") {
			t.Errorf("%q: %v", url, err)
		}
	}
}
