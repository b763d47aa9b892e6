package queue_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stella/internal/scanner"
)

func TestSettings(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		q := e.instance("a")
		s, all, first, err := q.Settings(t.Context())
		if err != nil || s != scanner.DefaultSettings() || len(all) != len(scanner.Keys()) || all[0].Origin != "default" {
			t.Errorf("%+v, %+v, %v", s, all, err)
		}
		change, err := q.Set(t.Context(), "worker.memory_limit", "8192Mi", "uid 0")
		if err != nil || change.Old != "64Mi" || change.Value != "8Gi" || change.Origin != "set by uid 0" || change.Changed.IsZero() || !change.Restart {
			t.Errorf("%+v, %v", change, err)
		}
		s, all, second, err := q.Settings(t.Context())
		if err != nil || s.WorkerMemory != 8<<30 || all[0].Value != "8Gi" || second <= first {
			t.Errorf("%+v, version %d after %d, %v", s, second, first, err)
		}
		if version, err := q.Version(t.Context()); err != nil || version != second {
			t.Errorf("version %d, want %d; %v", version, second, err)
		}
		for _, c := range []struct{ key, value string }{{"worker.memory_limit", "-1"}, {"worker.memory_limit", "8GB "}, {"no.such", "1"}, {"sbom.incremental_mode", "ja"}} {
			if _, err := q.Set(t.Context(), c.key, c.value, "x"); !errors.Is(err, scanner.ErrSetting) || !strings.Contains(err.Error(), c.key) {
				t.Errorf("%s=%s: %v", c.key, c.value, err)
			}
		}
		if _, err := q.Unset(t.Context(), "no.such"); !errors.Is(err, scanner.ErrSetting) {
			t.Errorf("unset: %v", err)
		}
		if _, _, version, _ := q.Settings(t.Context()); version != second {
			t.Errorf("what was refused has changed the version to %d", version)
		}
		change, err = q.Unset(t.Context(), "worker.memory_limit")
		if err != nil || change.Old != "8Gi" || change.Value != "64Mi" || change.Origin != "default" || !change.Changed.IsZero() {
			t.Errorf("%+v, %v", change, err)
		}
	})
}

// What another version of stellad has set may be unknown or not allowed here.
func TestSettingsOfAnotherVersion(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		q := e.instance("a")
		e.exec(`INSERT INTO settings (key, value, set_by, changed) VALUES ('new.key', '1', 'x', 1), ('worker.count', '100000', 'uid 0', 1)`)
		s, all, _, err := q.Settings(t.Context())
		if err != nil || s != scanner.DefaultSettings() || len(all) != len(scanner.Keys()) {
			t.Errorf("%+v, %v", s, err)
		}
		if origin := all[1].Origin; origin != `default, because "100000", set by uid 0, is no longer allowed` {
			t.Errorf("origin %q", origin)
		}
	})
}

func TestSettingsAtOnce(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		a, b := e.instance("a"), e.instance("b")
		_, _, before, err := a.Settings(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for i := range 20 {
			q := a
			if i%2 == 0 {
				q = b
			}
			wg.Go(func() {
				if _, err := q.Set(t.Context(), "worker.count", fmt.Sprint(i+1), "x"); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if _, _, after, err := a.Settings(t.Context()); err != nil || after != before+20 {
			t.Errorf("version %d after 20 changes of %d, %v", after, before, err)
		}
	})
}

func TestPools(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		q := e.instance("a")
		if _, err := q.Set(t.Context(), "worker.count", "5", "x"); err != nil {
			t.Fatal(err)
		}
		for _, p := range []scanner.Pool{{Name: "zz", Memory: 1 << 30, Count: 1}, {Name: "aa", Memory: 2 << 30, Count: 3}, {Name: "zz", Memory: 4 << 30, Count: 2}} {
			if got, err := q.PutPool(t.Context(), p); err != nil || got != p {
				t.Errorf("%+v, %v", got, err)
			}
		}
		if err := q.RestartPools(t.Context(), "zz"); err != nil {
			t.Fatal(err)
		}
		if err := q.RestartPools(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		want := []scanner.Pool{
			{Name: "default", Memory: 64 << 20, Count: 5, Generation: 1},
			{Name: "aa", Memory: 2 << 30, Count: 3, Generation: 1},
			{Name: "zz", Memory: 4 << 30, Count: 2, Generation: 2},
		}
		got, err := q.Pools(t.Context())
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Error(diff, err)
		}
		for name, want := range map[string]error{"default": scanner.ErrConflict, "none": scanner.ErrNotFound} {
			if err := q.RemovePool(t.Context(), name); !errors.Is(err, want) {
				t.Errorf("remove %s: %v", name, err)
			}
		}
		if err := q.RestartPools(t.Context(), "none"); !errors.Is(err, scanner.ErrNotFound) {
			t.Errorf("restart: %v", err)
		}
		for name, want := range map[string]error{"default": scanner.ErrConflict, "A b": scanner.ErrInvalid} {
			if _, err := q.PutPool(t.Context(), scanner.Pool{Name: name, Memory: 1 << 30, Count: 1}); !errors.Is(err, want) {
				t.Errorf("put %s: %v", name, err)
			}
		}
		for n := range scanner.MaxPools {
			_, err = q.PutPool(t.Context(), scanner.Pool{Name: fmt.Sprintf("p%d", n), Memory: 1 << 30, Count: 1})
		}
		if !errors.Is(err, scanner.ErrConflict) {
			t.Errorf("more than %d pools: %v", scanner.MaxPools, err)
		}
		if _, err := q.PutPool(t.Context(), scanner.Pool{Name: "p0", Memory: 2 << 30, Count: 1}); err != nil {
			t.Errorf("change one of %d pools: %v", scanner.MaxPools, err)
		}
	})
}

func TestRemovedPoolLeavesNothingBehind(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		q := e.instance("a")
		putLarge(t, q)
		s := submission(1)
		s.Pool = "large"
		submit(t, q, s)
		running := claim(t, q, "large", "large-0")
		s = submission(2)
		s.Pool = "large"
		waiting := submit(t, q, s)
		if err := q.RemovePool(t.Context(), "large"); err != nil {
			t.Fatal(err)
		}
		if c := claim(t, q, "default", "w"); c.Job.ID != waiting.ID {
			t.Errorf("%+v", c)
		}
		// The plan of who ends it may be from before.
		if job, _ := finish(t, q, failure(running, scanner.OutcomeKilled, "signal")); job.Pool != "default" || job.Status != scanner.StatusPending {
			t.Errorf("%+v", job)
		}
	})
}

// Jobs are never left in a pool that is removed at the same time.
func TestRaceOfSubmitAndRemovePool(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		a, b := e.instance("a"), e.instance("b")
		for round := range 10 {
			putLarge(t, a)
			var wg sync.WaitGroup
			for n := range 10 {
				wg.Go(func() {
					s := submission(round*10 + n)
					s.Pool = "large"
					if _, _, err := a.Submit(t.Context(), s, plan()); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Go(func() {
				if err := b.RemovePool(t.Context(), "large"); err != nil {
					t.Error(err)
				}
			})
			wg.Wait()
			if n := e.number(`SELECT count(*) FROM jobs WHERE pool = 'large'`); n != 0 {
				t.Fatalf("%d jobs wait for a pool that is gone", n)
			}
		}
	})
}
