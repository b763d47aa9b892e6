package cluster

import (
	"time"

	"stella/internal/gate"
	"stella/internal/jsonstream"
)

// node is what the checks read of a node.
type node struct {
	name       string
	own        bool
	created    time.Time
	labels     map[string]string
	hold, boot *string // annotations
	cordoned   bool
	ready      readiness
	bootID     string
}

// UnmarshalJSON reads it.
func (n *node) UnmarshalJSON(b []byte) error {
	return decode(b, fields{
		"metadata": fields{
			"name": text(&n.name), "creationTimestamp": moment(&n.created), "labels": labels(&n.labels),
			"annotations": fields{gate.HoldAnnotation: textIfAny(&n.hold), BootAnnotation: textIfAny(&n.boot)}.read,
		}.read,
		"spec": fields{"unschedulable": flag(&n.cordoned)}.read,
		"status": fields{
			"conditions": conditions(&n.ready),
			"nodeInfo":   fields{"bootID": text(&n.bootID)}.read,
		}.read,
	})
}

// readiness is what the condition Ready of a node or pod says.
type readiness struct {
	said            bool
	status, message string
	since           time.Time
}

func (r *readiness) ok() bool { return r.said && r.status == "True" }

// why says it to people where it is not ok.
func (r *readiness) why() string {
	if !r.said {
		return "nothing says whether it is Ready"
	}
	s := "Ready is " + r.status
	if !r.since.IsZero() {
		s += " since " + r.since.UTC().Format(time.RFC3339)
	}
	if r.message != "" {
		s += ", " + r.message
	}
	return s
}

// conditions reads Ready from a list of conditions. Of two, one that is not true counts.
func conditions(to *readiness) reader {
	return list(func(d *jsonstream.Decoder) error {
		var kind string
		c := readiness{said: true}
		err := fields{"type": text(&kind), "status": text(&c.status), "reason": text(&c.message), "lastTransitionTime": moment(&c.since)}.read(d)
		if kind == "Ready" && (!to.said || !c.ok()) {
			*to = c
		}
		return err
	})
}

// pod is what the checks read of a pod.
type pod struct {
	namespace, name string
	labels          map[string]string
	phase           string
	ready           readiness
	deleted, mirror bool
	owner           string // the kind of its controller
}

// UnmarshalJSON reads it.
func (p *pod) UnmarshalJSON(b []byte) error {
	return decode(b, fields{
		"metadata": fields{
			"namespace": text(&p.namespace), "name": text(&p.name), "labels": labels(&p.labels), "deletionTimestamp": there(&p.deleted),
			"annotations":     fields{"kubernetes.io/config.mirror": there(&p.mirror)}.read,
			"ownerReferences": p.controller(),
		}.read,
		"status": fields{"phase": text(&p.phase), "conditions": conditions(&p.ready)}.read,
	})
}

// controller reads the kind of what made the pod and looks after it.
func (p *pod) controller() reader {
	return list(func(d *jsonstream.Decoder) error {
		var kind string
		var controls bool
		err := fields{"kind": text(&kind), "controller": flag(&controls)}.read(d)
		if controls {
			p.owner = kind
		}
		return err
	})
}

// ended says that the pod runs no more and never will again: what is left is its record.
func (p *pod) ended() bool { return p.phase == "Succeeded" || p.phase == "Failed" }
