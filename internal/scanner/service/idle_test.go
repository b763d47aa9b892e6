package service_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"stella/internal/scanner"
)

// A worker that dies while it has nothing to do is replaced, again and again, although
// nobody asks for anything.
func TestIdleWorkerDies(t *testing.T) {
	r := newRig(t, 1<<30)
	r.set("worker.count", "1")
	for deaths := range int64(3) {
		ws := r.until("the worker is back", func(ws []scanner.Worker) bool {
			return idle(ws) == 1 && ws[0].Restarts[scanner.RestartCrash] == deaths
		})
		if err := kill(ws[0].PID); err != nil {
			t.Fatal(err)
		}
	}
}

// What failed and may pass is tried again when its time has come, although nothing
// else happens until then.
func TestTriedAgainLater(t *testing.T) {
	r := newRig(t, 1<<30)
	r.set("worker.count", "1")
	r.until("the worker is idle", func(ws []scanner.Worker) bool { return idle(ws) == 1 })
	attempts := filepath.Join(r.dir, "attempts")
	if err := os.Remove(attempts); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(attempts, nil, 0o600); err != nil { // so that no directory can be made in it
		t.Fatal(err)
	}
	job := r.submit(scanner.Request{Image: image(t, "app", 0, 1)})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err := r.Events(ctx, job.ID, 0, func(e scanner.Event) error {
		if e.Kind == scanner.EventRequeued {
			return os.Remove(attempts)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	d := r.wait(job.ID)
	if !slices.Equal(outcomes(d), []scanner.Outcome{scanner.OutcomeError, scanner.OutcomeSucceeded}) {
		t.Fatalf("%s, %v; want an error, then success", d.Status, outcomes(d))
	}
	if pause := d.History[1].Started.Sub(d.History[0].Ended); pause < 2*time.Second || pause > 4*time.Second {
		t.Errorf("tried again after %v; want 2 s", pause)
	}
}
