package rdevserver

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"stella/internal/incident"
	"stella/internal/incident/book"
	"stella/internal/listen"
	"stella/internal/rdev"
	"stella/internal/server/api"
	"stella/internal/server/auth"
	"stella/internal/store"
)

// killedAt is a command that ended so.
func killedAt(id string, at time.Time, argv ...string) rdev.Command {
	return rdev.Command{ID: id, Project: "web", By: "key ci", Request: rdev.Request{Argv: argv}, Finished: at,
		End: &rdev.End{Reason: rdev.ReasonOOM, ExitCode: 137, OOM: &rdev.OOM{Limit: 64 << 20, Peak: 63 << 20, Kills: 2, VictimPID: 7, VictimComm: "cc1"}}}
}

// The kills of one program in one project on one day are one incident, and what a command was given is not told.
func TestEventsOf(t *testing.T) {
	noon := time.Date(2026, 5, 30, 12, 0, 0, 0, time.UTC)
	first := eventsOf("h", killedAt("1", noon, "/usr/bin/make", "TOKEN=secret"))
	for i := range first {
		if err := first[i].Check(noon); err != nil {
			t.Error(err)
		}
		if strings.Contains(first[i].Text+string(first[i].Data), "secret") {
			t.Errorf("%s tells the arguments: %s", first[i].ID, first[i].Data)
		}
	}
	in, _ := incident.Fold(first)
	if in.Source != incident.SourceCommand || in.Subject.Name != "web: make" || in.Kills != 2 || in.Limit.Bytes != 64<<20 || in.Peak != 63<<20 {
		t.Errorf("%+v", in)
	}
	if text := first[1].Text; text != "command 1, which key ci asked for, was killed for want of memory: limit 64.0 MiB; the kernel killed cc1 (7)" {
		t.Error(text)
	}
	for _, tt := range []struct {
		c    rdev.Command
		same bool
	}{
		{killedAt("2", noon.Add(11*time.Hour), "make", "-j2"), true},
		{killedAt("3", noon.Add(13*time.Hour), "make"), false},
		{killedAt("4", noon, "go"), false},
		{killedAt("5", noon), false},
	} {
		if got := eventsOf("h", tt.c)[1]; (got.Incident == first[1].Incident) != tt.same || got.ID == first[1].ID {
			t.Errorf("command %s: incident %s, event %s; the first: %s, %s", tt.c.ID, got.Incident, got.ID, first[1].Incident, first[1].ID)
		}
	}
}

// A kill comes to a real stellad, also where that was not there at the time, and also where this process has ended since.
func TestIncidentsAreSent(t *testing.T) {
	dir, log := t.TempDir(), slog.New(slog.DiscardHandler)
	o := options(t)
	o.IncidentsTo = "unix:" + filepath.Join(dir, "s")
	p := &parts{o: o}
	if err := p.openIncidents(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.incidents.killed(killedAt("1", time.Now(), "make"))
	if err := p.end.close(); err != nil { // as after a kill -9
		t.Fatal(err)
	}
	p = &parts{o: o}
	if err := p.openIncidents(t.Context()); err != nil {
		t.Fatal(err)
	}
	if told := p.incidents.Stats(); told.Queued != 2 {
		t.Errorf("%+v", told)
	}

	db, err := store.Open(t.Context(), store.Options{URL: "sqlite:" + filepath.Join(dir, "db"), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	keys, err := auth.Open(t.Context(), db, log)
	if err != nil {
		t.Fatal(err)
	}
	all, err := book.Open(t.Context(), db, book.Options{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	a, err := api.New(api.Options{Incidents: all, Keys: keys, Gate: auth.NewGate(keys), Version: "1", Log: log})
	if err != nil {
		t.Fatal(err)
	}
	l, err := listen.Unix(t.Context(), filepath.Join(dir, "s"), "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	var work sync.WaitGroup
	work.Go(func() { _ = listen.Serve(ctx, a.Server(), l) })
	work.Go(func() { p.incidents.Run(ctx) })
	var got []incident.Event
	err = all.Follow(ctx, 0, func(_ int64, e incident.Event) error {
		if got = append(got, e); len(got) == 2 {
			cancel()
		}
		return nil
	})
	work.Wait()
	if len(got) != 2 || got[0].Kind != incident.Opened || !strings.HasPrefix(got[1].Actor, "rdev-api on ") {
		t.Errorf("%+v, %v", got, err)
	}
	if err := p.end.close(); err != nil {
		t.Error(err)
	}
}
