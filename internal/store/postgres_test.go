package store_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"

	"stella/internal/store"
	"stella/internal/testkit/postgres"
)

// The password is in no error and no line of the log, whatever is wrong with the URL.
func TestPasswordIsNeverShown(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer closed.Close()
	go func() { // a server that is none
		for {
			c, err := closed.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	server := postgres.Database(t)
	for _, url := range []string{
		"postgres://user:geheim@" + closed.Addr().String() + "/db",
		"postgres://user:geheim@127.0.0.1:1/db",
		"postgres://user:geheim@no-such-host.invalid:1/db",
		"postgres://user:ge%zzheim@h:1/db",
		"postgres://user:geheim@h:port/db",
		"postgres://user:x/geheim@h:1/db",
		"postgres://user:x#geheim@h:1/db",
		"postgres://user:x geheim@h:1/db",
		"postgres://user:geheim@[h:1/db",
		"postgres://user@h:1/db?password=geheim&sslmode=wrong",
		"postgres://user:geheim@h:1/db?sslmode=wrong",
		strings.Replace(server, "postgres@", "nobody:geheim@", 1),
		strings.Replace(server, "/test", "/none", 1) + "&password=geheim",
	} {
		var log strings.Builder
		db, err := store.Open(t.Context(), store.Options{URL: url, Log: slog.New(slog.NewTextHandler(&log, nil))})
		if err == nil {
			db.Close()
			t.Errorf("%s was opened", url)
			continue
		}
		if text := fmt.Sprintf("%v %+v %#v %s", err, err, err, log.String()); strings.Contains(text, "heim") {
			t.Errorf("%s: %s", url, text)
		}
	}
	db := open(t, server+"&password=geheim")
	if strings.Contains(db.Name(), "geheim") || !strings.Contains(db.Name(), "/test") {
		t.Errorf("name %q", db.Name())
	}
	err = db.Write(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(t.Context(), "nonsense")
		return err
	})
	if err == nil || strings.Contains(fmt.Sprintf("%+v %#v", err, err), "geheim") {
		t.Errorf("%#v", err)
	}
}

func TestServerThatDoesNotAnswer(t *testing.T) {
	_, err := store.Open(t.Context(), store.Options{URL: "postgres://user@127.0.0.1:1/db", Log: slog.New(slog.DiscardHandler)})
	if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("got %v", err)
	}
}

// Two transactions wait for each other. PostgreSQL ends one, which then runs again.
func TestDeadlockIsResolved(t *testing.T) {
	db := migrated(t, postgres.Database(t))
	for n := range 2 {
		if err := insert(t, db, n); err != nil {
			t.Fatal(err)
		}
	}
	var first [2]sync.Once
	both := make(chan struct{}, 2)
	var runs, done sync.WaitGroup
	runs.Add(2)
	for i := range 2 {
		done.Go(func() {
			err := db.Write(t.Context(), func(tx *store.Tx) error {
				if _, err := tx.Exec(t.Context(), `UPDATE a SET n = n + 10 WHERE n % 10 = $1`, i); err != nil {
					return err
				}
				first[i].Do(func() { // each has one row now, and wants the other's
					both <- struct{}{}
					runs.Done()
					runs.Wait()
				})
				_, err := tx.Exec(t.Context(), `UPDATE a SET n = n + 10 WHERE n % 10 = $1`, 1-i)
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	done.Wait()
	var sum int
	err := db.Read(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Get(t.Context(), `SELECT CAST(sum(n) AS BIGINT) FROM a`, nil, &sum)
		return err
	})
	if err != nil || sum != 41 {
		t.Errorf("sum %d, %v", sum, err)
	}
}

// A transaction in which nothing happens is ended by the server, so that whoever
// stands still, without being gone, does not keep others from what it has locked.
func TestTransactionThatStandsStill(t *testing.T) {
	url := postgres.Database(t)
	other := migrated(t, url)
	if err := insert(t, other, 1); err != nil {
		t.Fatal(err)
	}
	add := func(tx *store.Tx) error {
		_, err := tx.Exec(t.Context(), `UPDATE a SET n = n + 1`)
		return err
	}
	still := open(t, url+"&idle_in_transaction_session_timeout=50")
	err := still.Write(t.Context(), func(tx *store.Tx) error {
		if err := add(tx); err != nil {
			t.Error(err)
		}
		if err := other.Write(t.Context(), add); err != nil {
			t.Errorf("the other one: %v", err)
		}
		return add(tx)
	})
	if !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
	var n int
	err = still.Read(t.Context(), func(tx *store.Tx) error { // over another connection
		_, err := tx.Get(t.Context(), `SELECT n FROM a`, nil, &n)
		return err
	})
	if err != nil || n != 2 {
		t.Errorf("%d, %v; want 2: the other's alone", n, err)
	}
}
