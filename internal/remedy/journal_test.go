package remedy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"stella/internal/explain"
	"stella/internal/incident"
)

// events are the events of a step that was approved, made, read back, judged and taken back.
func events(p *Plan, at time.Time) []incident.Event {
	done := &Change{Target: *p.Steps[0].Target, Edits: p.Steps[0].Edits, Want: p.Steps[0].Want, Time: at}
	return []incident.Event{
		p.event(incident.Planned, "ann", "plan", at, Note{Whole: p}),
		p.event(incident.Approved, "ann", "yes", at, Note{Step: 1, Approval: &Approval{By: "ann", Reason: "full", Plan: p.ID, Step: 1}}),
		p.event(incident.Remedied, "ann", "done", at, Note{Step: 1, Change: done}),
		p.event(incident.ReadBack, "ann", "in force", at, Note{Step: 1, Reading: &Reading{State: Yes}}),
		p.event(incident.Failed, "ann", "no", at, Note{Step: 1, Verdict: &Verdict{Outcome: DidNotHold}}),
		p.event(incident.RolledBack, "ann", "back", at, Note{Step: 1, Change: &Change{Edits: Invert(done.Edits)}}),
	}
}

// Several processes write at once, one of them dies in the middle of a line, and each plan is recalled as it was.
func TestJournal(t *testing.T) {
	j := Journal{filepath.Join(t.TempDir(), "new", "remedies.jsonl")}
	if _, err := j.History("a"); err == nil || !strings.Contains(err.Error(), "no audit log") {
		t.Error(err)
	}
	var plans []Plan
	var wait sync.WaitGroup
	for i := range 8 {
		in := about(t, explain.LimitTooLow)
		in.Limit = int64(100+i) << 20
		p := New(in)
		plans = append(plans, p)
		wait.Go(func() {
			for _, e := range events(&p, now) {
				if err := e.Check(now); err != nil {
					t.Error(err)
				}
				if err := j.Append(t.Context(), []incident.Event{e}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	f, err := os.OpenFile(j.Path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(f, `{"incident":"x","data":{"plan":"%s","ste`, plans[0].ID)
	f.Close()
	if err := j.Append(t.Context(), events(&plans[0], now.Add(time.Hour))[2:3]); err != nil {
		t.Fatal(err)
	}
	for i, p := range plans {
		h, err := j.History(p.ID)
		want := 1
		if i == 0 {
			want = 2
		}
		if err != nil || len(h.Made) != want || h.Plan.ID != p.ID {
			t.Fatalf("plan %d: %+v, %v", i, h, err)
		}
		m := h.Made[0]
		if m.Approval.By != "ann" || m.Reading.State != Yes || m.Verdict.Outcome != DidNotHold || m.Back == nil || m.Change.Want.Limit != int64(100+i)<<20 {
			t.Errorf("plan %d: %+v", i, m)
		}
	}
	if h, _ := j.History(plans[0].ID); h.Last(1).Back != nil || h.Last(0) != h.Last(1) || h.Last(2) != nil {
		t.Errorf("made again: %+v", h.Made)
	}
	if _, err := j.History("0123456789ab"); err == nil || !strings.Contains(err.Error(), "has no plan") {
		t.Error(err)
	}
	if info, err := os.Stat(j.Path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}

// What is read of one step is not of another that was made after it.
func TestRecallKeepsStepsApart(t *testing.T) {
	p := New(about(t, explain.LimitTooLow))
	all := events(&p, now)
	other := p.event(incident.Remedied, "ann", "done", now, Note{Step: 2, Change: &Change{Target: *p.Steps[1].Target}})
	h, err := Recall([]incident.Event{all[0], all[1], all[2], other, all[3], all[4]}, p.ID)
	if err != nil || len(h.Made) != 2 || h.Made[0].Reading == nil || h.Made[0].Verdict == nil || h.Made[1].Reading != nil || h.Made[1].Verdict != nil {
		t.Errorf("%+v, %v", h, err)
	}
}

// What is full refuses, and nothing of it goes.
func TestJournalIsBounded(t *testing.T) {
	j := Journal{filepath.Join(t.TempDir(), "remedies.jsonl")}
	if err := os.WriteFile(j.Path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(j.Path, maxJournal); err != nil {
		t.Fatal(err)
	}
	p := New(about(t, explain.LimitTooLow))
	if err := j.Append(t.Context(), events(&p, now)); err == nil || !strings.Contains(err.Error(), "move it") {
		t.Error(err)
	}
}

// What is in the file may be anything.
func FuzzRecall(f *testing.F) {
	p := New(about(f, explain.LimitTooLow))
	j := Journal{filepath.Join(f.TempDir(), "seed")}
	if err := j.Append(f.Context(), events(&p, now)); err != nil {
		f.Fatal(err)
	}
	seed, err := os.ReadFile(j.Path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte(`{"kind":"remedied","data":{"plan":"` + p.ID + `","step":1}}` + "\n\n{"))
	f.Fuzz(func(t *testing.T, text []byte) {
		j := Journal{filepath.Join(t.TempDir(), "j")}
		if err := os.WriteFile(j.Path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		h, err := j.History(p.ID)
		if err == nil && (h.Plan == nil || h.Plan.ID != p.ID || h.Plan.Check() != nil) {
			t.Errorf("%+v", h)
		}
	})
}

// kept are events that were recorded.
type kept []incident.Event

func (k *kept) Append(_ context.Context, events []incident.Event) error {
	*k = append(*k, events...)
	return nil
}

// broken records nothing.
type broken struct{}

func (broken) Append(context.Context, []incident.Event) error { return errors.New("away") }

// A verdict ends an incident only where it is known, and of what cures.
func TestJudge(t *testing.T) {
	for _, c := range []struct {
		cause   explain.Cause
		outcome Outcome
		want    incident.Kind
	}{
		{explain.LimitTooLow, Held, incident.Verified},
		{explain.LimitTooLow, DidNotHold, incident.Failed},
		{explain.LimitTooLow, CannotTell, ""},
		{explain.Leak, Held, incident.Noted},
		{explain.Leak, DidNotHold, incident.Failed},
	} {
		var got kept
		p := New(about(t, c.cause))
		w := Work{Plan: &p, Record: &got, Actor: "ann", Now: func() time.Time { return now }}
		err := w.Judge(t.Context(), 1, &Verdict{Outcome: c.outcome})
		if err != nil || c.want == "" && len(got) > 0 || c.want != "" && (len(got) != 1 || got[0].Kind != c.want) {
			t.Errorf("%s %s: %+v, %v", c.cause, c.outcome, got, err)
		}
	}
}

// What the incident does not take is not approved. What is done already is in the audit log, and said.
func TestRecords(t *testing.T) {
	p := New(about(t, explain.LimitTooLow))
	all := events(&p, now)
	var log kept
	missed := 0
	r := Records{Log: &log, Timeline: broken{}, Missed: func(error) { missed++ }}
	if err := r.Append(t.Context(), all[:2]); err == nil || missed != 0 {
		t.Errorf("an approval was recorded: %v", err)
	}
	if err := r.Append(t.Context(), all[2:3]); err != nil || missed != 1 || len(log) != 3 {
		t.Errorf("%v, missed %d, %d in the log", err, missed, len(log))
	}
	if err := (Records{Log: broken{}, Timeline: &log}).Append(t.Context(), all[2:3]); err == nil || len(log) != 3 {
		t.Errorf("without the audit log: %v", err)
	}
}
