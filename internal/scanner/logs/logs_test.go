package logs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"stella/internal/scanner"
	"stella/internal/scanner/logs"
	"stella/internal/store"
	"stella/internal/testkit/postgres"
)

var silent = slog.New(slog.DiscardHandler)

// databases runs a test on both kinds.
func databases(t *testing.T, test func(t *testing.T, db *store.DB)) {
	run := func(name string, url func(t *testing.T) string) {
		t.Run(name, func(t *testing.T) { test(t, database(t, url(t))) })
	}
	run("sqlite", func(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "db") })
	run("postgres", func(t *testing.T) string { return postgres.Database(t) })
}

func database(t *testing.T, url string) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), store.Options{URL: url, Log: silent})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func sqlite(t *testing.T) *store.DB {
	return database(t, "sqlite:"+filepath.Join(t.TempDir(), "db"))
}

func openLogs(t *testing.T, db *store.DB, instance string) *logs.Logs {
	t.Helper()
	l, err := logs.Open(t.Context(), db, instance, silent)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// messages are those of the lines that a filter chooses.
func messages(t *testing.T, l *logs.Logs, f scanner.LogFilter) []string {
	t.Helper()
	if f.Tail == 0 {
		f.Tail = scanner.MaxLogPage
	}
	var all []string
	err := l.Query(t.Context(), f, func(line scanner.LogLine) error {
		all = append(all, line.Message)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestQuery(t *testing.T) {
	databases(t, func(t *testing.T, db *store.DB) {
		l := openLogs(t, db, "one")
		at := time.Date(2026, 1, 2, 3, 4, 5, 678_000, time.UTC)
		for i, line := range []scanner.LogLine{
			{Level: "debug", Message: "sbom of layer 1", Job: 1},
			{Level: "info", Message: "sbom generated", Job: 1},
			{Level: "warn", Message: "Memory allocation FAILED", Job: 2},
			{Level: "error", Message: "out of memory: 100% of 64Mi", Job: 2, Attempt: 3, Worker: "default-0", Source: "stderr"},
			{Level: "info", Message: `a_b c\d Ä`},
		} {
			line.At = at.Add(time.Duration(i) * time.Second)
			l.Append(line)
		}
		all := []string{"sbom of layer 1", "sbom generated", "Memory allocation FAILED", "out of memory: 100% of 64Mi", `a_b c\d Ä`}
		start := time.Now()
		for _, c := range []struct {
			f    scanner.LogFilter
			want []string
		}{
			{scanner.LogFilter{Level: "debug"}, all},
			{scanner.LogFilter{}, all[1:]},
			{scanner.LogFilter{Level: "warn"}, all[2:4]},
			{scanner.LogFilter{Level: "error"}, all[3:4]},
			{scanner.LogFilter{Text: "SBOM", Level: "debug"}, all[:2]},
			{scanner.LogFilter{Text: "allocation failed"}, all[2:3]},
			{scanner.LogFilter{Text: "0%"}, all[3:4]},
			{scanner.LogFilter{Text: "a_b"}, all[4:]},
			{scanner.LogFilter{Text: "axb"}, nil},
			{scanner.LogFilter{Text: `c\d`}, all[4:]},
			{scanner.LogFilter{Text: "Ä"}, all[4:]},
			{scanner.LogFilter{Job: 2}, all[2:4]},
			{scanner.LogFilter{Since: at.Add(3 * time.Second)}, all[3:]},
			{scanner.LogFilter{Tail: 2}, all[3:]},
			{scanner.LogFilter{Tail: 1, Text: "sbom"}, all[1:2]},
		} {
			if diff := cmp.Diff(c.want, messages(t, l, c.f)); diff != "" {
				t.Errorf("%+v: %s", c.f, diff)
			}
		}
		// Each would take a second if it waited in vain for lines that are written.
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("the queries took %v", took)
		}
		var lines []scanner.LogLine
		err := l.Query(t.Context(), scanner.LogFilter{Tail: 2}, func(line scanner.LogLine) error {
			lines = append(lines, line)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		want := scanner.LogLine{ID: lines[0].ID, At: at.Add(3 * time.Second), Level: "error", Instance: "one", Source: "stderr", Job: 2, Attempt: 3, Worker: "default-0", Message: all[3]}
		if diff := cmp.Diff(want, lines[0]); diff != "" {
			t.Error(diff)
		}
		if got := messages(t, l, scanner.LogFilter{After: lines[0].ID}); !slices.Equal(got, all[4:]) {
			t.Errorf("after %d: %q", lines[0].ID, got)
		}
		for _, f := range []scanner.LogFilter{{Level: "loud", Tail: 1}, {Tail: -1}, {Tail: scanner.MaxLogPage + 1}} {
			if err := l.Query(t.Context(), f, nil); !errors.Is(err, scanner.ErrInvalid) {
				t.Errorf("%+v: %v", f, err)
			}
		}
		stop := errors.New("stop")
		if err := l.Query(t.Context(), scanner.LogFilter{Tail: 1}, func(scanner.LogLine) error { return stop }); !errors.Is(err, stop) {
			t.Errorf("error %v", err)
		}
	})
}

// More lines than a page, and than a transaction, come whole and in order.
func TestManyLines(t *testing.T) {
	l := openLogs(t, sqlite(t), "one")
	const n = 1234
	for i := range n {
		l.Append(scanner.LogLine{Level: "info", Message: fmt.Sprint(i)})
	}
	got := messages(t, l, scanner.LogFilter{})
	if len(got) != n || got[0] != "0" || got[n-1] != fmt.Sprint(n-1) || !slices.IsSortedFunc(got, func(a, b string) int {
		return len(a) - len(b)
	}) {
		t.Errorf("%d lines, from %q to %q", len(got), got[0], got[len(got)-1])
	}
}

// Two instances say things while one is followed: nothing is missing, nothing comes twice.
func TestFollow(t *testing.T) {
	databases(t, func(t *testing.T, db *store.DB) {
		one, two := openLogs(t, db, "one"), openLogs(t, db, "two")
		const n = 300
		one.Append(scanner.LogLine{Level: "info", Message: "before"})
		one.Append(scanner.LogLine{Level: "info", Message: "last before"})
		stop := errors.New("all are there")
		seen := map[string]int{}
		first, lastID := "", int64(0)
		followed := make(chan error, 1)
		ready := make(chan struct{})
		go func() {
			followed <- one.Follow(t.Context(), scanner.LogFilter{Tail: 1, Level: "info"}, func(line scanner.LogLine) error {
				if first == "" {
					first = line.Message
					close(ready)
				}
				if line.ID <= lastID {
					t.Errorf("line %d after %d", line.ID, lastID)
				}
				lastID = line.ID
				if seen[line.Instance+line.Message]++; len(seen) == 2*n+1 {
					return stop
				}
				return nil
			})
		}()
		<-ready
		for i := range n {
			for _, l := range []*logs.Logs{one, two} {
				l.Append(scanner.LogLine{Level: "info", Message: fmt.Sprint(i)})
				l.Append(scanner.LogLine{Level: "debug", Message: "not wanted"})
			}
			if i%100 == 0 { // so that there are several transactions of each
				messages(t, one, scanner.LogFilter{Tail: 1})
				messages(t, two, scanner.LogFilter{Tail: 1})
			}
		}
		if err := <-followed; !errors.Is(err, stop) {
			t.Fatal(err)
		}
		if first != "last before" {
			t.Errorf("it began with %q", first)
		}
		for line, times := range seen {
			if times != 1 {
				t.Errorf("%s came %d times", line, times)
			}
		}
	})
}

func TestFollowEnds(t *testing.T) {
	l := openLogs(t, sqlite(t), "one")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Follow(ctx, scanner.LogFilter{Tail: 1}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestPrune(t *testing.T) {
	databases(t, func(t *testing.T, db *store.DB) {
		l := openLogs(t, db, "one")
		now := time.Now()
		for i := range 2500 {
			at := now.Add(-2 * time.Hour)
			if i >= 1200 {
				at = now
			}
			l.Append(scanner.LogLine{At: at, Level: "info", Message: fmt.Sprintf("%04d", i)})
			if i%1000 == 999 {
				messages(t, l, scanner.LogFilter{Tail: 1}) // the queue holds fewer
			}
		}
		l.Append(scanner.LogLine{At: now.Add(10 * 365 * 24 * time.Hour), Level: "info", Message: "from a clock that was wrong"})
		messages(t, l, scanner.LogFilter{Tail: 1})
		if err := l.Prune(t.Context(), now.Add(-time.Hour), 1<<30); err != nil {
			t.Fatal(err)
		}
		got := messages(t, l, scanner.LogFilter{})
		if len(got) != 1301 || got[0] != "1200" {
			t.Fatalf("%d lines from %q", len(got), got[0])
		}
		for i := range 2000 {
			l.Append(scanner.LogLine{At: now, Level: "info", Message: fmt.Sprintf("%04d", i)})
			if i%1000 == 999 {
				messages(t, l, scanner.LogFilter{Tail: 1})
			}
		}
		// A line of four letters counts 167 bytes.
		if err := l.Prune(t.Context(), now.Add(-time.Hour), 1000*167); err != nil {
			t.Fatal(err)
		}
		if got := messages(t, l, scanner.LogFilter{}); len(got) < 1000 || len(got) > 2000 || got[len(got)-1] != "1999" {
			t.Errorf("%d lines are left; want 1000 to 2000", len(got))
		}
	})
}

// What was said is there after the log was closed and opened again.
func TestClose(t *testing.T) {
	db := sqlite(t)
	l, err := logs.Open(t.Context(), db, "one", silent)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 700 {
		l.Append(scanner.LogLine{Level: "info", Message: fmt.Sprint(i)})
	}
	for range 2 {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	l.Append(scanner.LogLine{Level: "info", Message: "too late"})
	if got := messages(t, openLogs(t, db, "one"), scanner.LogFilter{}); len(got) != 700 || got[699] != "699" {
		t.Errorf("%d lines", len(got))
	}
}

// While the database fails, saying something costs nothing, memory stays bounded,
// and the log says what is missing when it goes on.
func TestDatabaseFails(t *testing.T) {
	db := sqlite(t)
	var faults bytes.Buffer
	l, err := logs.Open(t.Context(), db, "one", slog.New(slog.NewTextHandler(&faults, nil)))
	if err != nil {
		t.Fatal(err)
	}
	// A transaction that does not end makes all others wait, as a dead disk does.
	held, release := make(chan struct{}), make(chan struct{})
	blocked := make(chan error, 1)
	go func() {
		blocked <- db.Write(context.Background(), func(*store.Tx) error {
			close(held)
			<-release
			return nil
		})
	}()
	<-held
	const n = 20_000
	start := time.Now()
	for i := range n {
		l.Append(scanner.LogLine{Level: "info", Message: fmt.Sprintf("%05d", i)})
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("saying %d lines took %v", n, took)
	}
	close(release)
	if err := <-blocked; err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	again := openLogs(t, db, "two")
	got := messages(t, again, scanner.LogFilter{Level: "warn"})
	kept := len(messages(t, again, scanner.LogFilter{}))
	if len(got) == 0 {
		t.Fatal("nothing says that lines were dropped")
	}
	var dropped, sum int
	for _, m := range got {
		if _, err := fmt.Sscanf(m, "%d lines of the log were dropped", &dropped); err != nil {
			t.Errorf("%q: %v", m, err)
		}
		sum += dropped
	}
	// 1 MiB of lines of 168 bytes.
	if lines := n - sum; lines < 5000 || lines > 8000 || kept != scanner.MaxLogPage {
		t.Errorf("%d of %d lines were kept, %d can be read", lines, n, kept)
	}
	if faults.Len() > 0 {
		t.Errorf("a slow database is no fault: %s", faults.String())
	}
}

func TestCloseWithoutDatabase(t *testing.T) {
	db := sqlite(t)
	var faults bytes.Buffer
	l, err := logs.Open(t.Context(), db, "one", slog.New(slog.NewTextHandler(&faults, nil)))
	if err != nil {
		t.Fatal(err)
	}
	err = db.Write(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(t.Context(), "DROP TABLE log_lines")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	l.Append(scanner.LogLine{Level: "info", Message: "lost"})
	if err := l.Close(); err == nil || !strings.Contains(err.Error(), "1 lines") {
		t.Errorf("error %v", err)
	}
	if n := strings.Count(faults.String(), "\n"); n != 1 {
		t.Errorf("%d lines about one fault: %s", n, faults.String())
	}
}
