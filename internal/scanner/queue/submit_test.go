package queue_test

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"stella/internal/scanner"
	"stella/internal/scanner/queue"
)

func TestSubmit(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		q := e.instance("a")
		s := submission(1)
		s.Platform, s.Timeout, s.Attach = "linux/arm64", 90e9, true
		job, created, err := q.Submit(t.Context(), s, plan())
		if err != nil || !created {
			t.Fatalf("created %v, %v", created, err)
		}
		if job.ID == 0 || job.Status != scanner.StatusPending || job.Image != s.Image || job.Target != s.Target || job.Platform != s.Platform ||
			job.Timeout != s.Timeout || !job.Attach || job.Pool != "default" || job.Requests != 1 || job.Attempts != 0 || job.Submitted.IsZero() ||
			!job.Started.IsZero() || !job.Ended.IsZero() || !job.NotBefore.IsZero() || job.Result != nil {
			t.Errorf("%+v", job)
		}
		got, err := q.Job(t.Context(), job.ID)
		if err != nil || got != job {
			t.Errorf("reads %+v, %v", got, err)
		}
		if _, err := q.Job(t.Context(), 99); !errors.Is(err, scanner.ErrNotFound) {
			t.Errorf("job 99: %v", err)
		}
	})
}

func TestRequestsShareAJob(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		q := e.instance("a")
		first := submit(t, q, submission(1))
		again := submission(1)
		again.Image, again.Pool, again.Timeout = "other.test/name@sha256", "large", 5e9
		if job := submit(t, q, again); job.ID != first.ID || job.Requests != 2 || job.Image != first.Image || job.Pool != "default" {
			t.Errorf("%+v does not share %d", job, first.ID)
		}
		c := claim(t, q, "default", "default-0")
		if job := submit(t, q, submission(1)); job.ID != first.ID || job.Requests != 3 || job.Status != scanner.StatusRunning {
			t.Errorf("%+v does not share the running %d", job, first.ID)
		}
		finish(t, q, success(c, inventory(1, 10)))
		ended := submit(t, q, submission(1))
		if ended.ID == first.ID {
			t.Error("shares a job that has ended")
		}
		for what, change := range map[string]func(*queue.Submission){
			"platform": func(s *queue.Submission) { s.Platform = "linux/386" },
			"attach":   func(s *queue.Submission) { s.Attach = true },
			"digest":   func(s *queue.Submission) { s.Digest = digest(2) },
		} {
			s := submission(1)
			change(&s)
			if job := submit(t, q, s); job.ID == ended.ID {
				t.Errorf("shares a job of another %s", what)
			}
		}
	})
}

// A reference without digest may lead to something else the next time.
func TestImagesWithoutDigestAreNeverShared(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		q := e.instance("a")
		s := submission(1)
		s.Digest, s.Size = "", -1
		first := submit(t, q, s)
		if second := submit(t, q, s); second.ID == first.ID || second.Requests != 1 {
			t.Errorf("%+v shares %d", second, first.ID)
		}
		s.Retry = true
		if _, _, err := q.Submit(t.Context(), s, plan()); !errors.Is(err, scanner.ErrNotFound) {
			t.Errorf("retry of what has not failed: %v", err)
		}
	})
}

func TestOneOfManyRequestsAtOnceIsNew(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		instances := []*queue.Queue{e.instance("a"), e.instance("b")}
		const requests = 40
		var created, total int
		var mu sync.Mutex
		var wg sync.WaitGroup
		for i := range requests {
			wg.Go(func() {
				job, isNew, err := instances[i%2].Submit(t.Context(), submission(1), plan())
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Error(err)
				}
				if isNew {
					created++
				}
				total = max(total, job.Requests)
			})
		}
		wg.Wait()
		if created != 1 || total != requests {
			t.Errorf("%d are new, and the job has %d requests", created, total)
		}
	})
}

func TestSubmitRefuses(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		q := e.instance("a")
		for _, image := range []string{"", "a\x00b", "a\xffb", "a\nb", strings.Repeat("a", 4097)} {
			s := submission(1)
			s.Image = image
			if _, _, err := q.Submit(t.Context(), s, plan()); !errors.Is(err, scanner.ErrInvalid) {
				t.Errorf("%.10q: %v", image, err)
			}
			s = submission(1)
			s.Platform = image
			if _, _, err := q.Submit(t.Context(), s, plan()); !errors.Is(err, scanner.ErrInvalid) && image != "" {
				t.Errorf("platform %.10q: %v", image, err)
			}
		}
	})
}

// The pool was there when the routing chose it.
func TestSubmitToAPoolThatIsGone(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		q := e.instance("a")
		s := submission(1)
		s.Pool = "large"
		if job := submit(t, q, s); job.Pool != "default" {
			t.Errorf("waits for pool %s", job.Pool)
		}
	})
}

// oomInLargest fails the image's job for want of memory in both pools.
func oomInLargest(t *testing.T, q *queue.Queue) scanner.Job {
	t.Helper()
	job, incident := finish(t, q, failure(claim(t, q, "default", "default-0"), scanner.OutcomeOOM, "killed"))
	if job.Status != scanner.StatusPending || job.Pool != "large" || incident == nil || incident.Action != "re-routed to pool large (1Gi)" {
		t.Fatalf("after the first kill: %+v, %+v", job, incident)
	}
	job, incident = finish(t, q, failure(claim(t, q, "large", "large-0"), scanner.OutcomeOOM, "killed again"))
	if job.Status != scanner.StatusFailed || job.Reason != "oom" || job.Message != "killed again" || incident == nil {
		t.Fatalf("after the second kill: %+v, %+v", job, incident)
	}
	return job
}

func putLarge(t *testing.T, q *queue.Queue) {
	t.Helper()
	if _, err := q.PutPool(t.Context(), scanner.Pool{Name: "large", Memory: 1 << 30, Count: 1}); err != nil {
		t.Fatal(err)
	}
}

func TestQuarantine(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		q := e.instance("a")
		putLarge(t, q)
		submit(t, q, submission(1))
		failed := oomInLargest(t, q)

		blocked, created, err := q.Submit(t.Context(), submission(1), plan())
		if err != nil || !created || blocked.ID == failed.ID {
			t.Fatalf("%+v, new %v, %v", blocked, created, err)
		}
		if blocked.Status != scanner.StatusFailed || blocked.Reason != "quarantined" || !strings.Contains(blocked.Message, "1.0 GiB") || blocked.Ended.IsZero() {
			t.Errorf("%+v", blocked)
		}
		noClaim(t, q, "default")
		noClaim(t, q, "large")
		d, err := q.Details(t.Context(), blocked.ID)
		if err != nil || len(d.Events) != 2 || d.Events[1].Kind != scanner.EventEnded || d.Events[1].Status != scanner.StatusFailed {
			t.Errorf("events %+v, %v", d.Events, err)
		}
		if d.Quarantine == nil || d.Quarantine.Digest != digest(1) || d.Quarantine.Limit != 1<<30 || d.Quarantine.Mode != scanner.ModeStreaming || d.Quarantine.Incident != "job-1" || d.Quarantine.At.IsZero() {
			t.Errorf("quarantine %+v", d.Quarantine)
		}

		larger := plan()
		larger.Pools = append(larger.Pools, scanner.Pool{Name: "huge", Memory: 4 << 30, Count: 1})
		job, _, err := q.Submit(t.Context(), submission(1), larger)
		if err != nil || job.Status != scanner.StatusPending {
			t.Fatalf("with a larger pool: %+v, %v", job, err)
		}
		finish(t, q, success(claim(t, q, "default", "default-0"), inventory(1, 10)))
		if job := submit(t, q, submission(1)); job.Status != scanner.StatusPending {
			t.Errorf("after it has succeeded: %+v", job)
		}
	})
}

func TestRetryTakesOutOfQuarantine(t *testing.T) {
	for name, ask := range map[string]func(*queue.Queue, scanner.Job) (scanner.Job, error){
		"by job": func(q *queue.Queue, j scanner.Job) (scanner.Job, error) {
			return q.Retry(t.Context(), j.ID, "large", "uid 0")
		},
		"by image": func(q *queue.Queue, _ scanner.Job) (scanner.Job, error) {
			s := submission(1)
			s.Retry, s.Pool = true, "large"
			job, created, err := q.Submit(t.Context(), s, plan())
			if created {
				t.Error("a job is new")
			}
			return job, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			onEach(t, func(t *testing.T, e *env) {
				q := e.instance("a")
				putLarge(t, q)
				submit(t, q, submission(1))
				failed := oomInLargest(t, q)
				job, err := ask(q, failed)
				if err != nil {
					t.Fatal(err)
				}
				if job.ID != failed.ID || job.Status != scanner.StatusPending || job.Pool != "large" || job.Attempts != 2 ||
					job.Reason != "" || job.Message != "" || !job.Ended.IsZero() || job.Requests != 2 {
					t.Errorf("%+v", job)
				}
				d, err := q.Details(t.Context(), job.ID)
				if err != nil || d.Quarantine != nil || d.Events[len(d.Events)-1].Kind != scanner.EventRequeued {
					t.Errorf("%+v, %v", d, err)
				}
				for _, event := range d.Events {
					if event.Kind == scanner.EventEnded {
						t.Error("a client that follows the job would stop at the end before the retry")
					}
				}
				// Failures before the retry do not count, and numbers go on.
				if c := claim(t, q, "large", "large-0"); c.Failures != 0 || c.Attempt.Number != 3 {
					t.Errorf("%d failures, attempt %d", c.Failures, c.Attempt.Number)
				}
			})
		})
	}
}

func TestRetryOf(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		q := e.instance("a")
		if _, err := q.Retry(t.Context(), 1, "default", "x"); !errors.Is(err, scanner.ErrNotFound) {
			t.Errorf("no job: %v", err)
		}
		retry := submission(1)
		retry.Retry = true
		if _, _, err := q.Submit(t.Context(), retry, plan()); !errors.Is(err, scanner.ErrNotFound) {
			t.Errorf("no job of the image: %v", err)
		}
		job := submit(t, q, submission(1))
		if _, err := q.Retry(t.Context(), job.ID, "default", "x"); !errors.Is(err, scanner.ErrConflict) {
			t.Errorf("pending: %v", err)
		}
		if shared := submit(t, q, retry); shared.ID != job.ID || shared.Requests != 2 {
			t.Errorf("pending: %+v", shared)
		}
		finish(t, q, success(claim(t, q, "default", "w"), inventory(1, 10)))
		if _, err := q.Retry(t.Context(), job.ID, "default", "x"); !errors.Is(err, scanner.ErrConflict) {
			t.Errorf("succeeded: %v", err)
		}
		if _, _, err := q.Submit(t.Context(), retry, plan()); !errors.Is(err, scanner.ErrNotFound) {
			t.Errorf("none has failed: %v", err)
		}
		// Of several that failed, the newest.
		for range 2 {
			job = submit(t, q, submission(1))
			if _, err := q.Cancel(t.Context(), job.ID, "x"); err != nil {
				t.Fatal(err)
			}
		}
		if again := submit(t, q, retry); again.ID != job.ID || again.Status != scanner.StatusPending {
			t.Errorf("%+v is not job %d", again, job.ID)
		}
		if _, err := q.Retry(t.Context(), job.ID-1, "default", "x"); !errors.Is(err, scanner.ErrConflict) {
			t.Errorf("another job scans the image: %v", err)
		}
	})
}
