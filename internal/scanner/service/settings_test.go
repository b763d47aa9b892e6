package service_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"stella/internal/scanner"
	"stella/internal/testkit"
)

// Each setting changes what it names; memory, streaming, timeouts are in the tests of their own.
func TestSettingsChangeWhatTheyName(t *testing.T) {
	r := newRig(t, 2<<30)

	t.Run("worker.count", func(t *testing.T) {
		for _, n := range []string{"3", "1"} {
			r.set("worker.count", n)
			r.until(n+" workers are there", func(ws []scanner.Worker) bool { return len(ws) == int(n[0]-'0') && idle(ws) == len(ws) })
		}
	})

	t.Run("worker.memory_limit", func(t *testing.T) {
		change, err := r.Set(t.Context(), caller, "worker.memory_limit", "96Mi")
		if err != nil || change.Old != "64Mi" || change.Value != "96Mi" || !slices.Equal(change.Workers, []string{"default-0"}) {
			t.Fatalf("%+v, %v; want the worker that has the old value", change, err)
		}
		ws := r.until("the worker is seen", func([]scanner.Worker) bool { return true })
		if ws[0].Limit != 64*mib || ws[0].Wanted != 96*mib {
			t.Errorf("%+v; want that it runs with the old limit and wants the new one", ws[0])
		}
		if change, err = r.Unset(t.Context(), caller, "worker.memory_limit"); err != nil || change.Value != "64Mi" || len(change.Workers) != 0 || change.Origin != "default" {
			t.Errorf("%+v, %v; want the default again", change, err)
		}
	})

	cached := func(name string, layers int) int {
		t.Helper()
		d := r.wait(r.submit(scanner.Request{Image: image(t, name, 0, layers)}).ID)
		if d.Status != scanner.StatusSucceeded {
			t.Fatalf("%+v", d)
		}
		return d.History[len(d.History)-1].Progress.Cached
	}
	files := func(dir string) int {
		t.Helper()
		entries, err := os.ReadDir(filepath.Join(r.dir, dir))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		return len(entries)
	}

	t.Run("cache.layer_dedup", func(t *testing.T) {
		r.set("cache.layer_dedup", "false")
		cached("dedup", 3)
		if n := files("cache"); n != 0 {
			t.Errorf("%d files in the cache; want none", n)
		}
		r.set("cache.layer_dedup", "true")
		cached("dedup", 3)
		if n := files("cache"); n < 3 {
			t.Errorf("%d files in the cache; want the layers", n)
		}
		// The second has one layer more on top of those.
		if n := cached("dedup", 4); n != 3 {
			t.Errorf("%d layers came from the cache; want 3", n)
		}
	})

	t.Run("cache.max_size", func(t *testing.T) {
		before := files("cache")
		r.set("cache.max_size", "1Mi")
		for _, name := range []string{"x", "y"} {
			cached(name, 500)
		}
		if n := files("cache"); n > 1100 || n < before {
			t.Errorf("%d files in the cache; want it pruned", n)
		}
		r.set("cache.max_size", "1Gi")
	})

	t.Run("routing", func(t *testing.T) {
		if _, err := r.PutPool(t.Context(), caller, scanner.Pool{Name: "large-images", Memory: 128 * mib, Count: 1}); err != nil {
			t.Fatal(err)
		}
		r.set("routing.large_image_pool", "large-images", "routing.large_image_layers", "5")
		for layers, want := range map[int]string{4: "default", 5: "large-images"} {
			if d := r.wait(r.submit(scanner.Request{Image: image(t, "routed", 0, layers)}).ID); d.History[0].Pool != want {
				t.Errorf("%d layers: in %s; want %s", layers, d.History[0].Pool, want)
			}
		}
		r.set("routing.large_image_layers", "0", "routing.large_image_threshold", "1Ki")
		if d := r.wait(r.submit(scanner.Request{Image: image(t, "size", 0, 50)}).ID); d.History[0].Pool != "large-images" {
			t.Errorf("an image of %d bytes: in %s; want large-images", d.Size, d.History[0].Pool)
		}
		change, err := r.Set(t.Context(), caller, "routing.large_image_pool", "nowhere")
		if err != nil || len(change.Warnings) == 0 {
			t.Errorf("%+v, %v; want a warning that the pool is not there", change, err)
		}
	})
}

// With sbom.incremental_mode a job that was killed goes on with the layers that were finished,
// although later jobs do not share them; without, it begins anew.
func TestIncrementalMode(t *testing.T) {
	testkit.Need(t, testkit.MemoryCgroup)
	for _, on := range []string{"true", "false"} {
		r := newRig(t, 2<<30)
		r.set("sbom.incremental_mode", on, "cache.layer_dedup", "false", "sbom.streaming_threshold", "1Gi", "worker.count", "1")
		if _, err := r.PutPool(t.Context(), caller, scanner.Pool{Name: "large", Memory: large, Count: 1}); err != nil {
			t.Fatal(err)
		}
		d := r.wait(r.submit(scanner.Request{Image: image(t, "big", 128*mib, 8)}).ID)
		if d.Status != scanner.StatusSucceeded || len(d.History) != 2 {
			t.Fatalf("%+v", d)
		}
		// Layer 0 has the large file; others may have been finished beside it.
		before, now := d.History[0].Progress.Done, d.History[1].Progress.Cached
		if on == "false" && now != 0 || on == "true" && now < before {
			t.Errorf("incremental %s: %d layers were finished, and %d came from there", on, before, now)
		}
		if entries, err := os.ReadDir(filepath.Join(r.dir, "layers")); err != nil || len(entries) != 0 {
			t.Errorf("%d directories of ended jobs are left (%v)", len(entries), err)
		}
	}
}

// retry.max_attempts bounds the attempts of what may pass by itself.
func TestMaxAttempts(t *testing.T) {
	s := newStalling(t, image(t, "app", 0, 1))
	r := &rig{T: t, dir: t.TempDir(), memory: 1 << 30}
	r.policy.PlainHTTP = []string{s.host}
	r.start()
	r.set("retry.max_attempts", "2", "worker.count", "1")
	job := r.submit(scanner.Request{Image: s.ref})
	for range 2 { // whoever kills the worker from outside
		<-s.asked
		ws := r.until("the worker is busy", func(ws []scanner.Worker) bool { return ws[0].State == scanner.WorkerBusy && ws[0].PID != 0 })
		if err := kill(ws[0].PID); err != nil {
			t.Fatal(err)
		}
	}
	d := r.wait(job.ID)
	if d.Status != scanner.StatusFailed || d.Reason != "killed" || !slices.Equal(outcomes(d), []scanner.Outcome{scanner.OutcomeKilled, scanner.OutcomeKilled}) {
		t.Errorf("%s for %s, %v; want failed, killed twice and never oom", d.Status, d.Reason, outcomes(d))
	}
	if d.History[0].ExitCode == nil || *d.History[0].ExitCode != 137 || d.History[0].Kills != 0 {
		t.Errorf("%+v; want 137 without a counted kill", d.History[0].End)
	}
}
