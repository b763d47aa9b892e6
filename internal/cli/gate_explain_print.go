package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"stella/internal/gate"
)

// kuredHesitates is how long kured may leave a node for which the gate is open: twice the hour after which it looks again,
// unless its own --period is longer. KuredHeldByKured has the same.
const kuredHesitates = 2 * time.Hour

// next says what comes next, and what somebody has to do for that.
func (e *gateExplained) next(now time.Time, namespace string) string {
	v := e.Verdict
	pods := fmt.Sprintf("kubectl -n %s get pods -o wide --field-selector spec.nodeName=%s", namespace, e.Node)
	switch e.State {
	case gateIdle:
		if len(v.Blocking()) > 0 {
			return "nothing; but when the system wants a reboot, the gate stays shut as long as what follows is so"
		}
		return "nothing: when the system wants a reboot, the gate begins to look"
	case gateUnknown:
		if v != nil {
			return "nothing, until the gate can see whether a reboot is wanted; see: " + pods
		}
		return "this cannot be told: there is no verdict, so no gate runs on the node, or no reboot was wanted since; see: " + pods
	case gateStale:
		return fmt.Sprintf("nothing, until a gate looks again: the gated file goes away after one and a half periods, so kured does not reboot the node; see: %s", pods)
	case gateOpen:
		text := "kured finds the gated file when it looks next, after its own --period (1h unless it says otherwise), and reboots when its own window, alerts and lock allow it"
		if now.Sub(v.Since) > kuredHesitates {
			text += "; it should have by now: read its log on this node"
		}
		return text
	}
	text := fmt.Sprintf("when all checks pass, the gated file is made within %s, and kured finds it when it looks next", spanText(e.Verdict.Period))
	if _, _, until := e.blocked(); until.After(now) {
		text += ", not before " + timeText(until)
	}
	return text
}

// gateExplanation writes it for people. What checks found comes from the cluster, and is hostile.
type gateExplanation struct {
	*gateExplained
	now time.Time
}

func (e *gateExplanation) write(w io.Writer) error {
	v := e.Verdict
	f := newFields(w)
	f.line("Node", e.Node)
	f.line("Wants a reboot", e.wants())
	f.line("Gate", e.gateText())
	if v != nil {
		f.line("Last look", momentText(v.Time, e.now))
	}
	if e.Hold != nil {
		f.line("Held", e.holdText(e.Hold))
	}
	if e.HoldAll != nil {
		f.line("All nodes held", e.holdText(e.HoldAll))
	}
	f.line("Next", e.Next)
	if err := f.flush(); err != nil {
		return err
	}
	if v != nil {
		e.results(w, v)
	}
	e.told(w)
	return nil
}

func (e *gateExplanation) wants() string {
	switch {
	case e.State == gateUnknown:
		return "not known"
	case e.State == gateIdle:
		return "no"
	case e.Starving:
		return "since " + momentText(e.Verdict.Pending, e.now) + ": it starves, for that is longer than " + spanText(starvesAfter)
	}
	return "since " + momentText(e.Verdict.Pending, e.now)
}

func (e *gateExplanation) gateText() string {
	switch {
	case e.Problem != "":
		return "not known: " + e.Problem
	case e.State == gateUnknown:
		return "not known: the node has no verdict"
	case e.State == gateIdle:
		return "not needed"
	case e.State == gateStale:
		return fmt.Sprintf("stale: it has not looked for longer than %s, and what follows is from then", spanText(2*e.Verdict.Period))
	}
	return fmt.Sprintf("%s since %s", e.State, momentText(e.Verdict.Since, e.now))
}

func (e *gateExplanation) holdText(h *gate.Hold) string {
	text := holdText(h)
	if !h.Until.IsZero() && !h.Until.After(e.now) {
		text += ", which is over"
	}
	return text
}

// results writes what blocks at length, and what passes in a line each.
func (e *gateExplanation) results(w io.Writer, v *gate.Verdict) {
	if blocking := v.Blocking(); len(blocking) > 0 {
		fmt.Fprintln(w, "\nBlocked by:")
		for i := range blocking {
			e.blocking(w, &blocking[i])
		}
	}
	if len(v.Results) == len(v.Blocking()) {
		return
	}
	fmt.Fprintln(w, "\nPassing:")
	t := newTable(w)
	for _, r := range v.Results {
		if r.Outcome == gate.Pass {
			fmt.Fprintf(t, "  %s\t%s\n", oneLine(r.Check), oneLine(r.Detail))
		}
	}
	t.Flush()
}

func (e *gateExplanation) blocking(w io.Writer, r *gate.Result) {
	line := func(indent int, text string) { fmt.Fprintf(w, "%s%s\n", strings.Repeat(" ", indent), oneLine(text)) }
	how := ""
	if r.Outcome != gate.Block {
		how = ", which is that it could not tell"
	}
	line(2, fmt.Sprintf("%s: %s%s, since %s", r.Check, r.Reason, how, momentText(r.Since, e.now)))
	line(4, r.Detail)
	for _, b := range r.Blockers {
		line(4, "- "+b)
	}
	if !r.Until.IsZero() {
		line(4, "ends by itself: "+timeText(r.Until))
	}
	if r.Clears != "" {
		line(4, "clears: "+r.Clears)
	}
}

// told writes what the gate told last.
func (e *gateExplanation) told(w io.Writer) {
	if len(e.Events) == 0 {
		return
	}
	fmt.Fprintln(w, "\nLast events:")
	t := newTable(w)
	for _, event := range e.Events {
		times := ""
		if event.Count > 1 {
			times = fmt.Sprintf(" (%d times)", event.Count)
		}
		fmt.Fprintf(t, "  %s ago\t%s\t%s%s\n", since(e.now, event.Time), oneLine(event.Reason), oneLine(event.Message), times)
	}
	t.Flush()
}
