package gate

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

var (
	then = time.Date(2026, 5, 30, 3, 33, 0, 0, time.UTC)
	now  = then.Add(time.Hour)
)

func check(name string, r Result) Check {
	return Check{Name: name, Timeout: time.Minute, Run: func(context.Context) Result { return r }}
}

// Only passes open the gate, at least one of them, and only where a reboot is wanted.
func TestOnlyPassesOpen(t *testing.T) {
	pass, block, unknown := Passed("well"), Blocked("not_ready", "all Ready", "node2 is not Ready"), CannotTell("timeout", errors.New("no answer"))
	for name, c := range map[string]struct {
		pending time.Time
		results []Result
		open    bool
	}{
		"all pass":              {then, []Result{pass, pass}, true},
		"none":                  {then, nil, false},
		"one blocks":            {then, []Result{pass, block, pass}, false},
		"one is unknown":        {then, []Result{pass, unknown}, false},
		"one is nothing":        {then, []Result{pass, {}}, false},
		"one is another word":   {then, []Result{pass, {Outcome: "PASS"}}, false},
		"nothing to be allowed": {time.Time{}, []Result{pass}, false},
	} {
		t.Run(name, func(t *testing.T) {
			var checks []Check
			for _, r := range c.results {
				checks = append(checks, check("c", r))
			}
			v := Decide(t.Context(), "node1", c.pending, now, checks, nil)
			if v.Open != c.open {
				t.Errorf("%+v", v)
			}
			for _, r := range v.Results {
				if r.Outcome != Pass && r.Outcome != Block && r.Outcome != Unknown || r.Outcome != Pass && (r.Reason == "" || r.Detail == "" || r.Since != now) {
					t.Errorf("%+v", r)
				}
			}
		})
	}
}

// What goes wrong with a check is unknown, and the others are asked all the same.
func TestChecksThatFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		checks := []Check{
			{Name: "slow", Timeout: time.Second, Run: func(ctx context.Context) Result { <-ctx.Done(); return Passed("late") }},
			{Name: "panics", Timeout: time.Second, Run: func(context.Context) Result { panic("no") }},
			check("well", Passed("well")),
			{Name: "last", Timeout: time.Second, Last: true, Run: func(context.Context) Result { t.Error("a turn was taken"); return Passed("") }},
		}
		v := Decide(t.Context(), "node1", then, now, checks, nil)
		var got []string
		for _, r := range v.Results {
			got = append(got, r.Check+" "+string(r.Outcome)+" "+r.Reason)
		}
		if diff := cmp.Diff([]string{"slow unknown timeout", "panics unknown internal_error", "well pass "}, got); diff != "" || v.Open {
			t.Error(diff)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if v := Decide(ctx, "node1", then, now, []Check{check("well", Passed("well"))}, nil); v.Open {
			t.Errorf("stopped, and open: %+v", v)
		}
	})
}

// The last check is asked when, and only when, all others pass, wherever it stands.
func TestLast(t *testing.T) {
	asked := 0
	last := Check{Name: "turn", Timeout: time.Second, Last: true, Run: func(context.Context) Result { asked++; return Blocked("held", "its turn", "node2 has the turn") }}
	if v := Decide(t.Context(), "node1", then, now, []Check{last, check("a", Passed(""))}, nil); asked != 1 || v.Open || v.Results[1].Check != "turn" {
		t.Errorf("%d, %+v", asked, v)
	}
	if v := Decide(t.Context(), "node1", then, now, []Check{last, check("a", Result{})}, nil); asked != 1 || v.Open {
		t.Errorf("%d, %+v", asked, v)
	}
}

// Times go on over looks and restarts, as far as the same is so; a clock that was put back does not make them later than now.
func TestSince(t *testing.T) {
	block := check("nodes", Blocked("not_ready", "", "node2"))
	first := Decide(t.Context(), "node1", then, then, []Check{block, check("a", Passed(""))}, nil)
	second := Decide(t.Context(), "node1", then, now, []Check{block, check("a", Blocked("x", "", "y"))}, &first)
	if second.Since != then || second.Results[0].Since != then || second.Results[1].Since != now {
		t.Errorf("%+v", second)
	}
	open := Decide(t.Context(), "node1", then, now, []Check{check("a", Passed(""))}, &second)
	if !open.Open || open.Since != now {
		t.Errorf("%+v", open)
	}
	early := Decide(t.Context(), "node1", then, then.Add(-time.Hour), []Check{block}, &second)
	if early.Since != then.Add(-time.Hour) || early.Results[0].Since != then.Add(-time.Hour) {
		t.Errorf("%+v", early)
	}
}

// A verdict fits into its annotation, whatever was found, and can be read again.
func TestAnnotation(t *testing.T) {
	v := Verdict{Node: "node1", Time: now, Pending: then, Since: then}
	if got, err := ReadVerdict(v.Annotation()); err != nil || !cmp.Equal(*got, v) {
		t.Errorf("%+v %v", got, err)
	}
	var checks []Check
	for range 12 {
		r := Blocked("firing", strings.Repeat("c", 2000), "%s", strings.Repeat("é<", 2000))
		for range 9 {
			r.Blockers = append(r.Blockers, strings.Repeat("b", 2000))
		}
		checks = append(checks, check("alerts", r), check("well", Passed("%s", strings.Repeat("x", 2000))))
	}
	v = Decide(t.Context(), "node1", then, now, checks, nil)
	text := v.Annotation()
	got, err := ReadVerdict(text)
	if err != nil || len(text) > MaxAnnotation || len(got.Results) != len(v.Results) || got.Results[0].Reason != "firing" {
		t.Errorf("%d bytes, %v", len(text), err)
	}
	for _, r := range v.Results {
		if len(r.Blockers) > MaxNames || len(r.Detail) > maxDetail || !utf8.ValidString(r.Detail) {
			t.Errorf("%d blockers, %d bytes", len(r.Blockers), len(r.Detail))
		}
	}
}

// What cannot be read is an error, never no hold.
func FuzzHold(f *testing.F) {
	f.Add(`{"reason":"disk","by":"kim","since":"2026-05-30T03:33:00Z"}`)
	f.Add(`{}`)
	f.Add(`null`)
	f.Fuzz(func(t *testing.T, text string) {
		h, err := ReadHold(text)
		if err == nil && (h.Reason == "" || len(text) > MaxAnnotation || !json.Valid([]byte(text))) {
			t.Errorf("%q is a hold: %+v", text, h)
		}
		if v, err := ReadVerdict(text); err == nil && v == nil {
			t.Errorf("%q is no verdict and no error", text)
		}
	})
}
