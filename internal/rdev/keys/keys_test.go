package keys

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
	"stella/internal/rdev"
	"stella/internal/store"
	"stella/internal/testkit/postgres"
)

var admin = rdev.Caller{Name: "uid 0", Local: true}

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

func create(t *testing.T, k *Keys, r rdev.KeyRequest) rdev.NewKey {
	t.Helper()
	key, err := k.Create(t.Context(), admin, r)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// check looks a secret up as a request does.
func check(t *testing.T, k *Keys, text string) (rdev.Key, time.Time, error) {
	t.Helper()
	s, ok := apikey.Parse(secretPrefix, text)
	if !ok {
		t.Fatalf("%q cannot be a key", text)
	}
	return k.find(t.Context(), s)
}

func isGood(t *testing.T, k *Keys, secret string, want bool) {
	t.Helper()
	if _, _, err := check(t, k, secret); err != nil && !errors.Is(err, apikey.ErrBadKey) || (err == nil) != want {
		t.Errorf("the key counts: %v (%v), want %v", err == nil, err, want)
	}
}

func TestKeys(t *testing.T) {
	each(t, func(t *testing.T, keys *Keys, db *store.DB, log *bytes.Buffer) {
		made := create(t, keys, rdev.KeyRequest{Name: "ci", Scope: rdev.ScopeRun, Projects: []string{"p", "q"}, TTL: time.Hour})
		if made.By != "uid 0" || made.Expires.Sub(made.Created) != time.Hour || time.Since(made.Created).Abs() > time.Minute || !made.Used.IsZero() || len(made.Projects) != 2 {
			t.Errorf("made %+v", made.Key)
		}
		if key, until, err := check(t, keys, made.Secret); err != nil || key.Name != "ci" || key.Scope != rdev.ScopeRun || until != made.Expires || key.Projects[1] != "q" {
			t.Errorf("found %+v until %v, %v", key, until, err)
		}
		if _, err := keys.Create(t.Context(), admin, rdev.KeyRequest{Name: "ci", Scope: rdev.ScopeRead}); !errors.Is(err, rdev.ErrConflict) {
			t.Errorf("the same name again: %v", err)
		}
		another := create(t, keys, rdev.KeyRequest{Name: "another", Scope: rdev.ScopeRead})
		if !another.Expires.IsZero() || another.Projects == nil || len(another.Projects) > 0 {
			t.Errorf("a key without TTL and projects: %+v", another.Key)
		}
		all, err := keys.List(t.Context())
		if err != nil || len(all) != 2 || all[0].Name != "another" || all[1].Name != "ci" || all[1].Used.IsZero() || !all[0].Used.IsZero() {
			t.Errorf("listed %+v, %v", all, err)
		}
		if err := keys.Revoke(t.Context(), admin, "ci"); err != nil {
			t.Fatal(err)
		}
		isGood(t, keys, made.Secret, false)
		if err := keys.Revoke(t.Context(), admin, "ci"); !errors.Is(err, rdev.ErrNotFound) {
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

// The old secret counts for the grace, and never longer than the key; of several, the last.
func TestRotate(t *testing.T) {
	each(t, func(t *testing.T, keys *Keys, db *store.DB, _ *bytes.Buffer) {
		first := create(t, keys, rdev.KeyRequest{Name: "ci", Scope: rdev.ScopeRun, TTL: 48 * time.Hour})
		rotate := func(grace time.Duration) rdev.NewKey {
			t.Helper()
			key, err := keys.Rotate(t.Context(), admin, "ci", rdev.RotateRequest{Grace: grace})
			if err != nil {
				t.Fatal(err)
			}
			return key
		}
		second := rotate(time.Hour)
		if second.Secret == first.Secret || second.Expires != first.Expires || time.Until(second.Rotated).Round(time.Hour) != time.Hour {
			t.Errorf("rotated %+v", second)
		}
		isGood(t, keys, first.Secret, true)
		isGood(t, keys, second.Secret, true)
		if _, until, err := check(t, keys, first.Secret); err != nil || until != second.Rotated {
			t.Errorf("the old one counts until %v (%v), want %v", until, err, second.Rotated)
		}
		shift(t, db, "old_until", -time.Hour)
		isGood(t, keys, first.Secret, false)
		isGood(t, keys, second.Secret, true)
		third := rotate(time.Hour)
		isGood(t, keys, first.Secret, false)
		isGood(t, keys, second.Secret, true)
		fourth := rotate(0)
		isGood(t, keys, third.Secret, false)
		isGood(t, keys, fourth.Secret, true)
		fifth := rotate(rdev.MaxGrace)
		shift(t, db, "expires", -48*time.Hour)
		isGood(t, keys, fourth.Secret, false)
		isGood(t, keys, fifth.Secret, false)
		if _, err := keys.Rotate(t.Context(), admin, "ci", rdev.RotateRequest{Grace: rdev.MaxGrace + 1}); !errors.Is(err, rdev.ErrInvalid) {
			t.Errorf("a long grace: %v", err)
		}
		if _, err := keys.Rotate(t.Context(), admin, "x", rdev.RotateRequest{}); !errors.Is(err, rdev.ErrNotFound) {
			t.Errorf("no such key: %v", err)
		}
	})
}

// The database has nothing from which a key could be had.
func TestSecretsAreNotKept(t *testing.T) {
	each(t, func(t *testing.T, keys *Keys, db *store.DB, _ *bytes.Buffer) {
		made := create(t, keys, rdev.KeyRequest{Name: "ci", Scope: rdev.ScopeRead})
		var id string
		var hash []byte
		err := db.Read(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Get(t.Context(), `SELECT id, hash FROM rdev_keys`, nil, &id, &hash)
			return err
		})
		want := apikey.HashOf(made.Secret)
		if err != nil || !bytes.Equal(hash, want[:]) || !strings.HasPrefix(made.Secret, "rdev_"+id+"_") {
			t.Errorf("kept %q and %x, %v", id, hash, err)
		}
		if strings.Contains(fmt.Sprintf("%v %s", made, made), made.Secret) {
			t.Error("a key prints its secret")
		}
	})
}

// The last use is written once an hour.
func TestLastUse(t *testing.T) {
	each(t, func(t *testing.T, keys *Keys, db *store.DB, _ *bytes.Buffer) {
		made := create(t, keys, rdev.KeyRequest{Name: "ci", Scope: rdev.ScopeRead})
		used := func() time.Time {
			t.Helper()
			isGood(t, keys, made.Secret, true)
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
		_, err := tx.Exec(t.Context(), `UPDATE rdev_keys SET `+column+` = `+column+` + CAST($1 AS BIGINT)`, by.Microseconds())
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
				_, err := keys.Create(t.Context(), admin, rdev.KeyRequest{Name: "ci", Scope: rdev.ScopeRead})
				results <- err
			})
		}
		wait.Wait()
		close(results)
		made := 0
		for err := range results {
			if err == nil {
				made++
			} else if !errors.Is(err, rdev.ErrConflict) {
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
				if _, err := tx.Exec(t.Context(), `INSERT INTO rdev_keys (name, id, hash, scope, projects, made_by, created, expires, used, old_id, old_hash, old_until)
					VALUES ($1, $1, $2, 'read', '[]', '', 0, 0, 0, '', $2, 0)`, fmt.Sprintf("key-%d", i), []byte{1}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := keys.Create(t.Context(), admin, rdev.KeyRequest{Name: "one-more", Scope: rdev.ScopeRead}); !errors.Is(err, rdev.ErrConflict) {
			t.Errorf("key %d: %v", maxKeys+1, err)
		}
	})
}

// Root and the service's own user may do everything, others run commands.
func TestPeers(t *testing.T) {
	own := os.Geteuid()
	for uid, want := range map[int]rdev.Scope{0: rdev.ScopeAdmin, own: rdev.ScopeAdmin, own + 1: rdev.ScopeRun} {
		got := peer(apikey.Peer(uid))
		if got.Scope != want || got.Name != fmt.Sprintf("uid %d", uid) || got.Local != (want == rdev.ScopeAdmin) || !got.May("any") {
			t.Errorf("uid %d is %+v, want %s", uid, got, want)
		}
	}
}
