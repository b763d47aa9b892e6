package remedy

import (
	"encoding/json"
	"fmt"
	"time"

	"stella/internal/explain"
	"stella/internal/incident"
)

// ForService plans for an incident of the scanner's workers or of commands in projects, whose limits are settings of this product's services. limit is what a person wants in
// bytes; 0 is half as much again as what fired.
func ForService(about *incident.Details, limit int64, now time.Time) Plan {
	p := &planner{finding: explain.Finding{Cause: explain.LimitTooLow, Summary: "A scan needs more memory than its worker may use."}}
	if about.Source == incident.SourceCommand {
		p.finding.Summary = "A command needs more memory than it was given."
	}
	p.plan = Plan{
		Made: now.UTC(), Incident: about.ID, Subject: about.Subject, Cause: p.finding.Cause, Confidence: about.Confidence, Summary: p.finding.Summary,
		Limit: about.Limit.Bytes, Steps: []Step{},
	}
	more := limit
	if more == 0 {
		more = int64(gain * float64(about.Limit.Bytes))
	}
	switch {
	case more == 0:
		p.note("The limit that fired is not known: say one with --limit.")
	case about.Source == incident.SourceCommand:
		p.add(Step{
			Kind: FindOut, Why: told(about), What: fmt.Sprintf("Run it with more: --memory %s at stella rdev run; or with less to do at once.", quantity(more)),
			Risk: Risk{Low, "Its whole limit is reserved before it starts, so that it may wait for room."},
		})
	default:
		p.worker(about, more)
	}
	p.plan.seal()
	return p.plan
}

// worker gives the workers of a pool another limit.
func (p *planner) worker(about *incident.Details, more int64) {
	set := func(bytes int64) string {
		return command("stella", "scanner", "config", "set", "worker.memory_limit", quantity(bytes))
	}
	pool := poolOf(about)
	if pool != "" && pool != "default" {
		set = func(bytes int64) string {
			return command("stella", "scanner", "workers", "add", "--pool", pool, "--memory", quantity(bytes))
		}
	}
	s := Step{
		Kind: Scanner, Why: told(about), What: fmt.Sprintf("Give workers %s in place of %s.", quantity(more), sizeOr(about.Limit.Bytes, "what they have")),
		Risk: Risk{Medium, "Fewer workers fit into the same memory; each is restarted when its scan ends."}, Commands: []string{set(more)},
	}
	if about.Limit.Bytes > 0 {
		s.Undo = set(about.Limit.Bytes)
	}
	p.add(s)
}

// poolOf is the pool of the worker that was killed last; empty is not known.
func poolOf(about *incident.Details) (pool string) {
	for _, e := range about.Timeline {
		var kill struct {
			Pool string `json:"pool"`
		}
		if e.Kind == incident.Killed && json.Unmarshal(e.Data, &kill) == nil && kill.Pool != "" {
			pool = kill.Pool
		}
	}
	return pool
}

// told is what the newest kill of an incident was told as.
func told(about *incident.Details) (text string) {
	text = about.Subject.Name + " was killed for want of memory."
	for _, e := range about.Timeline {
		if e.Kind == incident.Killed {
			text = e.Text
		}
	}
	return text
}
