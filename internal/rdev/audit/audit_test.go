package audit

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"stella/internal/rdev"
	"stella/internal/store"
	"stella/internal/testkit/postgres"
)

func each(t *testing.T, f func(t *testing.T, l *Log, text *bytes.Buffer)) {
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
			l, err := Open(t.Context(), db, log)
			if err != nil {
				t.Fatal(err)
			}
			f(t, l, &text)
		})
	}
}

func page(t *testing.T, l *Log, before int64, limit int) rdev.AuditPage {
	t.Helper()
	p, err := l.Page(t.Context(), before, limit)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPages(t *testing.T) {
	each(t, func(t *testing.T, l *Log, _ *bytes.Buffer) {
		if p := page(t, l, 0, 10); p.Entries == nil || len(p.Entries) > 0 || p.Next != 0 {
			t.Errorf("at first %+v", p)
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel() // the request is over; its entry is not
		for i := range 5 {
			l.Add(gone, rdev.AuditEntry{By: "key ci", Action: rdev.ActionRun, From: "192.0.2.1:1", Project: "p", Command: fmt.Sprint(i), Detail: "make"})
		}
		var got string
		before := int64(0)
		for {
			p := page(t, l, before, 2)
			for _, e := range p.Entries {
				got += e.Command
				if e.By != "key ci" || e.Project != "p" || e.Detail != "make" || e.From != "192.0.2.1:1" || time.Since(e.Time).Abs() > time.Minute {
					t.Errorf("%+v", e)
				}
			}
			if before = p.Next; before == 0 {
				break
			}
		}
		if got != "43210" {
			t.Errorf("the pages have %s", got)
		}
		if p := page(t, l, 0, 5); len(p.Entries) != 5 || p.Next != 0 {
			t.Errorf("behind a page with all %d there is %d", len(p.Entries), p.Next)
		}
	})
}

// The log is bounded in entries, and each of them in bytes.
func TestBounds(t *testing.T) {
	each(t, func(t *testing.T, l *Log, _ *bytes.Buffer) {
		l.keep = 10
		for i := range pruneEvery + 1 {
			l.Add(t.Context(), rdev.AuditEntry{Command: fmt.Sprint(i), Detail: strings.Repeat("ü", maxDetail)})
		}
		p := page(t, l, 0, MaxPage)
		if len(p.Entries) != 10 || p.Entries[0].Command != fmt.Sprint(pruneEvery) {
			t.Errorf("%d entries are kept, the newest %+v", len(p.Entries), p.Entries[0])
		}
		if d := p.Entries[0].Detail; len(d) > maxDetail+len("…") || !utf8.ValidString(d) {
			t.Errorf("a detail of %d bytes", len(d))
		}
	})
}

// What cannot be kept is in the service's log.
func TestNotKept(t *testing.T) {
	each(t, func(t *testing.T, l *Log, text *bytes.Buffer) {
		l.db.Close()
		l.Add(t.Context(), rdev.AuditEntry{By: "key ci", Action: rdev.ActionRevoke, Key: "other"})
		for _, want := range []string{"could not be kept", `by="key ci"`, "action=key.revoke", "key=other"} {
			if !strings.Contains(text.String(), want) {
				t.Errorf("the log has no %q: %s", want, text)
			}
		}
	})
}
