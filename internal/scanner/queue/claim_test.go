package queue_test

import (
	"sync"
	"testing"
	"time"

	"stella/internal/scanner"
	"stella/internal/scanner/queue"
)

func TestClaimTakesTheOldestOfThePool(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		q := e.instance("a")
		putLarge(t, q)
		noClaim(t, q, "default")
		var ids []int64
		for n := range 3 {
			ids = append(ids, submit(t, q, submission(n)).ID)
		}
		s := submission(9)
		s.Pool = "large"
		large := submit(t, q, s)
		for _, id := range ids {
			c := claim(t, q, "default", "default-1")
			if c.Job.ID != id || c.Job.Status != scanner.StatusRunning || c.Job.Attempts != 1 || c.Job.Started.IsZero() || c.Failures != 0 {
				t.Errorf("%+v, want job %d", c, id)
			}
			a := c.Attempt
			if a.Job != id || a.Number != 1 || a.Pool != "default" || a.Worker != "default-1" || a.Instance != "a" || a.Limit != 64<<20 || a.Started.IsZero() || a.Outcome != "" {
				t.Errorf("%+v", a)
			}
		}
		noClaim(t, q, "default")
		if c := claim(t, q, "large", "large-0"); c.Job.ID != large.ID {
			t.Errorf("%+v", c)
		}
	})
}

// What failed for a reason that may pass waits, and then comes before what has not waited.
func TestClaimWaitsForTheDelay(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		q := e.instance("a")
		if at, err := q.NextDue(t.Context(), "default"); err != nil || !at.IsZero() {
			t.Errorf("due %v, %v", at, err)
		}
		first := submit(t, q, submission(1))
		job, incident := finish(t, q, failure(claim(t, q, "default", "w"), scanner.OutcomeError, "no answer"))
		if job.Status != scanner.StatusPending || job.NotBefore.Sub(job.Submitted) < 2*time.Second || incident != nil {
			t.Errorf("%+v, %+v", job, incident)
		}
		at, err := q.NextDue(t.Context(), "default")
		if wait := time.Until(at); err != nil || wait > 2*time.Second || wait < -time.Minute {
			t.Errorf("due in %v, %v", wait, err)
		}
		e.exec(`UPDATE jobs SET due = due + 3600000000`) // also on a machine that was stopped just now
		noClaim(t, q, "default")
		second := submit(t, q, submission(2))
		e.exec(`UPDATE jobs SET due = due - 7200000000 WHERE due > 0`)
		c := claim(t, q, "default", "w")
		if c.Job.ID != first.ID || c.Failures != 1 || c.Attempt.Number != 2 || !c.Job.NotBefore.IsZero() {
			t.Errorf("%+v", c)
		}
		if c := claim(t, q, "default", "w"); c.Job.ID != second.ID {
			t.Errorf("%+v", c)
		}
	})
}

// The clock is set back by an hour while a job waits for some seconds.
func TestClockIsSetBack(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		q := e.instance("a")
		delayed := submit(t, q, submission(1))
		finish(t, q, failure(claim(t, q, "default", "w"), scanner.OutcomeError, "no answer"))
		submit(t, q, submission(2))
		e.exec(`UPDATE jobs SET queued = queued + 3600000000, submitted = submitted + 3600000000`)
		e.exec(`UPDATE jobs SET due = due + 3600000000 WHERE due > 0`)
		if c := claim(t, q, "default", "w"); c.Job.ID == delayed.ID {
			t.Fatal("did not wait")
		}
		noClaim(t, q, "default")
		if _, err := q.Renew(t.Context(), []scanner.Worker{{Name: "w", Job: 2}}); err != nil {
			t.Fatal(err)
		}
		if c := claim(t, q, "default", "w"); c.Job.ID != delayed.ID {
			t.Errorf("%+v", c)
		}
	})
}

func TestNoJobIsClaimedTwice(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		instances := []*queue.Queue{e.instance("a"), e.instance("b")}
		const jobs = 100
		for n := range jobs {
			submit(t, instances[0], submission(n))
		}
		var mu sync.Mutex
		by := map[int64]int{}
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for {
					c, err := instances[i%2].Claim(t.Context(), "default", "w", 1)
					if err != nil {
						t.Error(err)
					}
					if c == nil {
						return
					}
					mu.Lock()
					by[c.Job.ID]++
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if len(by) != jobs {
			t.Errorf("%d jobs were claimed, want %d", len(by), jobs)
		}
		for id, n := range by {
			if n != 1 {
				t.Errorf("job %d was claimed %d times", id, n)
			}
		}
		// And nobody skipped one that another had locked for a moment.
		noClaim(t, instances[0], "default")
	})
}
