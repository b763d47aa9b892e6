package remedy

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"stella/internal/incident"
)

// Record takes what is done, for good. An error is that it did not.
type Record interface {
	Append(ctx context.Context, events []incident.Event) error
}

// Records are two: the audit log, and the timeline of an incident, which is somewhere else and cannot be reached at times.
type Records struct {
	Log, Timeline Record
	// Missed is told what the timeline did not take. The audit log has it.
	Missed func(error)
}

// Append implements [Record]. An approval has to be in both. What follows it is done already, so that the audit log has to do.
func (r Records) Append(ctx context.Context, events []incident.Event) error {
	if err := r.Log.Append(ctx, events); err != nil {
		return err
	}
	err := r.Timeline.Append(ctx, events)
	if err != nil && !slices.ContainsFunc(events, func(e incident.Event) bool { return e.Kind == incident.Approved }) {
		r.Missed(err)
		return nil
	}
	return err
}

// Approval is who wants a change, and why.
type Approval struct {
	By     string `json:"by"`
	Reason string `json:"reason"`
	// Plan and Step are what it is for, and nothing else.
	Plan string `json:"plan"`
	Step int    `json:"step"`
	// RollbackIfNotHeld approves beforehand that the step is taken back where it does not hold.
	RollbackIfNotHeld bool `json:"rollback_if_not_held,omitempty"`
}

// Check reports what is missing for the step.
func (a *Approval) Check(p *Plan, s *Step) error {
	switch {
	case a.By == "":
		return fmt.Errorf("an approval says who gives it")
	case a.Reason == "":
		return fmt.Errorf("an approval says why")
	case len(a.By)+len(a.Reason) > incident.MaxText/2:
		return fmt.Errorf("a name and a reason have %d bytes at most", incident.MaxText/2)
	case a.Plan != p.ID || a.Step != s.N:
		return fmt.Errorf("the approval is for step %d of plan %s, and not for step %d of plan %s", a.Step, a.Plan, s.N, p.ID)
	}
	return nil
}

// Note is the data of the events that tell of a plan: at most one of the fields behind Step is set, and with a rollback its change.
type Note struct {
	Plan     string    `json:"plan"`
	Step     int       `json:"step,omitempty"`
	Whole    *Plan     `json:"whole,omitempty"`
	Approval *Approval `json:"approval,omitempty"`
	Change   *Change   `json:"change,omitempty"`
	Reading  *Reading  `json:"reading,omitempty"`
	Verdict  *Verdict  `json:"verdict,omitempty"`
}

// event tells of a plan, in its incident or, where it has none, in the record of the plan alone.
func (p *Plan) event(kind incident.Kind, actor, text string, at time.Time, n Note) incident.Event {
	n.Plan = p.ID
	e := incident.Event{
		Incident: cmp.Or(p.Incident, p.ID), Time: at.UTC(), Kind: kind, Actor: actor, Text: cut(text, incident.MaxText), Data: encode(n),
		ID: incident.NewID(p.ID, string(kind), fmt.Sprint(n.Step), at.UTC().Format(time.RFC3339Nano)),
	}
	if kind == incident.Planned {
		e.ID = incident.NewID(p.ID, string(kind)) // it is told once, however often it is approved
	}
	return e
}

// cut shortens a text at a character.
func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	end := 0
	for i := range text {
		if i > most-len("…") {
			break
		}
		end = i
	}
	return text[:end] + "…"
}

// Work makes the changes of one plan, and tells of them.
type Work struct {
	Cluster *Cluster
	Record  Record
	Plan    *Plan
	Actor   string
	Now     func() time.Time
}

// tell appends events.
func (w *Work) tell(ctx context.Context, events ...incident.Event) error {
	for i := range events {
		if err := events[i].Check(w.Now()); err != nil {
			return fmt.Errorf("tell that a remedy was %s: %w", events[i].Kind, err)
		}
	}
	return w.Record.Append(ctx, events)
}

// Apply makes a step that was approved. It is tried on the server first, and recorded as approved before it is made: what cannot be recorded is not done.
func (w *Work) Apply(ctx context.Context, s *Step, a Approval, o Options) (Change, error) {
	if err := a.Check(w.Plan, s); err != nil {
		return Change{}, err
	}
	if _, err := w.Cluster.Apply(ctx, s, Options{DryRun: true, Force: o.Force}); err != nil {
		return Change{}, err
	}
	now := w.Now()
	err := w.tell(ctx,
		w.Plan.event(incident.Planned, w.Actor, fmt.Sprintf("Plan %s of %d steps: %s", w.Plan.ID, len(w.Plan.Steps), w.Plan.Summary), now, Note{Whole: w.Plan}),
		w.Plan.event(incident.Approved, w.Actor, fmt.Sprintf("%s approved step %d of plan %s: %s", a.By, s.N, w.Plan.ID, a.Reason), now, Note{Step: s.N, Approval: &a}))
	if err != nil {
		return Change{}, fmt.Errorf("nothing was changed, as it could not be recorded: %w", err)
	}
	done, err := w.Cluster.Apply(ctx, s, o)
	if err != nil {
		// That it failed is recorded as a note: the incident is as it was before.
		return done, w.and(err, w.tell(context.WithoutCancel(ctx), w.Plan.event(incident.Noted, w.Actor, fmt.Sprintf("Step %d was not made: %v", s.N, err), w.Now(), Note{Step: s.N})))
	}
	e := w.Plan.event(incident.Remedied, w.Actor, s.What, w.Now(), Note{Step: s.N, Change: &done})
	if done.Want != nil && done.Want.Limit > 0 {
		e.Limit = &incident.Limit{Scope: "container", Bytes: done.Want.Limit}
	}
	// It is done, so it is recorded also if whoever asked for it has gone.
	if err := w.tell(context.WithoutCancel(ctx), e); err != nil {
		return done, fmt.Errorf("the change was made, but could not be recorded (%w); to take it back: %s", err, done.Target.patch(Invert(done.Edits)))
	}
	return done, nil
}

// and joins to an error that another one came of telling it.
func (w *Work) and(err, more error) error {
	if more != nil {
		return fmt.Errorf("%w; that could not be recorded, either: %w", err, more)
	}
	return err
}

// Read reads a change back and records what was read, unless that is the state that was known; "" is that none was.
func (w *Work) Read(ctx context.Context, step int, done *Change, known State, node Node, wait time.Duration) (Reading, error) {
	r, err := w.Cluster.ReadBack(ctx, done, node, wait)
	if err != nil || r.State == known {
		return r, err
	}
	text := map[State]string{Yes: "It is in force.", No: "It is not in force.", Unknown: "Whether it is in force could not be told."}[r.State]
	for _, c := range r.Checks {
		if c.State != Yes {
			text += " " + c.Text
		}
	}
	return r, w.tell(context.WithoutCancel(ctx), w.Plan.event(incident.ReadBack, w.Actor, text, r.Time, Note{Step: step, Reading: &r}))
}

// Judge records a verdict. One that cannot be told is not the end of anything, and is not recorded; a stop-gap that held is not, either, and is recorded as a note.
func (w *Work) Judge(ctx context.Context, step int, v *Verdict) error {
	s, err := w.Plan.Step(step)
	if err != nil {
		return err
	}
	kind, text := incident.Verified, "It held."
	switch {
	case v.Outcome == CannotTell:
		return nil
	case v.Outcome == DidNotHold:
		kind, text = incident.Failed, "It did not hold."
	case s.Stopgap:
		kind, text = incident.Noted, "The stop-gap held so far; what it is for is still to be cured."
	}
	for _, c := range v.Checks {
		text += " " + c.Text
	}
	return w.tell(ctx, w.Plan.event(kind, w.Actor, text, w.Now(), Note{Step: step, Verdict: v}))
}

// Rollback takes a step back that was made.
func (w *Work) Rollback(ctx context.Context, step int, done *Change, a Approval, o Options) (Change, error) {
	s, err := w.Plan.Step(step)
	if err != nil {
		return Change{}, err
	}
	if err := a.Check(w.Plan, s); err != nil {
		return Change{}, err
	}
	if !s.Reversible() {
		return Change{}, fmt.Errorf("step %d cannot be taken back: %s", step, s.What)
	}
	if _, err := w.Cluster.Rollback(ctx, done, Options{DryRun: true, Force: o.Force}); err != nil {
		return Change{}, err
	}
	text := fmt.Sprintf("%s approved that step %d of plan %s is taken back: %s", a.By, step, w.Plan.ID, a.Reason)
	if err := w.tell(ctx, w.Plan.event(incident.Approved, w.Actor, text, w.Now(), Note{Step: step, Approval: &a})); err != nil {
		return Change{}, fmt.Errorf("nothing was changed, as it could not be recorded: %w", err)
	}
	back, err := w.Cluster.Rollback(ctx, done, o)
	if err != nil {
		return back, w.and(err, w.tell(context.WithoutCancel(ctx), w.Plan.event(incident.Noted, w.Actor, fmt.Sprintf("Step %d was not taken back: %v", step, err), w.Now(), Note{Step: step})))
	}
	e := w.Plan.event(incident.RolledBack, w.Actor, "Taken back: "+s.What, w.Now(), Note{Step: step, Change: &back})
	if back.Want != nil && back.Want.Limit > 0 {
		e.Limit = &incident.Limit{Scope: "container", Bytes: back.Want.Limit}
	}
	return back, w.tell(context.WithoutCancel(ctx), e)
}

// Made is what became of one step.
type Made struct {
	Step     int      `json:"step"`
	Approval Approval `json:"approval"`
	Change   Change   `json:"change"`
	// Reading and Verdict are the newest, nil where there is none.
	Reading *Reading `json:"reading,omitempty"`
	Verdict *Verdict `json:"verdict,omitempty"`
	// Back is set when it was taken back.
	Back *Change `json:"back,omitempty"`
}

// History is what became of a plan, as events tell it.
type History struct {
	Plan *Plan `json:"plan"`
	// Made are the steps that were made, in that order. One that was made again is there again.
	Made []Made `json:"made"`
}

// Recall makes the history of a plan from events, those of other plans among them.
func Recall(events []incident.Event, plan string) (h History, err error) {
	approved := map[int]Approval{}
	for _, e := range events {
		var n Note
		if json.Unmarshal(e.Data, &n) != nil || n.Plan != plan {
			continue
		}
		if n.Whole != nil {
			h.Plan = n.Whole
		}
		if n.Approval != nil {
			approved[n.Step] = *n.Approval
		}
		if e.Kind == incident.Remedied && n.Change != nil {
			h.Made = append(h.Made, Made{Step: n.Step, Approval: approved[n.Step], Change: *n.Change})
			continue
		}
		m := h.Last(n.Step)
		switch {
		case m == nil:
		case e.Kind == incident.RolledBack:
			m.Back = n.Change
		case n.Reading != nil:
			m.Reading = n.Reading
		case n.Verdict != nil:
			m.Verdict = n.Verdict
		}
	}
	if h.Plan == nil {
		return h, fmt.Errorf("the record has no plan %.40q of which a step was approved", plan)
	}
	return h, h.Plan.Check()
}

// Last is the newest that was made of a step, 0 for any; nil is none.
func (h *History) Last(step int) *Made {
	for i := len(h.Made) - 1; i >= 0; i-- {
		if step == 0 || h.Made[i].Step == step {
			return &h.Made[i]
		}
	}
	return nil
}
