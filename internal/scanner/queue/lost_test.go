package queue_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"stella/internal/scanner"
	"stella/internal/scanner/queue"
)

// An instance that was killed starts again under its name.
func TestRecover(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		other := e.instance("b")
		submit(t, other, submission(0))
		kept := claim(t, other, "default", "default-0")
		before := e.instance("a")
		var claims []*queue.Claim
		for n := range 150 { // more than one transaction ends
			submit(t, before, submission(n+1))
			claims = append(claims, claim(t, before, "default", "default-0"))
		}
		if _, err := before.Cancel(t.Context(), claims[0].Job.ID, "x"); err != nil {
			t.Fatal(err)
		}
		after := e.instance("a")
		if n, err := after.Recover(t.Context()); err != nil || n != 150 {
			t.Fatalf("recovered %d, %v", n, err)
		}
		if n, err := after.Recover(t.Context()); err != nil || n != 0 {
			t.Errorf("recovered %d again, %v", n, err)
		}
		d, err := after.Details(t.Context(), claims[0].Job.ID)
		if err != nil || d.Status != scanner.StatusCancelled || d.History[0].Outcome != scanner.OutcomeLost {
			t.Errorf("cancelled before: %+v, %v", d, err)
		}
		if _, _, err := before.Finish(t.Context(), success(claims[1], inventory(2, 10))); !errors.Is(err, queue.ErrFenced) {
			t.Errorf("the process before ends an attempt: %v", err)
		}
		for _, lost := range claims[1:] {
			c := claim(t, after, "default", "default-0") // at once, and the oldest first
			if c.Job.ID != lost.Job.ID || c.Attempt.Number != 2 || c.Failures != 0 {
				t.Errorf("%+v, want job %d", c, lost.Job.ID)
			}
		}
		finish(t, other, success(kept, inventory(0, 10)))
	})
}

func TestTakeOver(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		a, b := e.instance("a"), e.instance("b")
		submit(t, a, submission(1))
		c := claim(t, a, "default", "default-0")
		if n, err := b.TakeOver(t.Context(), time.Minute); err != nil || n != 0 {
			t.Fatalf("took over %d of an instance that lives, %v", n, err)
		}
		e.exec(`UPDATE instances SET seen = seen - 61000000 WHERE name = 'a'`)
		all, _, err := b.Instances(t.Context(), time.Minute)
		if err != nil || len(all) != 2 || all[0].Alive || !all[1].Alive || all[0].Host != "host-a" || all[0].Version != "1.2.3" {
			t.Errorf("%+v, %v", all, err)
		}
		if n, err := a.TakeOver(t.Context(), time.Minute); err != nil || n != 0 {
			t.Errorf("took over %d of its own, %v", n, err)
		}
		if n, err := b.TakeOver(t.Context(), time.Minute); err != nil || n != 1 {
			t.Fatalf("took over %d, %v", n, err)
		}
		// The heartbeat comes late: the instance hears what is no longer its own.
		workers := []scanner.Worker{{Name: "default-0", Job: c.Job.ID}}
		stop, err := a.Renew(t.Context(), workers)
		if err != nil || !slices.Equal(stop, []int64{c.Job.ID}) {
			t.Errorf("stop %v, %v", stop, err)
		}
		next := claim(t, b, "default", "default-0")
		if next.Job.ID != c.Job.ID || next.Attempt.Instance != "b" {
			t.Errorf("%+v", next)
		}
		if _, _, err := a.Finish(t.Context(), success(c, inventory(1, 10))); !errors.Is(err, queue.ErrFenced) {
			t.Errorf("ends what was taken over: %v", err)
		}
		if job, _ := finish(t, b, success(next, inventory(1, 10))); job.Status != scanner.StatusSucceeded || job.Attempts != 2 {
			t.Errorf("%+v", job)
		}
	})
}

// The database's clock is set back: who is dead was heard of in the future, and is taken over all the same.
func TestTakeOverFromTheFuture(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		a, b := e.instance("a"), e.instance("b")
		submit(t, a, submission(1))
		submit(t, a, submission(2))
		claim(t, a, "default", "default-0")
		e.exec(`UPDATE instances SET seen = seen + 172800000000 WHERE name = 'a'`)
		all, _, err := b.Instances(t.Context(), time.Minute)
		if err != nil || len(all) != 2 || all[0].Alive || !all[1].Alive {
			t.Errorf("%+v, %v; want a dead and b alive", all, err)
		}
		if n, err := b.TakeOver(t.Context(), time.Minute); err != nil || n != 1 {
			t.Errorf("took over %d, %v; want 1", n, err)
		}
		claim(t, a, "default", "default-0")
		if n, err := b.TakeAll(t.Context()); err != nil || n != 1 {
			t.Errorf("took %d, %v; want 1", n, err)
		}
	})
}

func TestRenew(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		q := e.instance("a")
		var claims []*queue.Claim
		for n, name := range []string{"default-0", "default-1", "default-2"} {
			submit(t, q, submission(n))
			claims = append(claims, claim(t, q, "default", name))
		}
		workers := []scanner.Worker{
			{Name: "default-0", Instance: "a", Pool: "default", State: scanner.WorkerBusy, Job: claims[0].Job.ID, Memory: 5 << 20},
			{Name: "default-1", Instance: "a", Pool: "default", State: scanner.WorkerBusy, Job: claims[1].Job.ID},
		}
		renew := func(want ...int64) {
			t.Helper()
			stop, err := q.Renew(t.Context(), workers)
			if err != nil || !slices.Equal(stop, want) {
				t.Errorf("stop %v, want %v; %v", stop, want, err)
			}
		}
		outcomes := func() (all []scanner.Outcome) {
			for _, c := range claims {
				d, err := q.Details(t.Context(), c.Job.ID)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, d.History[0].Outcome)
			}
			return all
		}
		// The claim of default-2 is younger than the last heartbeat: its answer may be on its way.
		e.exec(`UPDATE instances SET seen = seen - 1000000`) // SQLite's clock has milliseconds
		renew()
		if got := outcomes(); !slices.Equal(got, []scanner.Outcome{"", "", ""}) {
			t.Errorf("outcomes %q", got)
		}
		if _, err := q.Cancel(t.Context(), claims[1].Job.ID, "x"); err != nil {
			t.Fatal(err)
		}
		e.exec(`UPDATE attempts SET started = started - 1000000`)
		renew(claims[1].Job.ID)
		if got := outcomes(); !slices.Equal(got, []scanner.Outcome{"", "", scanner.OutcomeLost}) {
			t.Errorf("outcomes %q", got)
		}
		if c := claim(t, q, "default", "default-3"); c.Job.ID != claims[2].Job.ID {
			t.Errorf("%+v", c)
		}
		_, seen, err := q.Instances(t.Context(), time.Minute)
		if err != nil || len(seen) != 2 || seen[0].Memory != 5<<20 || seen[0].Job != claims[0].Job.ID {
			t.Errorf("workers %+v, %v", seen, err)
		}
	})
}

// An instance can have more attempts than one transaction ends as lost.
func TestRenewWithManyWorkers(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		q := e.instance("a")
		var workers []scanner.Worker
		for n := range 150 {
			submit(t, q, submission(n))
			c := claim(t, q, "default", "w")
			workers = append(workers, scanner.Worker{Name: "w", Job: c.Job.ID})
		}
		for range 2 {
			if stop, err := q.Renew(t.Context(), workers); err != nil || len(stop) != 0 {
				t.Errorf("stop %v, %v", stop, err)
			}
		}
	})
}

func TestForgottenInstance(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		a, b := e.instance("a"), e.instance("b")
		submit(t, a, submission(1))
		claim(t, a, "default", "w")
		e.exec(`UPDATE instances SET seen = seen - 25 * 3600000000 WHERE name = 'a'`)
		prune := func(want int) {
			t.Helper()
			if _, _, err := b.Prune(t.Context(), time.Time{}); err != nil {
				t.Fatal(err)
			}
			all, _, err := b.Instances(t.Context(), time.Minute)
			if err != nil || len(all) != want {
				t.Errorf("%+v, %v", all, err)
			}
		}
		prune(2) // it has an attempt
		if _, err := b.TakeOver(t.Context(), time.Minute); err != nil {
			t.Fatal(err)
		}
		prune(1)
		if _, err := a.Renew(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		prune(2) // it was only stopped, and is back
	})
}
