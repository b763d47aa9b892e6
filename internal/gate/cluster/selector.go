package cluster

import (
	"fmt"
	"slices"

	"stella/internal/jsonstream"
)

// selector is a label selector as objects of the API have it. Without one (null) nothing is chosen, by an empty one everything:
// k8s.io/api/policy/v1, PodDisruptionBudgetSpec.
type selector struct {
	given        bool
	labels       map[string]string
	requirements []requirement
}

type requirement struct {
	key, operator string
	values        []string
}

// reader reads it, and refuses one that cannot be understood.
func (s *selector) reader() reader {
	inner := fields{"matchLabels": labels(&s.labels), "matchExpressions": list(func(d *jsonstream.Decoder) error {
		var r requirement
		err := fields{"key": text(&r.key), "operator": text(&r.operator), "values": texts(&r.values)}.read(d)
		if err == nil {
			err = r.check()
		}
		s.requirements = append(s.requirements, r)
		return err
	})}
	return func(d *jsonstream.Decoder) error {
		s.given = d.Kind() != jsonstream.Null
		return inner.read(d)
	}
}

// check says whether the server would take it.
func (r *requirement) check() error {
	var ok bool
	switch r.operator {
	case "In", "NotIn":
		ok = len(r.values) > 0
	case "Exists", "DoesNotExist":
		ok = len(r.values) == 0
	}
	if !ok || r.key == "" {
		return because(ReasonBadSelector, fmt.Errorf("the selector's requirement %.50q %.50q with %d values is none that is known", r.key, r.operator, len(r.values)))
	}
	return nil
}

// matches says whether it chooses what has these labels.
func (s *selector) matches(labels map[string]string) bool {
	if !s.given {
		return false
	}
	for key, want := range s.labels {
		if has, ok := labels[key]; !ok || has != want {
			return false
		}
	}
	return !slices.ContainsFunc(s.requirements, func(r requirement) bool { return !r.matches(labels) })
}

func (r *requirement) matches(labels map[string]string) bool {
	has, ok := labels[r.key]
	switch r.operator {
	case "In":
		return ok && slices.Contains(r.values, has)
	case "NotIn": // also what has no such label
		return !ok || !slices.Contains(r.values, has)
	case "Exists":
		return ok
	default: // DoesNotExist, after check
		return !ok
	}
}
