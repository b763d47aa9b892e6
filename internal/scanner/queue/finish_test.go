package queue_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stella/internal/scanner"
	"stella/internal/scanner/queue"
)

func TestFinishKeepsTheResult(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		q := e.instance("a")
		// Not a multiple of a chunk, exactly one, less than one.
		for n, size := range []int{600_001, 256 << 10, 1} {
			id := submit(t, q, submission(n)).ID
			content := inventory(n, size)
			ended := success(claim(t, q, "default", "w"), content)
			job, incident := finish(t, q, ended)
			if job.Status != scanner.StatusSucceeded || job.Ended.IsZero() || incident != nil {
				t.Errorf("%+v, %+v", job, incident)
			}
			if diff := cmp.Diff(ended.Result, job.Result); diff != "" {
				t.Error(diff)
			}
			var got bytes.Buffer
			if err := q.Inventory(t.Context(), id, &got); err != nil || !bytes.Equal(got.Bytes(), content) {
				t.Errorf("inventory of %d bytes, want %d: %v", got.Len(), size, err)
			}
			subject, err := q.Subject(t.Context(), id)
			if err != nil || string(subject) != `{"name":"x"}` {
				t.Errorf("subject %q, %v", subject, err)
			}
			d, err := q.Details(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			if len(d.History) != 1 || d.History[0].Outcome != scanner.OutcomeSucceeded {
				t.Fatalf("%+v", d.History)
			}
			if diff := cmp.Diff(ended.End, d.History[0].End); diff != "" {
				t.Error(diff)
			}
			var kinds []scanner.EventKind
			for _, event := range d.Events {
				kinds = append(kinds, event.Kind)
			}
			if diff := cmp.Diff([]scanner.EventKind{"submitted", "started", "ended"}, kinds); diff != "" {
				t.Error(diff)
			}
		}
	})
}

func TestEqualInventoriesAreKeptOnce(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		q := e.instance("a")
		for n := range 3 {
			submit(t, q, submission(n))
			finish(t, q, success(claim(t, q, "default", "w"), inventory(7, 300_000)))
		}
		if blobs, chunks := e.number(`SELECT count(*) FROM blobs`), e.number(`SELECT count(*) FROM chunks`); blobs != 1 || chunks != 2 {
			t.Errorf("%d blobs with %d chunks", blobs, chunks)
		}
	})
}

func TestResultOfAJobWithoutOne(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		q := e.instance("a")
		id := submit(t, q, submission(1)).ID
		for id, want := range map[int64]error{id: scanner.ErrConflict, 99: scanner.ErrNotFound} {
			if err := q.Inventory(t.Context(), id, new(bytes.Buffer)); !errors.Is(err, want) {
				t.Errorf("inventory of job %d: %v", id, err)
			}
			if _, err := q.Subject(t.Context(), id); !errors.Is(err, want) {
				t.Errorf("subject of job %d: %v", id, err)
			}
		}
	})
}

// A worker that lies, or a file that was cut, must not become a result.
func TestFinishChecksTheInventory(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		q := e.instance("a")
		submit(t, q, submission(1))
		c := claim(t, q, "default", "w")
		for what, damage := range map[string]func(*queue.Ended){
			"other bytes":   func(x *queue.Ended) { x.Inventory = bytes.NewReader(inventory(2, 300_000)) },
			"cut":           func(x *queue.Ended) { x.Inventory = bytes.NewReader(inventory(1, 299_999)) },
			"size":          func(x *queue.Ended) { x.Result.Size++ },
			"empty":         func(x *queue.Ended) { x.Result.Size = 0 },
			"no inventory":  func(x *queue.Ended) { x.Inventory = nil },
			"no result":     func(x *queue.Ended) { x.Result = nil },
			"outcome":       func(x *queue.Ended) { x.Outcome = scanner.OutcomeError },
			"no outcome":    func(x *queue.Ended) { x.Outcome = "" },
			"large subject": func(x *queue.Ended) { x.Subject = make([]byte, queue.MaxSubject+1) },
			"status":        func(x *queue.Ended) { x.Decision.Status = scanner.StatusRunning; x.Outcome = scanner.OutcomeError },
		} {
			ended := success(c, inventory(1, 300_000))
			damage(&ended)
			if _, _, err := q.Finish(t.Context(), ended); err == nil || errors.Is(err, queue.ErrFenced) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if n := e.number(`SELECT count(*) FROM blobs`); n != 0 {
			t.Errorf("%d inventories were kept", n)
		}
		// The attempt goes on, and can still end.
		finish(t, q, success(c, inventory(1, 300_000)))
	})
}

func TestAnAttemptEndsOnce(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		a, b := e.instance("a"), e.instance("b")
		submit(t, a, submission(1))
		c := claim(t, a, "default", "w")
		fenced := func(q *queue.Queue, x queue.Ended) {
			t.Helper()
			if _, _, err := q.Finish(t.Context(), x); !errors.Is(err, queue.ErrFenced) || !errors.Is(err, scanner.ErrConflict) {
				t.Errorf("got %v, want ErrFenced", err)
			}
		}
		fenced(b, success(c, inventory(1, 10))) // not its attempt
		next := success(c, inventory(1, 10))
		next.Number++
		fenced(a, next) // there is no such attempt
		other := success(c, inventory(1, 10))
		other.Job++
		fenced(a, other)
		finish(t, a, failure(c, scanner.OutcomeKilled, "signal"))
		fenced(a, success(c, inventory(1, 10)))
		claim(t, a, "default", "w")
		fenced(a, success(c, inventory(1, 10))) // the next attempt runs
	})
}

func TestIncident(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		q := e.instance("a")
		putLarge(t, q)
		id := submit(t, q, submission(1)).ID
		ended := failure(claim(t, q, "default", "default-3"), scanner.OutcomeOOM, "killed")
		_, incident := finish(t, q, ended)
		want := &scanner.WorkerKill{
			ID: fmt.Sprintf("job-%d", id), At: incident.At, Job: id, Number: 1, Image: "example.test/image:1", Digest: digest(1), Pool: "default", Worker: "default-3",
			Limit: 64 << 20, End: ended.End, Action: "re-routed to pool large (1Gi)",
		}
		if diff := cmp.Diff(want, incident); diff != "" || incident.At.IsZero() {
			t.Error(diff)
		}
		d, err := q.Details(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]scanner.WorkerKill{*want}, d.Incidents); diff != "" {
			t.Error(diff)
		}
		var kinds []scanner.EventKind
		for _, event := range d.Events {
			kinds = append(kinds, event.Kind)
		}
		if diff := cmp.Diff([]scanner.EventKind{"submitted", "started", "oom", "requeued"}, kinds); diff != "" {
			t.Error(diff)
		}
		if text := d.Events[2].Message; !strings.Contains(text, "usr/lib/big.jar of layer 1") {
			t.Errorf("event says %q", text)
		}
	})
}

func TestCancel(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		q := e.instance("a")
		pending := submit(t, q, submission(1))
		job, err := q.Cancel(t.Context(), pending.ID, "uid 0")
		if err != nil || job.Status != scanner.StatusCancelled || job.Message != "cancelled by uid 0" || job.Ended.IsZero() {
			t.Errorf("pending: %+v, %v", job, err)
		}
		noClaim(t, q, "default")
		if _, err := q.Cancel(t.Context(), pending.ID, "uid 0"); !errors.Is(err, scanner.ErrConflict) {
			t.Errorf("ended: %v", err)
		}
		if _, err := q.Cancel(t.Context(), 99, "uid 0"); !errors.Is(err, scanner.ErrNotFound) {
			t.Errorf("no job: %v", err)
		}
	})
}

// Whatever the attempt comes to, a job that was cancelled while it ran is cancelled.
func TestCancelWhileRunning(t *testing.T) {
	for name, how := range map[string]func(*queue.Claim) queue.Ended{
		"succeeded": func(c *queue.Claim) queue.Ended { return success(c, inventory(1, 10)) },
		"cancelled": func(c *queue.Claim) queue.Ended { return failure(c, scanner.OutcomeCancelled, "") },
		"oom":       func(c *queue.Claim) queue.Ended { return failure(c, scanner.OutcomeOOM, "killed") },
		"error":     func(c *queue.Claim) queue.Ended { return failure(c, scanner.OutcomeError, "no") },
	} {
		t.Run(name, func(t *testing.T) {
			onEach(t, func(t *testing.T, e *env) {
				q := e.instance("a")
				id := submit(t, q, submission(1)).ID
				c := claim(t, q, "default", "w")
				for range 2 { // asked twice
					job, err := q.Cancel(t.Context(), id, "uid 7")
					if err != nil || job.Status != scanner.StatusRunning {
						t.Fatalf("%+v, %v", job, err)
					}
				}
				if job := submit(t, q, submission(1)); job.ID == id {
					t.Error("a new request shares a job that will be cancelled")
				}
				job, incident := finish(t, q, how(c))
				if job.Status != scanner.StatusCancelled || job.Result != nil || job.Message != "cancelled by uid 7" {
					t.Errorf("%+v", job)
				}
				if (incident != nil) != (name == "oom") || incident != nil && incident.Action != "none: the job was cancelled" {
					t.Errorf("%+v", incident)
				}
				if n := e.number(`SELECT count(*) FROM results`); n != 0 {
					t.Errorf("%d results", n)
				}
			})
		})
	}
}

// A worker that was restarted at once reports its attempt as cancelled; its job was not.
func TestOnlyCancelCancels(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		q := e.instance("a")
		submit(t, q, submission(1))
		job, _ := finish(t, q, failure(claim(t, q, "default", "w"), scanner.OutcomeCancelled, "workers restarted"))
		if job.Status != scanner.StatusPending {
			t.Errorf("%+v", job)
		}
		if c := claim(t, q, "default", "w"); c.Failures != 0 {
			t.Errorf("%+v", c)
		}
	})
}

// One of Finish, Cancel, Recover and TakeOver is first; the job ends or waits, once.
func TestRaceOfEnds(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		a, b := e.instance("a"), e.instance("b")
		for n := range 20 {
			id := submit(t, a, submission(n)).ID
			c := claim(t, a, "default", "w")
			var wg sync.WaitGroup
			var finished error
			wg.Go(func() { _, _, finished = a.Finish(t.Context(), success(c, inventory(n, 1000))) })
			wg.Go(func() {
				if _, err := b.TakeOver(t.Context(), 0); err != nil {
					t.Error(err)
				}
			})
			wg.Go(func() {
				if _, err := b.Cancel(t.Context(), id, "x"); err != nil && !errors.Is(err, scanner.ErrConflict) {
					t.Error(err)
				}
			})
			wg.Wait()
			if finished != nil && !errors.Is(finished, queue.ErrFenced) {
				t.Error(finished)
			}
			job, err := a.Job(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			// Cancel was too early for nothing: the job is succeeded, or cancelled.
			if !job.Status.Final() || job.Attempts != 1 || (job.Result != nil) != (job.Status == scanner.StatusSucceeded) {
				t.Errorf("%+v after Finish said %v", job, finished)
			}
			if n := e.number(`SELECT count(*) FROM events WHERE kind = 'ended' AND job = $1`, id); n != 1 {
				t.Errorf("job %d ended %d times", id, n)
			}
		}
	})
}

// Text from images may have anything in it.
func TestHostileText(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		q := e.instance("a")
		id := submit(t, q, submission(1)).ID
		ended := failure(claim(t, q, "default", "w"), scanner.OutcomeOOM, "a\x00b\xff\u2028"+strings.Repeat("ü", 1<<20))
		ended.End.Progress.Path = "x\x00\xff" + strings.Repeat("p", 1<<20)
		finish(t, q, ended)
		d, err := q.Details(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		a := d.History[0]
		if !strings.HasPrefix(a.Message, "a\uFFFDb\uFFFD\u2028ü") || len(a.Message) > 8<<10 || !strings.HasSuffix(a.Message, "ü … (cut)") {
			t.Errorf("message of %d bytes: %.20q", len(a.Message), a.Message)
		}
		if len(a.Progress.Path) > 8<<10 || !strings.HasPrefix(a.Progress.Path, "x\uFFFD\uFFFDp") {
			t.Errorf("path of %d bytes: %.20q", len(a.Progress.Path), a.Progress.Path)
		}
		if _, err := q.Jobs(t.Context(), scanner.JobFilter{Image: "\x00%_\xff", Limit: 1}); err != nil {
			t.Error(err)
		}
	})
}
