package service_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"stella/internal/rdev"
	"stella/internal/rdev/service"
)

// ids are those of programs that run, in the order in which they were started, of so many that are expected.
func (r *rig) expect(want ...rdev.Command) []*program {
	r.Helper()
	var got []*program
	for range want {
		got = append(got, r.next())
	}
	for _, c := range want {
		found := false
		for _, p := range got {
			found = found || p.ID == c.ID
		}
		if !found {
			r.Errorf("%s %s was not started", c.By, c.Request.Shell)
		}
	}
	return got
}

func TestLimits(t *testing.T) {
	for what, test := range map[string]struct {
		limits service.Limits
		// submitted are caller, project and memory in MiB; first are those that start at once.
		submitted []string
		first     []int
	}{
		"running":        {service.Limits{Running: 2}, []string{"a p 16", "b q 16", "c r 16"}, []int{0, 1}},
		"project":        {service.Limits{PerProject: 1}, []string{"a p 16", "b p 16", "c r 16"}, []int{0, 2}},
		"caller":         {service.Limits{PerCaller: 1}, []string{"a p 16", "a q 16", "b q 16"}, []int{0, 2}},
		"memory":         {service.Limits{TotalMemory: 64 << 20}, []string{"a p 16", "b p 64", "c p 16"}, []int{0}}, // the third would fit, and the second would never start
		"memory is free": {service.Limits{TotalMemory: 64 << 20}, []string{"a p 48", "b p 16", "c p 16"}, []int{0, 1}},
	} {
		t.Run(what, func(t *testing.T) {
			r := sqliteRig(t)
			r.o.Limits = test.limits
			r.open()
			var all, first, rest []rdev.Command
			for i, text := range test.submitted {
				var caller, project string
				var memory int64
				fmt.Sscan(text, &caller, &project, &memory)
				all = append(all, r.submit(rdev.Caller{Name: caller}, project, rdev.Request{Shell: fmt.Sprint(i), Memory: memory << 20}))
			}
			for i, c := range all {
				if len(first) < len(test.first) && test.first[len(first)] == i {
					first = append(first, c)
				} else {
					rest = append(rest, c)
				}
			}
			r.start()
			run := r.expect(first...)
			r.nothing()
			if n := r.s.Counts(); n.Running != len(first) || n.Queued != len(rest) {
				t.Errorf("%+v", n)
			}
			for range rest { // all get their turn
				for _, p := range run {
					p.exit(0)
				}
				run = []*program{r.next()}
			}
			run[0].exit(0)
			for _, c := range all {
				r.end(c)
			}
			if n := r.s.Counts(); n.Running != 0 || n.Queued != 0 || n.Reserved != 0 {
				t.Errorf("at the end: %+v", n)
			}
		})
	}
}

// While memory is short nothing is started beside what runs; where nothing runs, one is, for nothing else would change anything.
func TestPressure(t *testing.T) {
	r := sqliteRig(t)
	var short atomic.Bool
	r.o.Pressure = func() (bool, string) { return short.Load(), "memory is short" }
	r.open()
	a, b := r.submit(ada, "web", shell("1")), r.submit(ada, "web", shell("2"))
	short.Store(true)
	r.start()
	p := r.next()
	r.nothing()
	p.exit(0)
	r.next().exit(0)
	r.end(a)
	r.end(b)
}

func TestStop(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		r.o.Limits.Running = 1
		r.start()
		running := r.submit(ada, "web", shell("1"))
		r.next()
		queued := r.submit(ada, "web", shell("2"))
		s := r.s
		r.halt()
		if _, _, err := s.Submit(t.Context(), ada, "web", shell("3"), ""); !errors.Is(err, rdev.ErrUnavailable) {
			t.Errorf("submit to a service that was stopped: %v", err)
		}
		r.start()
		if c := r.command(running); c.Status != rdev.Ended || c.End.Reason != rdev.ReasonCancelled || !strings.Contains(c.End.Detail, "the service was stopped") {
			t.Errorf("the running one: %+v %+v", c, c.End)
		}
		p := r.next()
		if p.ID != queued.ID {
			t.Errorf("%s was started", p.ID)
		}
		p.exit(0)
		r.end(queued)
	})
}

// A second process takes over, and the first one does nothing more to the commands.
func TestReplaced(t *testing.T) {
	r := sqliteRig(t)
	r.start()
	c := r.submit(ada, "web", shell("1"))
	p := r.next()
	first, stopped := r.s, r.stopped
	r.s = nil
	r.open()
	lost := r.command(c)
	if lost.Status != rdev.Ended || lost.End.Reason != rdev.ReasonLost {
		t.Errorf("for the second process: %+v", lost)
	}
	p.exit(0)
	if _, _, err := first.Submit(t.Context(), ada, "web", shell("2"), ""); !errors.Is(err, service.ErrReplaced) {
		t.Errorf("submit to the first: %v", err)
	}
	if err := <-stopped; !errors.Is(err, service.ErrReplaced) {
		t.Errorf("the first ends with %v", err)
	}
	if got := r.command(c); got.End.Reason != rdev.ReasonLost {
		t.Errorf("the first has changed it to %+v", got.End)
	}
}

// However the clock is set, IDs are new, and in order.
func TestIDs(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		r.o.Now = func() time.Time { return now }
		last := ""
		for i := range 20 {
			if i%4 == 0 {
				r.s = nil
				r.open()
			}
			c := r.submit(ada, "web", shell("x"))
			if c.ID <= last || len(c.ID) != 13 {
				t.Errorf("%s came after %s", c.ID, last)
			}
			last = c.ID
			now = now.Add(time.Duration(i-10) * time.Hour)
		}
	})
}

// What ended is removed when it is too old or there are too many, and nothing of it is left in memory.
func TestPrune(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		var skew atomic.Int64
		r.o.Now = func() time.Time { return time.Now().Add(time.Duration(skew.Load())) }
		r.o.Limits.KeepCommands, r.o.Limits.Keep = 3, time.Hour
		r.start()
		var all []rdev.Command
		for range 5 {
			c := r.submit(ada, "web", shell("x"))
			r.next().exit(0)
			all = append(all, r.end(c))
		}
		kept := func() (n int) {
			for _, c := range all {
				_, err := r.s.Command(t.Context(), "web", c.ID)
				switch {
				case err == nil:
					n++
				case !errors.Is(err, rdev.ErrNotFound):
					t.Error(err)
				}
			}
			return n
		}
		if err := r.s.PruneNow(context.Background()); err != nil || kept() != 3 {
			t.Errorf("%v, %d are kept of 5", err, kept())
		}
		if _, err := r.s.Command(t.Context(), "web", all[1].ID); !errors.Is(err, rdev.ErrNotFound) {
			t.Errorf("not the oldest was removed")
		}
		skew.Store(int64(2 * time.Hour))
		if err := r.s.PruneNow(context.Background()); err != nil || kept() != 0 {
			t.Errorf("%v, %d are kept after an hour", err, kept())
		}
	})
}
