package queue_test

import (
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"stella/internal/incident"
	"stella/internal/incident/book"
	"stella/internal/scanner"
)

// What an earlier version kept in a table of its own is told as events, with what became of each job, and looks as before.
func TestMove(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		if err := e.db.Migrate(t.Context(), os.DirFS("migrations"), "queue_schema"); err != nil {
			t.Fatal(err)
		}
		old := func(job int, status scanner.Status, attempts int, actions ...string) {
			ended := 0
			if status.Final() {
				ended = 9_000_000
			}
			e.exec(`INSERT INTO jobs (image, platform, digest, size, layers, subject, shared, status, reason, message, pool, attempts, forgiven, requests, timeout, attach, local,
				cancelled, due, queued, submitted, started, ended, inventory, bytes, components, problems, attached)
				VALUES ($1, '', $2, 1, 1, $2, NULL, $3, '', '', 'default', $4, 0, 1, 0, 0, 0, 'uid 7', 0, 1, 1, 1, $5, '', 0, 0, 0, '')`,
				fmt.Sprintf("image:%d", job), digest(job), string(status), attempts, ended)
			for n := range attempts {
				outcome := "succeeded"
				if n < len(actions) {
					outcome = "oom"
					e.exec(`INSERT INTO incidents (job, number, at, action) VALUES ($1, $2, $3, $4)`, job, n+1, 1_000_000*(n+1), actions[n])
				}
				e.exec(`INSERT INTO attempts (job, number, pool, worker, instance, memory_limit, started, ended, outcome, exit_code, kills, peak, rss, progress, message)
					VALUES ($1, $2, 'default', 'w', 'a', 64, 1, $3, $4, 137, 1, 60, 0, '{"layer":2,"path":"x"}', 'killed')`, job, n+1, 1_000_000*(n+1), outcome)
			}
		}
		rerouted, quarantined := "re-routed to pool large (1Gi)", "quarantined: no pool has more memory"
		old(1, scanner.StatusSucceeded, 3, rerouted, rerouted)
		old(2, scanner.StatusFailed, 2, rerouted, quarantined)
		old(3, scanner.StatusPending, 1, rerouted)
		old(4, scanner.StatusCancelled, 1, "none: the job was cancelled")
		e.exec(`INSERT INTO quarantine (subject, memory_limit, mode, incident, at) VALUES ($1, 64, 'streaming', (SELECT max(id) FROM incidents WHERE job = 2), 5)`, digest(2))

		e.instance("a")
		q := e.instance("a") // and not again
		b, err := book.Open(t.Context(), e.db, book.Options{Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		for id, want := range map[string]struct {
			state incident.State
			kinds []incident.Kind
		}{
			"job-1": {incident.Held, []incident.Kind{"opened", "killed", "changed", "killed", "changed", "verified"}},
			"job-2": {incident.NotHeld, []incident.Kind{"opened", "killed", "changed", "killed", "failed"}},
			"job-3": {incident.Open, []incident.Kind{"opened", "killed", "changed"}},
			"job-4": {incident.Closed, []incident.Kind{"opened", "killed", "closed"}},
		} {
			d, err := b.Get(t.Context(), id)
			var kinds []incident.Kind
			for _, x := range d.Timeline {
				kinds = append(kinds, x.Kind)
			}
			if diff := cmp.Diff(want.kinds, kinds); diff != "" || err != nil || d.State != want.state || d.Source != incident.SourceWorker || d.Limit.Bytes != 64 {
				t.Errorf("%s: %+v, %v (-want +got):\n%s", id, d.Incident, err, diff)
			}
		}
		code := 137
		want := scanner.WorkerKill{ID: "job-2", At: time.UnixMicro(2_000_000).UTC(), Job: 2, Number: 2, Image: "image:2", Digest: digest(2), Pool: "default", Worker: "w", Limit: 64,
			End: scanner.End{ExitCode: &code, Kills: 1, Peak: 60, Message: "killed", Progress: scanner.Progress{Layer: 2, Path: "x"}}, Action: quarantined}
		d, err := q.Details(t.Context(), 2)
		if err != nil || len(d.Incidents) != 2 || d.Quarantine == nil || d.Quarantine.Incident != "job-2" {
			t.Fatalf("%+v, %v", d, err)
		}
		if diff := cmp.Diff(want, d.Incidents[1]); diff != "" {
			t.Error(diff)
		}
		if all, err := q.Incidents(t.Context(), time.Time{}, 100); err != nil || len(all) != 6 || all[0].Number != 2 {
			t.Errorf("%d kills, %v", len(all), err)
		}
	})
}

// An incident goes on over all attempts of a job: a retry after the quarantine is of the same, and what helped ends it. What is killed after its end is another.
func TestIncidentOfAJob(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		q := e.instance("a")
		putLarge(t, q)
		b, err := book.Open(t.Context(), e.db, book.Options{Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		state := func(id string, want incident.State, kills int64) {
			t.Helper()
			if d, err := b.Get(t.Context(), id); err != nil || d.State != want || d.Kills != kills || d.Subject.Name != "example.test/image:1 (job 1)" || d.Subject.Node != "host-a" {
				t.Errorf("%+v, %v; want %s with %d kills", d.Incident, err, want, kills)
			}
		}
		retry := func() {
			t.Helper()
			if _, err := q.Retry(t.Context(), 1, "default", "key ann"); err != nil {
				t.Fatal(err)
			}
		}
		submit(t, q, submission(1))
		finish(t, q, failure(claim(t, q, "default", "w"), scanner.OutcomeOOM, "killed"))
		state("job-1", incident.Open, 1)
		finish(t, q, failure(claim(t, q, "large", "w"), scanner.OutcomeOOM, "killed"))
		state("job-1", incident.NotHeld, 2)
		retry()
		finish(t, q, failure(claim(t, q, "default", "w"), scanner.OutcomeOOM, "killed"))
		state("job-1", incident.NotHeld, 3)
		if _, err := q.Cancel(t.Context(), 1, "uid 7"); err != nil {
			t.Fatal(err)
		}
		state("job-1", incident.Closed, 3)
		retry()
		finish(t, q, failure(claim(t, q, "default", "w"), scanner.OutcomeOOM, "killed"))
		state("job-1", incident.Closed, 3)
		state("job-1-4", incident.Open, 1)
		finish(t, q, success(claim(t, q, "large", "w"), inventory(1, 10)))
		state("job-1-4", incident.Held, 1)
		if d, err := b.Get(t.Context(), "job-1-4"); err != nil || d.Limit.Bytes != 1<<30 {
			t.Errorf("%+v, %v; want the limit in which it held", d.Limit, err)
		}
		d, err := q.Details(t.Context(), 1)
		if err != nil || len(d.Incidents) != 4 || d.Incidents[0].ID != "job-1" || d.Incidents[3].ID != "job-1-4" {
			t.Errorf("%+v, %v", d.Incidents, err)
		}
	})
}
