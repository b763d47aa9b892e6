package analyze

import (
	"slices"
	"time"
)

// timeline finds findings by time, so that to look for those near a notice is not to look at all.
type timeline struct {
	dated   []*finding // in order
	undated []*finding
}

func newTimeline(findings []*finding) (t timeline) {
	for _, f := range findings {
		if f.Time.IsZero() {
			t.undated = append(t.undated, f)
		} else {
			t.dated = append(t.dated, f)
		}
	}
	slices.SortStableFunc(t.dated, func(x, y *finding) int { return x.Time.Compare(y.Time) })
	return t
}

// timely calls fn for the findings that a notice can be about for its time, until it returns false. One of the two may have no time.
func (t *timeline) timely(n *heard, fn func(*finding) bool) {
	first, last := n.span()
	dated := t.dated
	if !n.Time.IsZero() {
		dated = between(dated, first, last, func(f *finding) time.Time { return f.Time })
	}
	for _, list := range [][]*finding{t.undated, dated} {
		for _, f := range list {
			if !fn(f) {
				return
			}
		}
	}
}

// between are those from one time to another, of a list that is in the order of time.
func between[T any](list []T, first, last time.Time, at func(T) time.Time) []T {
	i, _ := slices.BinarySearchFunc(list, first, func(e T, t time.Time) int { return at(e).Compare(t) })
	j, _ := slices.BinarySearchFunc(list, last, func(e T, t time.Time) int {
		if at(e).After(t) {
			return 1
		}
		return -1
	})
	return list[i:j]
}

const (
	// near is the longest time between a kill and what a runtime or systemd says of it. containerd says it within
	// milliseconds; syslog rounds both to a second.
	near = 3 * time.Second
	// slow is that for the kubelet, which reports events in batches.
	slow = 10 * time.Second
)
