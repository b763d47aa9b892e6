package loop

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"stella/internal/gate"
	"stella/internal/gate/sentinel"
)

// world is a node, and what its gate does to it.
type world struct {
	t          *testing.T
	raw, gated string
	loop       *Loop
	results    []gate.Result // of the checks of the next look
	cordoned   bool
	fail       error // of all that is asked of the cluster
	last       *gate.Verdict
	did        []string
}

func newWorld(t *testing.T) *world {
	dir := t.TempDir()
	w := &world{t: t, raw: filepath.Join(dir, "reboot-required"), gated: filepath.Join(dir, "run", "gated-reboot-required")}
	if err := os.Mkdir(filepath.Dir(w.gated), 0o700); err != nil {
		t.Fatal(err)
	}
	w.restart()
	return w
}

// restart puts another process in the place of the gate.
func (w *world) restart() {
	file, err := sentinel.Open(w.gated, slog.New(slog.DiscardHandler))
	if err != nil {
		w.t.Fatal(err)
	}
	w.loop = &Loop{
		Node: "node1", Raw: w.raw, Gated: file, Period: time.Minute, Cluster: w, Turn: w, Log: slog.New(slog.DiscardHandler),
		Metrics: &Metrics{Node: "node1", Period: time.Minute, Gated: func() bool { return w.there() }},
		Checks: func() []gate.Check {
			var checks []gate.Check
			for i, r := range w.results {
				checks = append(checks, gate.Check{Name: fmt.Sprintf("c%d", i), Timeout: time.Second, Run: func(context.Context) gate.Result { return r }})
			}
			return checks
		},
	}
}

func (w *world) want(file string) {
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) there() bool {
	_, err := os.Lstat(w.gated)
	return err == nil
}

// do notes what happened, and whether the gated file was there then.
func (w *world) do(what string) error {
	if w.there() {
		what += " (open)"
	}
	w.did = append(w.did, what)
	return w.fail
}

func (w *world) Last(context.Context) (*gate.Verdict, error) { return w.last, w.do("last") }
func (w *world) Cordoned(context.Context) (bool, error)      { return w.cordoned, w.do("cordoned") }
func (w *world) Release(context.Context) error               { return w.do("release") }

func (w *world) Tell(ctx context.Context, v gate.Verdict, changed bool) error {
	w.last = &v
	if ctx.Err() != nil {
		return w.do("tell too late")
	}
	return w.do(fmt.Sprintf("tell %v %v", v.Open, changed))
}

func (w *world) Check() gate.Check {
	return gate.Check{Name: "turn", Timeout: time.Second, Last: true, Run: func(context.Context) gate.Result {
		if err := w.do("take"); err != nil {
			return gate.CannotTell("unreachable", err)
		}
		return gate.Passed("it is its turn")
	}}
}

// looks lets a number of iterations pass, and returns what was done meanwhile.
func (w *world) looks(n int) string {
	w.t.Helper()
	w.did = nil
	w.loop.MaxIter = n
	if err := w.loop.Run(w.t.Context()); err != nil {
		w.t.Error(err)
	}
	if w.there() {
		w.t.Error("the gate is open after its process ended")
	}
	return strings.Join(w.did, ", ")
}

var pass, block = gate.Passed("well"), gate.Blocked("not_ready", "", "node2 is not Ready")

func TestLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, c := range map[string]struct {
			looks   int
			prepare func(*world)
			did     string
		}{
			"nothing is asked while no reboot is wanted": {72, func(w *world) {}, "last, release, tell false false"},
			"what an earlier gate allowed is taken away first": {1, func(w *world) { w.want(w.gated) },
				"last, release, tell false false"},
			"all pass": {2, func(w *world) { w.want(w.raw); w.results = []gate.Result{pass} },
				"last, take, tell true true (open), take (open), tell true false (open)"},
			"one blocks": {2, func(w *world) { w.want(w.raw); w.results = []gate.Result{pass, block} },
				"last, tell false true, tell false false"},
			"no checks": {1, func(w *world) { w.want(w.raw) }, "last, take, tell true true (open)"},
			"the raw file cannot be read": {1, func(w *world) { w.loop.Raw = filepath.Join(w.raw, "no", "such"); w.results = []gate.Result{pass} },
				"last, tell false true"},
			"the cluster does not answer": {2, func(w *world) { w.want(w.raw); w.results = []gate.Result{pass}; w.fail = errors.New("refused") },
				"last, take, tell false true, take, tell false false"},
			"a directory is in the place of the gated file": {1, func(w *world) {
				w.want(w.raw)
				w.results = []gate.Result{pass}
				if err := os.Mkdir(w.gated, 0o700); err != nil {
					w.t.Fatal(err)
				}
			}, "last, take, tell true true (open)"},
			"a turn of before the restart is given back, but not at once": {4, func(w *world) { w.want(w.raw); w.results = []gate.Result{block} },
				"last, tell false true, tell false false, cordoned, release, tell false false, tell false false"},
			"a turn is kept while kured may be at work": {4, func(w *world) { w.want(w.raw); w.results = []gate.Result{block}; w.cordoned = true },
				"last, tell false true, tell false false, cordoned, tell false false, cordoned, tell false false"},
		} {
			w := newWorld(t)
			c.prepare(w)
			if did := w.looks(c.looks); did != c.did {
				t.Errorf("%s:\n%s\nwant\n%s", name, did, c.did)
			}
		}
	})
}

// A whole life: wanted, blocked, open, rebooted; blocks are counted from when they began, over restarts.
func TestLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.want(w.raw)
		w.results = []gate.Result{block}
		began := time.Now()
		w.looks(3)
		w.restart()
		w.looks(3)
		if since := w.last.Results[0].Since; !since.Equal(began) {
			t.Errorf("blocked since %v, want %v", since, began)
		}
		w.results = []gate.Result{pass}
		w.looks(1)
		if !w.last.Open {
			t.Errorf("%+v", w.last)
		}
		if err := os.Remove(w.raw); err != nil {
			t.Fatal(err)
		}
		w.restart()
		if did := w.looks(2); did != "last, release, tell false true" || w.last.Open || !w.last.Pending.IsZero() {
			t.Errorf("%s, %+v", did, w.last)
		}
	})
}

// Where an open gate is shut, that is so before anybody hears of it; and what could not be told or given back is tried again.
func TestShutFirst(t *testing.T) {
	w := newWorld(t)
	w.want(w.raw)
	w.results = []gate.Result{pass}
	w.loop.iterate(t.Context(), 1)
	if !w.there() {
		t.Fatal("the gate is not open")
	}
	w.did, w.results = nil, []gate.Result{block}
	w.loop.iterate(t.Context(), 2)
	if err := os.Remove(w.raw); err != nil {
		t.Fatal(err)
	}
	w.fail = errors.New("refused")
	w.loop.iterate(t.Context(), 3)
	w.fail = nil
	w.loop.iterate(t.Context(), 4)
	if did, want := strings.Join(w.did, ", "), "tell false true, release, release, tell false true"; did != want {
		t.Errorf("%s, want %s", did, want)
	}
}

// A gate that has nothing to do shows that it is there.
func TestIdleIsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.looks(3)
		if got, want := w.loop.Metrics.last.Time, time.Now(); !got.Equal(want) {
			t.Errorf("it last looked at %v, want %v", got, want)
		}
	})
}

// A gate whose file cannot be made is shut, and says so.
func TestCannotOpen(t *testing.T) {
	w := newWorld(t)
	w.want(w.raw)
	w.results = []gate.Result{pass}
	if err := os.RemoveAll(filepath.Dir(w.gated)); err != nil {
		t.Fatal(err)
	}
	w.loop.iterate(t.Context(), 1)
	if blocking := w.last.Blocking(); w.last.Open || len(blocking) != 1 || blocking[0].Check != "gated_file" {
		t.Errorf("%+v", w.last)
	}
}

// A look that takes all of its time is shut, and told.
func TestSlowLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.want(w.raw)
		w.loop.Checks = func() []gate.Check {
			slow := gate.Check{Name: "slow", Timeout: time.Hour, Run: func(ctx context.Context) gate.Result { <-ctx.Done(); return gate.Passed("late") }}
			return []gate.Check{slow, slow}
		}
		if did := w.looks(1); did != "last, tell false true" {
			t.Error(did)
		}
		if r := w.last.Results[0]; r.Reason != gate.ReasonTimeout || !strings.Contains(r.Detail, "30s") {
			t.Errorf("%+v", r)
		}
	})
}

// Since when nobody can tell whether a reboot is wanted is known, too, over restarts.
func TestUnreadableSince(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		began := time.Now()
		for range 2 {
			w.loop.Raw = filepath.Join(w.raw, "no", "such")
			w.looks(2)
			w.restart()
		}
		r := w.last.Results[0]
		if len(w.last.Results) != 1 || r.Check != gate.RawFile || r.Outcome != gate.Unknown || !r.Since.Equal(began) || !w.last.Since.Equal(began) {
			t.Errorf("%+v, want since %v", w.last, began)
		}
	})
}
