package cli

import (
	"fmt"
	"strings"
	"time"

	"stella/internal/gate"
)

// starvesAfter is how long a node may wait for its reboot before somebody has to look; KuredRebootBacklog has the same.
const starvesAfter = 24 * time.Hour

// gateState is what can be said of a node's gate from here.
type gateState string

const (
	gateOpen gateState = "open"
	gateShut gateState = "shut"
	// gateStale is that the node wants a reboot, and the gate has not looked for two periods: it hangs, or is no more.
	gateStale gateState = "stale"
	// gateIdle is that the node wants no reboot.
	gateIdle gateState = "idle"
	// gateUnknown is that there is no verdict, or none that can be read.
	gateUnknown gateState = "unknown"
)

// gateLine is a node, and what its gate found. Times in it are by the node's clock.
type gateLine struct {
	Node  string    `json:"node"`
	State gateState `json:"state"`
	// Starving is that it waits for longer than a day.
	Starving bool          `json:"starving"`
	Verdict  *gate.Verdict `json:"verdict"`
	// Problem is why the state is not known, where there is more to say than that there never was a verdict.
	Problem string `json:"problem,omitempty"`
}

// gateLineOf reads what the gate wrote to a node.
func gateLineOf(n *gateObject, now time.Time) gateLine {
	line := gateLine{Node: n.Metadata.Name, State: gateUnknown}
	text, ok := n.Metadata.Annotations[gate.VerdictAnnotation]
	if !ok {
		return line
	}
	v, err := gate.ReadVerdict(text)
	switch {
	case err != nil:
		line.Problem = err.Error()
		return line
	case v.Node != line.Node:
		line.Problem = fmt.Sprintf("the annotation %s is about another node, %q", gate.VerdictAnnotation, v.Node)
		return line
	}
	line.Verdict = v
	switch {
	case v.Pending.IsZero():
		line.State = gateIdle
		for _, r := range v.Results {
			if r.Check == gate.RawFile && r.Outcome != gate.Pass {
				line.State, line.Problem = gateUnknown, "whether it wants a reboot cannot be told: "+r.Detail
			}
		}
		return line
	case v.Stale(now):
		line.State = gateStale
	case v.Open:
		line.State = gateOpen
	default:
		line.State = gateShut
	}
	line.Starving = now.Sub(v.Pending) > starvesAfter
	return line
}

// matters reports whether a node wants a reboot, as far as that can be told, or would not get one if it did: its gate found something wrong with how
// it is installed.
func (l *gateLine) matters() bool {
	switch l.State {
	case gateUnknown:
		return l.Problem != ""
	case gateIdle:
		return len(l.Verdict.Blocking()) > 0
	}
	return true
}

// blocked says in a few words what keeps the gate shut, since when, and until when at most where all of it ends by itself.
func (l *gateLine) blocked() (by string, since, until time.Time) {
	if l.Problem != "" {
		return l.Problem, since, until
	}
	if l.Verdict == nil {
		return "", since, until
	}
	var words []string
	results := l.Verdict.Blocking()
	ends := true
	for _, r := range results {
		words = append(words, reasonText(&r))
		if since.IsZero() || r.Since.Before(since) {
			since = r.Since
		}
		if ends = ends && !r.Until.IsZero(); r.Until.After(until) {
			until = r.Until
		}
	}
	if !ends {
		until = time.Time{}
	}
	return strings.Join(words, ", "), since, until
}

// reasonText is the check and why it does not pass.
func reasonText(r *gate.Result) string {
	text := r.Check + ": " + r.Reason
	if r.Outcome != gate.Block {
		text += "?" // it could not tell
	}
	return text
}

// holdText is a hold in a sentence.
func holdText(h *gate.Hold) string {
	until := "until it is released"
	if !h.Until.IsZero() {
		until = "until " + timeText(h.Until)
	}
	return fmt.Sprintf("%s, by %s since %s, %s", h.Reason, h.By, timeText(h.Since), until)
}

// holdPlace is what is held: a node, or for the name "" all of them.
func holdPlace(node string) string {
	if node == "" {
		return "all nodes"
	}
	return "node " + node
}
