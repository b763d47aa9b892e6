package service_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"stella/internal/scanner"
	"stella/internal/testkit"
)

const large = 512 * mib

// outcomes are those of a job's attempts.
func outcomes(d scanner.JobDetails) (all []scanner.Outcome) {
	for _, a := range d.History {
		all = append(all, a.Outcome)
	}
	return all
}

// A worker that is killed for want of memory costs one try in a larger pool.
func TestKillIsReRouted(t *testing.T) {
	testkit.Need(t, testkit.MemoryCgroup)
	r := newRig(t, 2<<30)
	r.set("sbom.streaming_threshold", "1Gi")
	if _, err := r.PutPool(t.Context(), caller, scanner.Pool{Name: "large", Memory: large, Count: 1}); err != nil {
		t.Fatal(err)
	}
	job := r.wait(r.submit(scanner.Request{Image: image(t, "big", 128*mib, 1)}).ID)
	if d := cmp.Diff([]scanner.Outcome{scanner.OutcomeOOM, scanner.OutcomeSucceeded}, outcomes(job)); d != "" || job.Status != scanner.StatusSucceeded {
		t.Fatalf("%s: %s\n%s", job.Status, job.Message, d)
	}
	first, second := job.History[0], job.History[1]
	if first.Pool != "default" || second.Pool != "large" || second.Limit != large {
		t.Errorf("tried in %s, then in %s with %d bytes", first.Pool, second.Pool, second.Limit)
	}
	if first.ExitCode == nil || *first.ExitCode != 137 || first.Kills != 1 || first.Peak < 60*mib || first.Progress.Path != "opt/app.jar" || first.Progress.Layer != 0 {
		t.Errorf("the evidence is %+v; want exit code 137, one kill, a peak near the limit, and the file", first.End)
	}
	if again := second.Started.Sub(first.Ended); again > time.Second {
		t.Errorf("tried again after %v; want less than a second", again)
	}
	if len(job.Incidents) != 1 || job.Incidents[0].Action != "re-routed to pool large (512Mi)" || job.Incidents[0].Limit != 64*mib {
		t.Errorf("incidents %+v; want one, re-routed", job.Incidents)
	}
}

// An image that kills the largest pool is not tried for ever, and each way out works.
func TestQuarantine(t *testing.T) {
	testkit.Need(t, testkit.MemoryCgroup)
	r := newRig(t, 2<<30)
	r.set("sbom.streaming_threshold", "1Gi", "worker.count", "1")
	big := scanner.Request{Image: image(t, "big", 128*mib, 1)}
	job := r.wait(r.submit(big).ID)
	if job.Status != scanner.StatusFailed || job.Reason != "oom" || job.Attempts != 1 || job.Quarantine == nil {
		t.Fatalf("%+v; want failed for oom after one attempt, in quarantine", job)
	}
	blocked := r.wait(r.submit(big).ID)
	if blocked.ID == job.ID || blocked.Status != scanner.StatusFailed || blocked.Reason != "quarantined" || blocked.Attempts != 0 || !strings.Contains(blocked.Message, "worker.memory_limit") {
		t.Errorf("%+v; want another job that failed without an attempt", blocked.Job)
	}
	again := big
	again.Retry = true
	if job = r.wait(r.submit(again).ID); job.Reason != "oom" || job.Attempts == 0 {
		t.Errorf("a retry is %+v; want that it was tried", job.Job)
	}

	r.set("sbom.streaming_threshold", "0")
	if job = r.wait(r.submit(big).ID); job.Status != scanner.StatusSucceeded {
		t.Errorf("streamed: %+v; want success", job.Job)
	}
	r.set("sbom.streaming_threshold", "1Gi", "worker.memory_limit", "512Mi")
	if _, err := r.RestartWorkers(t.Context(), caller, scanner.RestartRequest{}); err != nil {
		t.Fatal(err)
	}
	r.until("the worker has the new limit", func(ws []scanner.Worker) bool { return ws[0].Limit == large && idle(ws) == 1 })
	if job = r.wait(r.submit(big).ID); job.Status != scanner.StatusSucceeded {
		t.Errorf("with more memory: %+v; want success", job.Job)
	}
}

// Workers that do not fit into the memory wait, and their jobs with them.
func TestAdmission(t *testing.T) {
	r := newRig(t, 100*mib)
	r.set("worker.count", "2")
	workers := r.until("one worker is idle", func(ws []scanner.Worker) bool { return idle(ws) == 1 })
	if len(workers) != 2 || workers[1].State != scanner.WorkerWaiting {
		t.Fatalf("%+v; want the second worker to wait", workers)
	}
	var ids []int64
	for _, name := range []string{"a", "b", "c"} {
		ids = append(ids, r.submit(scanner.Request{Image: image(t, name, 0, 1)}).ID)
	}
	for _, id := range ids {
		if d := r.wait(id); d.Status != scanner.StatusSucceeded || d.History[0].Worker != "default-0" {
			t.Errorf("%+v; want success in the only worker", d)
		}
	}
	status, err := r.Status(t.Context())
	if err != nil || status.Reserved != 64*mib || status.Memory != 100*mib {
		t.Errorf("%d of %d reserved (%v)", status.Reserved, status.Memory, err)
	}
	for _, p := range []scanner.Pool{{Name: "huge", Memory: 101 * mib, Count: 1}, {Name: "tiny", Memory: 16 * mib, Count: 1}} {
		if _, err := r.PutPool(t.Context(), caller, p); !errors.Is(err, scanner.ErrInvalid) {
			t.Errorf("pool %s: %v; want it refused", p.Name, err)
		}
	}
	if _, err := r.Set(t.Context(), caller, "worker.memory_limit", "1Gi"); !errors.Is(err, scanner.ErrInvalid) {
		t.Errorf("a limit above the machine's memory: %v; want it refused", err)
	}
}

// Idle workers make room for a pool that has a job, and only then.
func TestRoomIsMade(t *testing.T) {
	r := newRig(t, 600*mib)
	r.set("worker.count", "2")
	r.until("both are idle", func(ws []scanner.Worker) bool { return idle(ws) == 2 })
	change, err := r.PutPool(t.Context(), caller, scanner.Pool{Name: "large", Memory: 520 * mib, Count: 1})
	if err != nil || len(change.Warnings) != 1 {
		t.Fatalf("%+v, %v; want a warning", change, err)
	}
	if d := r.wait(r.submit(scanner.Request{Image: image(t, "a", 0, 1)}).ID); d.History[0].Pool != "default" {
		t.Errorf("%+v; want it in default", d.History)
	}
	for _, w := range r.until("all are seen", func(ws []scanner.Worker) bool { return len(ws) == 3 }) {
		if w.Pool == "default" && w.Restarts[scanner.RestartRequested] > 0 {
			t.Errorf("%s was ended for a pool without jobs: %+v", w.Name, w)
		}
	}
	if d := r.wait(r.submit(scanner.Request{Image: image(t, "b", 0, 1), Pool: "large"}).ID); d.Status != scanner.StatusSucceeded || d.History[0].Pool != "large" {
		t.Errorf("%+v; want success in large", d)
	}
	if d := r.wait(r.submit(scanner.Request{Image: image(t, "c", 0, 1)}).ID); d.Status != scanner.StatusSucceeded {
		t.Errorf("%+v; want that default gets its memory back", d)
	}
}

// stalled begins a job that waits for its layers.
func stalled(t *testing.T) (*rig, *stalling, scanner.Job) {
	t.Helper()
	s := newStalling(t, image(t, "app", 0, 1))
	r := &rig{T: t, dir: t.TempDir(), memory: 1 << 30}
	r.policy.PlainHTTP = []string{s.host}
	r.start()
	r.set("worker.count", "1")
	job := r.submit(scanner.Request{Image: s.ref})
	<-s.asked
	return r, s, job
}

func TestCancel(t *testing.T) {
	r, _, job := stalled(t)
	if _, err := r.Cancel(t.Context(), caller, job.ID); err != nil {
		t.Fatal(err)
	}
	d := r.wait(job.ID)
	if d.Status != scanner.StatusCancelled || d.History[0].Outcome != scanner.OutcomeCancelled {
		t.Errorf("%s, %v; want cancelled", d.Status, outcomes(d))
	}
	if _, err := r.Cancel(t.Context(), caller, job.ID); !errors.Is(err, scanner.ErrConflict) {
		t.Errorf("cancelled again: %v; want a conflict", err)
	}
	r.until("the worker is back", func(ws []scanner.Worker) bool {
		return idle(ws) == 1 && ws[0].LastExit != nil && ws[0].LastExit.Reason == scanner.RestartCancelled
	})
}

func TestTimeout(t *testing.T) {
	s := newStalling(t, image(t, "app", 0, 1))
	r := &rig{T: t, dir: t.TempDir(), memory: 1 << 30}
	r.policy.PlainHTTP = []string{s.host}
	r.start()
	r.set("timeouts.scan", "1s")
	d := r.wait(r.submit(scanner.Request{Image: s.ref}).ID)
	if d.Status != scanner.StatusTimeout || !slices.Equal(outcomes(d), []scanner.Outcome{scanner.OutcomeTimeout}) {
		t.Errorf("%s, %v; want a timeout", d.Status, outcomes(d))
	}
	if took := d.History[0].Ended.Sub(d.History[0].Started); took < time.Second || took > 10*time.Second {
		t.Errorf("it took %v; want a little more than a second", took)
	}
}

// Two who ask for the same digest share a job, and a tag that is moved meanwhile is another.
func TestShared(t *testing.T) {
	r, s, job := stalled(t)
	other := r.submit(scanner.Request{Image: s.ref})
	if other.ID != job.ID || other.Requests != 2 {
		t.Errorf("%+v; want job %d shared by two", other, job.ID)
	}
	s.open()
	if d := r.wait(job.ID); d.Status != scanner.StatusSucceeded {
		t.Errorf("%+v", d)
	}
	if later := r.submit(scanner.Request{Image: s.ref}); later.ID == job.ID {
		t.Error("a job that has ended is shared")
	}
}

// Restarting workers waits for their attempts, or queues them again; nothing is lost.
func TestRestartWorkers(t *testing.T) {
	for _, now := range []bool{false, true} {
		r, s, job := stalled(t)
		r.set("worker.memory_limit", "128Mi")
		change, err := r.RestartWorkers(t.Context(), caller, scanner.RestartRequest{Now: now})
		if err != nil || len(change) != 1 || !slices.Equal(change[0].Draining, []string{"default-0"}) {
			t.Fatalf("%+v, %v; want one that restarts after its attempt", change, err)
		}
		if now {
			<-s.asked // by the next attempt
		}
		s.open()
		want := map[bool][]scanner.Outcome{false: {scanner.OutcomeSucceeded}, true: {scanner.OutcomeLost, scanner.OutcomeSucceeded}}[now]
		if d := r.wait(job.ID); !slices.Equal(outcomes(d), want) {
			t.Errorf("now %v: %v; want %v", now, outcomes(d), want)
		}
		ws := r.until("the worker has the new limit", func(ws []scanner.Worker) bool { return idle(ws) == 1 && ws[0].Limit == 128*mib })
		if x := ws[0].LastExit; x == nil || x.Reason != scanner.RestartRequested || !now && x.ExitCode != 0 {
			t.Errorf("now %v: the worker before ended with %+v; want as requested, by itself where it had time", now, x)
		}
	}
}

// What an ended server had goes on in its next process.
func TestGoesOn(t *testing.T) {
	r, s, job := stalled(t)
	waiting := r.submit(scanner.Request{Image: image(t, "b", 0, 1)})
	r.stop()
	s.open()
	r.start()
	for _, id := range []int64{job.ID, waiting.ID} {
		if d := r.wait(id); d.Status != scanner.StatusSucceeded {
			t.Errorf("job %d: %+v; want success", id, d)
		}
	}
	if d := r.wait(job.ID); !slices.Equal(outcomes(d), []scanner.Outcome{scanner.OutcomeLost, scanner.OutcomeSucceeded}) {
		t.Errorf("%v; want one lost, one succeeded", outcomes(d))
	}
}

// A pool that is removed gives its jobs to others.
func TestRemovePool(t *testing.T) {
	r := newRig(t, 1<<30)
	if _, err := r.PutPool(t.Context(), caller, scanner.Pool{Name: "other", Memory: 64 * mib, Count: 1}); err != nil {
		t.Fatal(err)
	}
	r.until("its worker is idle", func(ws []scanner.Worker) bool {
		return slices.ContainsFunc(ws, func(w scanner.Worker) bool { return w.Name == "other-0" && w.State == scanner.WorkerIdle })
	})
	if err := r.RemovePool(t.Context(), caller, "other"); err != nil {
		t.Fatal(err)
	}
	r.until("its worker is gone", func(ws []scanner.Worker) bool {
		return !slices.ContainsFunc(ws, func(w scanner.Worker) bool { return w.Pool == "other" })
	})
	if err := r.RemovePool(t.Context(), caller, "default"); !errors.Is(err, scanner.ErrConflict) {
		t.Errorf("default was removed: %v", err)
	}
	if _, err := r.Submit(t.Context(), caller, scanner.Request{Image: image(t, "a", 0, 1), Pool: "other"}); !errors.Is(err, scanner.ErrNotFound) {
		t.Errorf("a job for a pool that is gone: %v; want not found", err)
	}
}

// Who is not local names no path of the server, and gets no hint of what is there.
func TestPathsOfOthers(t *testing.T) {
	r := newRig(t, 1<<30)
	for _, ref := range []string{image(t, "a", 0, 1), "/etc/passwd", "dir:/etc", "oci-dir:" + filepath.Join(r.dir, "nothing")} {
		if _, err := r.Submit(t.Context(), scanner.Caller{Name: "key x"}, scanner.Request{Image: ref}); !errors.Is(err, scanner.ErrDenied) {
			t.Errorf("%s: %v; want denied", ref, err)
		}
	}
}

// An image that vanished after it was asked for fails clearly, and for good.
func TestVanished(t *testing.T) {
	r, s, job := stalled(t)
	ref := image(t, "gone", 0, 1)
	gone := r.submit(scanner.Request{Image: ref})
	if err := os.RemoveAll(ref); err != nil {
		t.Fatal(err)
	}
	s.open()
	r.wait(job.ID)
	if d := r.wait(gone.ID); d.Status != scanner.StatusFailed || d.Reason != "error" || d.Attempts != 1 {
		t.Errorf("%+v; want that it failed after one attempt", d)
	}
}

// A worker that says that it has a result, and has none, fails its job and keeps its slot free.
func TestResultThatIsNotThere(t *testing.T) {
	liar := filepath.Join(t.TempDir(), "stella")
	script := `#!/bin/sh
echo '{"hello":{"protocol":1,"version":"1.2.3"}}'
while read -r task; do
	echo '{"ended":{"outcome":"succeeded","result":{"inventory":"sha256:0","size":1,"components":1},"last":{"layer":-1,"peak":0}}}'
done
`
	if err := os.WriteFile(liar, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	r := &rig{T: t, dir: t.TempDir(), memory: 1 << 30, worker: liar}
	r.start()
	r.set("retry.max_attempts", "1")
	d := r.wait(r.submit(scanner.Request{Image: image(t, "a", 0, 1)}).ID)
	if d.Status != scanner.StatusFailed || d.Result != nil || !slices.Equal(outcomes(d), []scanner.Outcome{scanner.OutcomeError}) || !strings.Contains(d.Message, "cannot be kept") {
		t.Errorf("%+v; want that it failed, because its result cannot be kept", d)
	}
}

func TestContextOfEvents(t *testing.T) {
	r, _, job := stalled(t)
	ctx, cancel := context.WithCancel(t.Context())
	var kinds []scanner.EventKind
	err := r.Events(ctx, job.ID, 0, func(e scanner.Event) error {
		kinds = append(kinds, e.Kind)
		if e.Kind == scanner.EventProgress {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) || len(kinds) < 3 || kinds[0] != scanner.EventSubmitted || kinds[1] != scanner.EventStarted {
		t.Errorf("%v, %v; want what was kept, progress, and the end of the context", kinds, err)
	}
}
