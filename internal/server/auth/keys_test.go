package auth

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"stella/internal/apikey"
	"stella/internal/scanner"
	"stella/internal/store"
	"stella/internal/testkit/postgres"
)

var admin = scanner.Caller{Name: "uid 0", Local: true}

// each runs a test with keys in each kind of database.
func each(t *testing.T, f func(t *testing.T, keys *Keys, db *store.DB, log *bytes.Buffer)) {
	urls := map[string]func(testing.TB) string{
		"sqlite":   func(t testing.TB) string { return "sqlite:" + filepath.Join(t.TempDir(), "db") },
		"postgres": postgres.Database,
	}
	for name, url := range urls {
		t.Run(name, func(t *testing.T) {
			var text bytes.Buffer
			log := slog.New(slog.NewTextHandler(&text, nil))
			db, err := store.Open(t.Context(), store.Options{URL: url(t), Log: log})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { db.Close() })
			keys, err := Open(t.Context(), db, log)
			if err != nil {
				t.Fatal(err)
			}
			f(t, keys, db, &text)
		})
	}
}

func create(t *testing.T, k *Keys, name string, ttl time.Duration) scanner.NewKey {
	t.Helper()
	key, err := k.Create(t.Context(), admin, scanner.KeyRequest{Name: name, Scope: scanner.ScopeScan, TTL: scanner.Duration(ttl)})
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// check looks a secret up as a request does.
func check(t *testing.T, k *Keys, text string) (scanner.Key, error) {
	t.Helper()
	s, ok := apikey.Parse(secretPrefix, text)
	if !ok {
		t.Fatalf("%q cannot be a key", text)
	}
	return k.find(t.Context(), s)
}

func TestKeys(t *testing.T) {
	each(t, func(t *testing.T, keys *Keys, db *store.DB, log *bytes.Buffer) {
		made := create(t, keys, "ci", time.Hour)
		if made.Scope != scanner.ScopeScan || made.By != "uid 0" || made.Expires.Sub(made.Created) != time.Hour || time.Since(made.Created).Abs() > time.Minute || !made.Used.IsZero() {
			t.Errorf("made %+v", made.Key)
		}
		if key, err := check(t, keys, made.Secret); err != nil || key.Name != "ci" || key.Scope != scanner.ScopeScan {
			t.Errorf("found %+v, %v", key, err)
		}
		if _, err := keys.Create(t.Context(), admin, scanner.KeyRequest{Name: "ci", Scope: scanner.ScopeRead}); !errors.Is(err, scanner.ErrConflict) {
			t.Errorf("the same name again: %v", err)
		}
		another := create(t, keys, "another", 0)
		if !another.Expires.IsZero() {
			t.Errorf("a key without TTL expires %v", another.Expires)
		}
		all, err := keys.List(t.Context())
		if err != nil || len(all) != 2 || all[0].Name != "another" || all[1].Name != "ci" || all[1].Used.IsZero() || !all[0].Used.IsZero() {
			t.Errorf("listed %+v, %v", all, err)
		}
		if err := keys.Revoke(t.Context(), admin, "ci"); err != nil {
			t.Fatal(err)
		}
		if _, err := check(t, keys, made.Secret); !errors.Is(err, apikey.ErrBadKey) {
			t.Errorf("revoked: %v", err)
		}
		if err := keys.Revoke(t.Context(), admin, "ci"); !errors.Is(err, scanner.ErrNotFound) {
			t.Errorf("revoked again: %v", err)
		}
		for _, secret := range []string{made.Secret, another.Secret} {
			if strings.Contains(log.String(), secret[len(secret)-20:]) {
				t.Error("the log has a secret")
			}
		}
		if _, err := Open(t.Context(), db, keys.log); err != nil {
			t.Errorf("opened again: %v", err)
		}
	})
}

// The database has nothing from which a key could be had.
func TestSecretsAreNotKept(t *testing.T) {
	each(t, func(t *testing.T, keys *Keys, db *store.DB, _ *bytes.Buffer) {
		made := create(t, keys, "ci", 0)
		var id string
		var hash []byte
		err := db.Read(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Get(t.Context(), `SELECT id, hash FROM api_keys`, nil, &id, &hash)
			return err
		})
		want := apikey.HashOf(made.Secret)
		if err != nil || !bytes.Equal(hash, want[:]) || !strings.HasPrefix(made.Secret, "stella_"+id+"_") {
			t.Errorf("kept %q and %x, %v", id, hash, err)
		}
		if strings.Contains(fmt.Sprintf("%v %s", made, made), made.Secret) {
			t.Error("a key prints its secret")
		}
	})
}

func TestExpiry(t *testing.T) {
	each(t, func(t *testing.T, keys *Keys, db *store.DB, _ *bytes.Buffer) {
		made := create(t, keys, "ci", time.Hour)
		if _, err := check(t, keys, made.Secret); err != nil {
			t.Fatal(err)
		}
		shift(t, db, "expires", -time.Hour)
		if _, err := check(t, keys, made.Secret); !errors.Is(err, apikey.ErrBadKey) {
			t.Errorf("expired: %v", err)
		}
	})
}

// The last use is written once an hour.
func TestLastUse(t *testing.T) {
	each(t, func(t *testing.T, keys *Keys, db *store.DB, _ *bytes.Buffer) {
		made := create(t, keys, "ci", 0)
		used := func() time.Time {
			t.Helper()
			if _, err := check(t, keys, made.Secret); err != nil {
				t.Fatal(err)
			}
			all, err := keys.List(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return all[0].Used
		}
		first := used()
		if time.Since(first).Abs() > time.Minute {
			t.Errorf("used %v", first)
		}
		if again := used(); again != first {
			t.Errorf("written again %v later", again.Sub(first))
		}
		shift(t, db, "used", -time.Hour)
		if late := used(); late.Before(first) {
			t.Errorf("an hour later it is still %v", late)
		}
	})
}

// shift moves a time of all keys.
func shift(t *testing.T, db *store.DB, column string, by time.Duration) {
	t.Helper()
	err := db.Write(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(t.Context(), `UPDATE api_keys SET `+column+` = `+column+` + CAST($1 AS BIGINT)`, by.Microseconds())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Two who want the same name: one gets it.
func TestSameNameAtOnce(t *testing.T) {
	each(t, func(t *testing.T, keys *Keys, _ *store.DB, _ *bytes.Buffer) {
		var wait sync.WaitGroup
		results := make(chan error, 8)
		for range cap(results) {
			wait.Go(func() {
				_, err := keys.Create(t.Context(), admin, scanner.KeyRequest{Name: "ci", Scope: scanner.ScopeRead})
				results <- err
			})
		}
		wait.Wait()
		close(results)
		made := 0
		for err := range results {
			if err == nil {
				made++
			} else if !errors.Is(err, scanner.ErrConflict) {
				t.Error(err)
			}
		}
		if made != 1 {
			t.Errorf("%d keys were made", made)
		}
	})
}

func TestNumberOfKeysIsBounded(t *testing.T) {
	each(t, func(t *testing.T, keys *Keys, db *store.DB, _ *bytes.Buffer) {
		err := db.Write(t.Context(), func(tx *store.Tx) error {
			for i := range maxKeys {
				name := fmt.Sprintf("key-%d", i)
				if _, err := tx.Exec(t.Context(), `INSERT INTO api_keys (name, id, hash, scope, made_by, created, expires, used) VALUES ($1, $1, $2, 'read', '', 0, 0, 0)`, name, []byte{1}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := keys.Create(t.Context(), admin, scanner.KeyRequest{Name: "one-more", Scope: scanner.ScopeRead}); !errors.Is(err, scanner.ErrConflict) {
			t.Errorf("key %d: %v", maxKeys+1, err)
		}
	})
}

// Root and the server's own user may do everything, others only scan.
func TestPeers(t *testing.T) {
	own := os.Geteuid()
	for uid, want := range map[int]Identity{
		0:         {scanner.Caller{Name: "uid 0", Local: true}, scanner.ScopeAdmin},
		own:       {scanner.Caller{Name: fmt.Sprintf("uid %d", own), Local: true}, scanner.ScopeAdmin},
		own + 1:   {scanner.Caller{Name: fmt.Sprintf("uid %d", own+1)}, scanner.ScopeScan},
		own + 999: {scanner.Caller{Name: fmt.Sprintf("uid %d", own+999)}, scanner.ScopeScan},
	} {
		if got := peer(apikey.Peer(uid)); got != want {
			t.Errorf("uid %d is %+v, want %+v", uid, got, want)
		}
	}
}
