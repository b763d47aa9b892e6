package cluster

import (
	"context"
	"fmt"
	"time"

	"stella/internal/gate"
	"stella/internal/kube"
)

// lease is what is read of the Lease that all gates share.
type lease struct{ hold *string }

// UnmarshalJSON reads it.
func (l *lease) UnmarshalJSON(b []byte) error {
	return decode(b, fields{"metadata": fields{"annotations": fields{gate.HoldAnnotation: textIfAny(&l.hold)}.read}.read})
}

// Hold is the check that nobody holds the own node, or, by the Lease in the namespace of the gates, all nodes. A hold ends by the API server's clock.
func (l *Look) Hold(namespace string) gate.Check {
	return once("hold", func(ctx context.Context) gate.Result {
		if err := l.ask(ctx); err != nil {
			return cannotTell(err)
		}
		if r := held("the node", l.self.hold, l.moment); r.Outcome != gate.Pass {
			return r
		}
		q := kube.Query{Resource: kube.Leases, Namespace: namespace}
		all, m, err := kube.Do[lease](ctx, l.client, kube.Request{Method: "GET", Query: q, Name: gate.LeaseName})
		switch {
		case noSuch(err):
			return gate.Passed("nobody holds the node, and there is no Lease %s/%s to hold all nodes by", namespace, gate.LeaseName)
		case err != nil:
			return cannotTell(err)
		}
		return held("all nodes", all.hold, m)
	})
}

// held is what the text of a hold means for what it is on.
func held(on string, text *string, m kube.Moment) gate.Result {
	if text == nil {
		return gate.Passed("nobody holds the node or all nodes")
	}
	h, err := gate.ReadHold(*text)
	if err != nil {
		return cannotTell(because(ReasonUnreadable, fmt.Errorf("somebody holds %s, and the hold cannot be read: %w", on, err)))
	}
	now := time.Now()
	if !h.Until.IsZero() {
		if m.Server.IsZero() {
			return cannotTell(because(ReasonNoClock, fmt.Errorf("whether a hold has ended: %w", errNoClock)))
		}
		left := h.Until.Sub(m.Earliest(now))
		if left <= 0 {
			return gate.Passed("the hold of %s ended %s", on, h.Until.UTC().Format(time.RFC3339))
		}
		r := gate.Blocked(ReasonHeld, "stella gate release, or the end of the hold", "%s holds %s: %s", who(h), on, h.Reason)
		r.Until = now.Add(left)
		return r
	}
	return gate.Blocked(ReasonHeld, "stella gate release", "%s holds %s until it is released: %s", who(h), on, h.Reason)
}

func who(h gate.Hold) string {
	if h.By == "" {
		return "somebody"
	}
	return h.By
}
