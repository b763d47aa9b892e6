package chaos

import (
	"database/sql"
	"slices"
	"syscall"
	"testing"
	"time"

	"stella/internal/testkit/postgres"
)

const (
	// frozenJobs keep two servers busy while one of them is stopped again and again.
	frozenJobs = 400
	// freezes is how often that is tried: a server is in a transaction much of its time.
	freezes = 200
)

// A server stops in the middle of a transaction, with rows locked in the database that
// others need. They get them, and its jobs, while it is still away.
func TestStoppedInTransaction(t *testing.T) {
	t.Parallel()
	random := chance(t)
	images := makeImages(t, frozenJobs)
	url := postgres.Database(t)
	var servers [2]*stellad
	for i, name := range []string{"a", "b"} {
		s := newStellad(t, name)
		s.store = url + "&application_name=" + name
		s.start()
		s.set("worker.count", "2", "retry.max_attempts", "100")
		servers[i] = s
	}
	a, b := servers[0], servers[1]
	orders := newOrders(t, images)
	orders.submit(b.client)
	orders.waitFor(b.client, 10)

	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var fault time.Time
	for tries := 1; ; tries++ {
		fault = time.Now()
		a.send(syscall.SIGSTOP)
		if holdsLocks(t, db, "a") {
			t.Logf("stopped in a transaction the %d. time", tries)
			break
		}
		a.send(syscall.SIGCONT)
		if tries == freezes {
			t.Fatalf("stopped %d times, and never in a transaction", freezes)
		}
		time.Sleep(upTo(random, 10*time.Millisecond))
	}
	orders.wait(b.client)
	a.send(syscall.SIGCONT)
	checkResults(t, b.client, images)
	for _, s := range servers {
		s.end()
	}
	books := b.openBooks()
	books.check(images, orders.acknowledged)
	took, again := books.takenOver("a", fault)
	t.Logf("%d attempts were taken over after %v, and begun again after %v", len(took), took, again)
	if len(again) > 0 && slices.Max(again) > takeOver {
		t.Errorf("want them begun again within %v", takeOver)
	}
}

// holdsLocks reports whether a server that is stopped has a transaction that wrote, and waits for it.
func holdsLocks(t *testing.T, db *sql.DB, name string) bool {
	t.Helper()
	for {
		var active, writing int
		err := db.QueryRow(`SELECT count(*) FILTER (WHERE state = 'active'), count(*) FILTER (WHERE state = 'idle in transaction' AND backend_xid IS NOT NULL)
			FROM pg_stat_activity WHERE application_name = $1`, name).Scan(&active, &writing)
		if err != nil {
			t.Fatal(err)
		}
		if active == 0 {
			return writing > 0
		}
	}
}
