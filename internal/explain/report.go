package explain

import (
	"cmp"
	"slices"
)

const (
	// mention is the least confidence of a cause that a report has.
	mention = 0.1
	// convinced is the least confidence of a cause that is told as one: more likely than not.
	convinced = 0.5
	// overlap is what a cause that says more takes from one that says less, where it is likely itself, and its odds are not below those by more than behind.
	overlap, behind = proof, sign + hint
)

// saysMore has for each cause those that it explains away: memory that has a better name, or a rise that has a reason.
var saysMore = []struct {
	cause Cause
	than  []Cause
}{
	{NodeFull, []Cause{Leak, Spike, LimitTooLow, StartUp, Children, PageCache, Tmpfs, KernelUse, Sockets, LargeInput, Gauged}},
	{AboveLimit, []Cause{Leak, Spike, LimitTooLow, StartUp, Children, PageCache, Tmpfs, KernelUse, Sockets, LargeInput, Gauged}},
	{Sockets, []Cause{KernelUse, Leak, Spike, LimitTooLow, StartUp, LargeInput, Gauged}},
	{Tmpfs, []Cause{Leak, Spike, LimitTooLow, StartUp, LargeInput, PageCache}},
	{KernelUse, []Cause{Leak, Spike, LimitTooLow, StartUp, LargeInput}},
	{PageCache, []Cause{Leak, Spike, LimitTooLow, StartUp, LargeInput}},
	{Gauged, []Cause{Leak, Spike, LargeInput, LimitTooLow}},
	{LargeInput, []Cause{Children, Spike, StartUp, LimitTooLow}},
	{Children, []Cause{Spike, StartUp, LimitTooLow, Leak}},
	{StartUp, []Cause{Spike, LimitTooLow, Leak}},
	{Leak, []Cause{Spike, LimitTooLow}},
	{NoOOM, []Cause{Healthy}},
}

// Explain says why a container ran, or will run, out of memory. It changes nothing of what it is given.
func Explain(in Input) Report {
	v := look(in)
	claims := v.claims()
	explainAway(claims)
	r := Report{Container: in.Container, Collect: v.missing(), Forecast: v.forecast(), Findings: findings(claims)}
	r.Heap = v.heap
	first := &r.Findings[0]
	if first.Cause != NoOOM && first.Cause != Healthy {
		r.Known = v.issue()
	}
	r.Limit = v.recommend(first.Cause)
	if first.Confidence >= surely && first.Cause != CannotTell {
		r.Collect = nil
	}
	return r
}

// surely is the confidence at which nothing more has to be collected.
const surely = 0.9

// claims are those of all causes that have anything to say.
func (v *view) claims() []*claim {
	all := []*claim{v.nodeFull(), v.aboveLimit(), v.noOOM(), v.healthy()}
	if v.troubled() {
		all = append(all, v.leak(), v.gauged(), v.spike(), v.largeInput(), v.tooLow(), v.startUp(), v.children(),
			v.part(PageCache, files, "The page cache is what fills it, and was not given back in time."),
			v.part(Tmpfs, shared, "Files in tmpfs, or shared memory, fill it."),
			v.part(KernelUse, kernels, "The kernel's own memory for it fills it."),
			v.part(Sockets, sockets, "Buffers of connections fill it."))
	}
	return slices.DeleteFunc(all, func(c *claim) bool { return c == nil })
}

// troubled reports whether there is anything to explain: kills, a need near the limit, or growth without an end.
func (v *view) troubled() bool {
	if len(v.kills) > 0 || v.nearLimit() || v.manifold() || v.squeezed() != nil {
		return true
	}
	l, _ := v.anyGrowth()
	return l != nil
}

// explainAway takes from the causes that say less, in the order of saysMore.
func explainAway(claims []*claim) {
	of := map[Cause]*claim{}
	for _, c := range claims {
		of[c.cause] = c
	}
	for _, s := range saysMore {
		c := of[s.cause]
		if c == nil || c.confidence() < convinced {
			continue
		}
		for _, than := range s.than {
			if less := of[than]; less != nil && less.odds <= c.odds+behind {
				less.con(overlap, fact("%s explains it better.", c.cause))
			}
		}
	}
}

// findings are the likely causes in order. What the first one leaves is shared by the others.
func findings(claims []*claim) []Finding {
	slices.SortFunc(claims, func(a, b *claim) int { return cmp.Or(-cmp.Compare(a.odds, b.odds), cmp.Compare(a.cause, b.cause)) })
	var out []Finding
	left, rest := 0.0, 0.0
	for i, c := range claims {
		f := Finding{Cause: c.cause, Confidence: c.confidence(), Summary: c.summary, For: c.forIt, Against: c.against, Gauge: c.gauge}
		if i == 0 {
			left = 1 - f.Confidence
		} else {
			rest += f.Confidence
		}
		out = append(out, f)
	}
	for i := range out {
		if i > 0 && rest > left {
			out[i].Confidence *= left / rest
		}
	}
	out = slices.DeleteFunc(out, func(f Finding) bool { return f.Confidence < mention || len(f.For) == 0 })
	if len(out) == 0 || out[0].Confidence < convinced {
		unknown := Finding{Cause: CannotTell, Confidence: 1, Summary: "What is known does not say.", For: []Evidence{fact("No cause is more likely than not.")}}
		if len(out) > 0 {
			unknown.Confidence = 1 - out[0].Confidence
		}
		out = slices.Insert(out, 0, unknown)
	}
	return out
}
