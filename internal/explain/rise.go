package explain

import "slices"

const (
	// suddenSeconds is how long a rise may take that is at once: a minute, in which nobody acts on an alert; suddenShare is the share of the life that it may
	// take, as in a life of a minute all is within a minute; and suddenGaps is for samples that are far apart, in times between two of them.
	suddenSeconds, suddenShare, suddenGaps = 60.0, 0.15, 3
	// muchRise is the share of the scale that a rise has at least. Less is what memory differs by anyhow.
	muchRise = 0.2
	// manifold is how many times of what it was something needs that has no limit, to be worth a word.
	manifold = 10.0
	// fewestBefore is how many points say what was before.
	fewestBefore = 3
	// aboveNoise is how many times the usual spread before it a rise has at least.
	aboveNoise = 2.0
	// foot is the share of the rise below which it has not begun, and head that above which it is over: what is there can stay for a while, until noise does the rest.
	foot, head = 0.15, 0.85
	// usualQuantile stands for what was usual before, in a life whose second half may be high.
	usualQuantile = 0.25
)

// rise is how the need came to its most.
type rise struct {
	base, peak float64 // the median before, and the most, in bytes
	spread     float64 // from the low to the high quantile of what was before
	took       float64 // seconds
	age        float64 // seconds that the life had been looked at before
	span, gap  float64 // of the life, and between two samples
	before     []point
}

// rises finds the last rise of a life: to the kill at its end, or to its most.
func rises(need []point) rise {
	top := len(need) - 1
	for i, p := range need {
		if p.value > need[top].value {
			top = i
		}
	}
	r := rise{peak: need[top].value, span: need[len(need)-1].at - need[0].at}
	r.gap = r.span / float64(max(len(need)-1, 1))
	r.base = quantile(values(need[:max(top, 1)]), usualQuantile)
	onset := 0
	for i, p := range need[:top] {
		if p.value <= r.base+foot*(r.peak-r.base) {
			onset = i
		}
	}
	r.before = need[:onset+1]
	r.base = quantile(values(r.before), 0.5)
	r.spread = quantile(values(r.before), highQuantile) - quantile(values(r.before), lowQuantile)
	end := onset
	for end < top && need[end].value < r.base+head*(r.peak-r.base) {
		end++
	}
	r.took, r.age = need[end].at-need[onset].at, need[onset].at-need[0].at
	return r
}

// large reports whether it is more than what was usual.
func (r *rise) large(scale float64) bool {
	return r.peak-r.base >= muchRise*scale && r.peak-r.base >= aboveNoise*r.spread && len(r.before) >= fewestBefore
}

// sudden reports whether it took but a moment.
func (r *rise) sudden() bool {
	return r.took <= max(min(suddenSeconds, suddenShare*r.span), suddenGaps*r.gap)
}

// pulses are the heights above base of the times at which the need rose and came back, as a piece of work makes it; and there are none where it spends as much time
// in between as at either end, as with the teeth of a garbage collector.
func pulses(before []point, base, least float64) []float64 {
	var out []float64
	for i := 0; i < len(before); i++ {
		end := i
		for end < len(before) && before[end].value >= base+least {
			end++
		}
		if end > i && end < len(before) && i > 0 { // it came back
			out = append(out, slices.Max(values(before[i:end]))-base)
		}
		i = end
	}
	if len(out) == 0 {
		return nil
	}
	height := quantile(out, 0.5)
	between := 0
	for _, p := range before {
		if above := (p.value - base) / height; above > betweenLow && above < betweenHigh {
			between++
		}
	}
	if float64(between) > betweenShare*float64(len(before)) {
		return nil
	}
	return out
}

// betweenLow and betweenHigh are shares of the usual height: pieces of work differ by a factor of two, and are above. betweenShare is the share of the time
// in between; of teeth it is a quarter.
const betweenLow, betweenHigh, betweenShare = 0.25, 0.5, 0.12
