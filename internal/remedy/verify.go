package remedy

import (
	"fmt"
	"math"
	"slices"
	"time"

	"stella/internal/oom"
	"stella/internal/trend"
)

// State is what is known of a question.
type State string

// The states of a check, and of all checks together.
const (
	Yes     State = "yes"
	No      State = "no"
	Unknown State = "unknown"
)

// Check is one question with its answer.
type Check struct {
	What  string `json:"what"`
	State State  `json:"state"`
	Text  string `json:"text"`
}

// all is what checks say together: no where one does, and yes only where all do.
func all(checks []Check) State {
	state := Yes
	for _, c := range checks {
		switch c.State {
		case No:
			return No
		case Unknown:
			state = Unknown
		}
	}
	if len(checks) == 0 {
		return Unknown
	}
	return state
}

// Criteria are what has to be true for a remedy to have held.
type Criteria struct {
	// Window is how long it has to be true.
	Window time.Duration `json:"window_ns"`
	// MaxShare is the share of the limit below which the working set has to be, for 99 % of the time.
	MaxShare float64 `json:"max_share"`
}

// DefaultShare leaves a fifth of the limit for what was not seen.
const DefaultShare = 0.8

const (
	// leastSamples are too few for a percentile or a trend; leastCover is the share of the window that they have to be from.
	leastSamples, leastCover = 10, 0.8
	// growthChance is how unlikely growth has to be by chance, and growthShare how much of the limit it has to be in the window: any program's memory moves by some.
	growthChance, growthShare = 0.001, 0.05
	// trendPoints bounds the points that a slope is fitted through, which takes the square of them.
	trendPoints = 120
)

// Series are the samples of one container.
type Series struct {
	Name    string
	Samples []oom.Sample
}

// Readiness is what the API said of one pod at one time.
type Readiness struct {
	Time  time.Time
	Pod   string
	Ready bool
	// Since is when that last changed.
	Since time.Time
	// Restarts are those of its containers so far.
	Restarts int
}

// Observed is what was seen after a remedy.
type Observed struct {
	Series []Series
	// Kills are those in the workload.
	Kills []oom.Kill
	// KillsKnown says that somebody was there to tell of kills.
	KillsKnown bool
	Ready      []Readiness
	// InForce is what the reading of the change said. One that is not in force has helped nobody.
	InForce State
	// Since is when the remedy was in force, and Until when the last look was.
	Since, Until time.Time
}

// Outcome is a verdict.
type Outcome string

// The outcomes.
const (
	Held       Outcome = "held"
	DidNotHold Outcome = "did_not_hold"
	CannotTell Outcome = "cannot_tell"
)

// Verdict says whether a remedy held, by which criteria, and how each was met.
type Verdict struct {
	Outcome  Outcome   `json:"outcome"`
	Criteria Criteria  `json:"criteria"`
	Checks   []Check   `json:"checks"`
	Since    time.Time `json:"since"`
	Until    time.Time `json:"until"`
}

// Verify says whether a remedy held. What failed once did not hold; before the end of the window, nothing has held yet.
func Verify(c Criteria, o Observed) Verdict {
	end := o.Since.Add(c.Window)
	until := o.Until
	if until.After(end) {
		until = end
	}
	v := Verdict{Criteria: c, Since: o.Since, Until: until}
	in := func(t time.Time) bool { return !t.Before(o.Since) && !t.After(until) }
	v.Checks = append(v.Checks, force(o.InForce), killed(o, in))
	for _, s := range o.Series {
		samples := slices.DeleteFunc(slices.Clone(s.Samples), func(s oom.Sample) bool { return !in(s.Time) })
		slices.SortFunc(samples, func(a, b oom.Sample) int { return a.Time.Compare(b.Time) })
		v.Checks = append(v.Checks, c.below(s.Name, samples, o.Since), c.steady(s.Name, samples, o.Since))
	}
	if len(o.Series) == 0 {
		v.Checks = append(v.Checks, Check{"memory", Unknown, "There are no samples of any of its containers: is an agent on their node?"})
	}
	v.Checks = append(v.Checks, ready(o, until), over(c, until, end))
	switch all(v.Checks) {
	case Yes:
		v.Outcome = Held
	case No:
		v.Outcome = DidNotHold
	default:
		v.Outcome = CannotTell
	}
	return v
}

// force asks whether the change is in force at all.
func force(state State) Check {
	text := map[State]string{Yes: "It was read back: the change is in force.", No: "The change is not in force."}[state]
	if text == "" {
		state, text = Unknown, "Whether the change is in force could not be told."
	}
	return Check{"in force", state, text}
}

// over asks whether the window is over.
func over(c Criteria, until, end time.Time) Check {
	if until.Before(end) {
		return Check{"window", Unknown, fmt.Sprintf("The window of %v ends at %s.", c.Window, end.UTC().Format(time.RFC3339))}
	}
	return Check{"window", Yes, fmt.Sprintf("It was looked at for %v.", c.Window)}
}

// killed asks whether anything was killed.
func killed(o Observed, in func(time.Time) bool) Check {
	n, first := int64(0), oom.Kill{}
	for _, k := range o.Kills {
		if !in(k.Time) {
			continue
		}
		if n == 0 {
			first = k
		}
		n += max(k.Count, 1)
	}
	switch {
	case n > 0:
		return Check{"no new kill", No, fmt.Sprintf("%d processes were killed since; the first, %s of %q, at %s.", n, first.ID, first.Process.Comm, first.Time.UTC().Format(time.RFC3339))}
	case !o.KillsKnown:
		return Check{"no new kill", Unknown, "Nobody is there who would have told of kills: is an agent on the node?"}
	}
	return Check{"no new kill", Yes, "No process was killed since."}
}

// enough says why samples are too few to judge by; nil is that they are enough.
func (c Criteria) enough(what string, samples []oom.Sample, since time.Time) *Check {
	if len(samples) < leastSamples {
		return &Check{what, Unknown, fmt.Sprintf("There are %d samples; it takes %d.", len(samples), leastSamples)}
	}
	from, to := samples[0].Time, samples[len(samples)-1].Time
	if span := to.Sub(from); span < time.Duration(leastCover*float64(c.Window)) {
		return &Check{what, Unknown, fmt.Sprintf("The samples are from %v of the window's %v, from %v after its begin on.", span.Round(time.Second), c.Window, from.Sub(since).Round(time.Second))}
	}
	return nil
}

// below asks whether there is room between what it needs and its limit.
func (c Criteria) below(name string, samples []oom.Sample, since time.Time) Check {
	what := "room below the limit: " + name
	if few := c.enough(what, samples, since); few != nil {
		return *few
	}
	var shares []float64
	for _, s := range samples {
		if s.Limit > 0 && s.WorkingSet >= 0 {
			shares = append(shares, float64(s.WorkingSet)/float64(s.Limit))
		}
	}
	if len(shares) < leastSamples {
		return Check{what, Unknown, "It has no limit, or its working set is not known."}
	}
	slices.Sort(shares)
	p99 := shares[int(math.Ceil(0.99*float64(len(shares))))-1]
	text := fmt.Sprintf("The working set was at %.0f %% of the limit or less for 99 %% of %d samples; it has to be below %.0f %%.", 100*p99, len(shares), 100*c.MaxShare)
	if p99 < c.MaxShare {
		return Check{what, Yes, text}
	}
	return Check{what, No, text}
}

// steady asks whether it still grows.
func (c Criteria) steady(name string, samples []oom.Sample, since time.Time) Check {
	what := "no growth: " + name
	if few := c.enough(what, samples, since); few != nil {
		return *few
	}
	x, y := windows(samples)
	last := samples[len(samples)-1]
	scale := float64(last.Limit)
	if last.Limit <= 0 {
		scale = math.Max(slices.Max(y), 1)
	}
	line, chance := trend.Fit(x, y), trend.Chance(y)
	grown := line.Slope * (x[len(x)-1] - x[0])
	half := len(x) / 2
	late := trend.Fit(x[half:], y[half:]).Slope
	text := fmt.Sprintf("By its trend it grew by %s in %v, %.1f %% of the limit (p = %.2g).", signed(grown), last.Time.Sub(samples[0].Time).Round(time.Second), 100*grown/scale, chance)
	if chance < growthChance && grown >= growthShare*scale && late >= line.Slope/2 {
		return Check{what, No, text + " It has not come to rest."}
	}
	return Check{what, Yes, text}
}

// windows are times in seconds and the least working set around each, which the teeth of a garbage collector are above.
func windows(samples []oom.Sample) (x, y []float64) {
	size := (len(samples) + trendPoints - 1) / trendPoints
	for part := range slices.Chunk(samples, size) {
		least := part[0].WorkingSet
		for _, s := range part {
			least = min(least, s.WorkingSet)
		}
		x = append(x, part[0].Time.Sub(samples[0].Time).Seconds())
		y = append(y, float64(least))
	}
	return x, y
}

func signed(bytes float64) string {
	if bytes < 0 {
		return "-" + amount(int64(-bytes))
	}
	return amount(int64(bytes))
}

// ready asks whether the pods were ready all the time, and not started anew. A look after the window tells of it, too, where nothing changed since.
func ready(o Observed, until time.Time) Check {
	const what = "readiness"
	first := map[string]Readiness{}
	unclear := ""
	for _, r := range o.Ready {
		before, seen := first[r.Pod]
		late := r.Time.After(until)
		switch {
		case r.Time.Before(o.Since):
			continue
		case r.Since.After(o.Since.Add(time.Second)) && !r.Since.After(until): // the API has whole seconds
			return Check{what, No, fmt.Sprintf("Whether pod %s was ready changed at %s, after the change was in force.", r.Pod, r.Since.UTC().Format(time.RFC3339))}
		case !late && !r.Ready:
			return Check{what, No, fmt.Sprintf("Pod %s was not ready at %s.", r.Pod, r.Time.UTC().Format(time.RFC3339))}
		case !late && seen && r.Restarts > before.Restarts:
			return Check{what, No, fmt.Sprintf("Pod %s was started anew %d times since.", r.Pod, r.Restarts-before.Restarts)}
		case late && (!r.Ready || r.Since.After(until)):
			unclear = fmt.Sprintf("Whether pod %s was ready changed after the window; nobody looked before.", r.Pod)
		}
		if !seen {
			first[r.Pod] = r
		}
	}
	switch {
	case len(first) == 0:
		return Check{what, Unknown, "The API did not tell whether the pods are ready."}
	case unclear != "":
		return Check{what, Unknown, unclear}
	}
	return Check{what, Yes, fmt.Sprintf("At each look %d pods were ready, and none was started anew.", len(first))}
}
