package explain

import "time"

const (
	// nearShare is the share of the limit at which there is little room, and tightShare that at which it takes nothing much to be killed.
	nearShare, tightShare = 0.9, 0.8
	// roomShare is the share of the limit up to which a median leaves enough room.
	roomShare = 0.7
	// oftenNear is the share of the time for which a need near the limit is no exception.
	oftenNear = 0.2
	// startShare is the first part of a life in which a start is.
	startShare = 0.4
	// startFalls is the share of the scale by which the need falls after a start that needed more.
	startFalls = 0.15
	// soon is how long after its start a program is killed that never got through it.
	soon = 2 * time.Minute
)

// nearLimit reports whether it ever came near its limit.
func (v *view) nearLimit() bool { return v.limit > 0 && v.most >= nearShare*v.limit }

// tooLow claims that a steady need leaves no room below the limit.
func (v *view) tooLow() *claim {
	lives := v.shaped()
	if v.limit == 0 || len(lives) == 0 {
		return nil
	}
	c := newClaim(LimitTooLow, "What it needs all the time leaves no room below the limit.")
	longest := lives[0]
	for _, l := range lives {
		if l.span() > longest.span() {
			longest = l
		}
	}
	need := values(longest.points(needed))
	median := quantile(need, 0.5)
	near := 0
	for _, n := range need {
		if n >= nearShare*v.limit {
			near++
		}
	}
	often := float64(near) / float64(len(need))
	what := longest.fact("It needed %s in the median, %s of the limit of %s.", size(median), percent(median/v.limit), size(v.limit))
	switch {
	case median >= tightShare*v.limit:
		c.pro(sign, what)
	case median < roomShare*v.limit:
		c.con(sign+hint, what)
	}
	switch {
	case often >= oftenNear:
		c.pro(sign, longest.fact("For %s of the time it was above %s of the limit.", percent(often), percent(nearShare)))
	case often > 0 && median >= tightShare*v.limit:
		c.pro(hint, longest.fact("At times, which are %s of all, it was above %s of the limit.", percent(often), percent(nearShare)))
	}
	if g, ok := grown(longest.points(needed)); ok && g.endless(v.scale) {
		c.con(sign, longest.fact("It was not steady: it grew by %s.", size(g.gained)))
	} else if v.squeezed() == longest {
		c.con(sign, longest.fact("It was not steady: it rose by %s at the cost of the page cache.", size(g.rose)))
	} else if ok && median >= tightShare*v.limit {
		c.pro(hint, longest.fact("It was steady: it changed by %s in %s.", size(g.gained), lasting(g.span)))
	}
	if len(v.own) > 0 && median >= tightShare*v.limit {
		c.pro(hint, killFact(&v.own[len(v.own)-1], "It was killed by this limit %d times.", len(v.own)))
	}
	return c
}

// startUp claims that it needs more while it starts than afterwards.
func (v *view) startUp() *claim {
	c := newClaim(StartUp, "It needs more while it starts than afterwards.")
	peaked, flat, longest := 0, 0, 0.0 // longest is the age at which such a peak was, in seconds
	var example *life
	for _, l := range v.shaped() {
		if l.began.IsZero() || l.samples[0].Time.Sub(l.began).Seconds() > l.span()/2 {
			continue // its start was not seen
		}
		if at, ok := l.startPeak(v.scale); ok {
			peaked++
			longest, example = max(longest, at), l
		} else if l.kill == nil || l.ended().Sub(l.began) > soon {
			flat++
		}
	}
	early, late := 0, 0
	for i := range v.lives {
		if l := &v.lives[i]; l.kill != nil && !l.began.IsZero() {
			if age := l.kill.Time.Sub(l.began).Seconds(); age <= max(soon.Seconds(), 1.5*longest) && (peaked == 0 || age <= 1.5*longest+suddenSeconds) {
				early++
			} else {
				late++
			}
		}
	}
	if peaked > 0 {
		c.pro(sign+hint, example.fact("In %d of %d lives it needed most within %s of its start, and at least %s less afterwards.", peaked, peaked+flat, lasting(longest), size(startFalls*v.scale)))
	}
	if flat > peaked {
		c.con(sign, fact("In %d lives it needed no more at the start than later.", flat))
	}
	switch {
	case late > early:
		c.con(sign, fact("%d of %d kills came later than that.", late, early+late))
	case early > 0 && peaked > 0:
		c.pro(sign, fact("%d of %d kills came then.", early, early+late))
	case early > 2:
		c.pro(hint, fact("It was killed within %s of each of %d starts, and was never seen to get through one.", soon, early))
	}
	if len(c.forIt) == 0 {
		return nil
	}
	return c
}

// startPeak reports whether a life needed most at its start, and at which age in seconds.
func (l *life) startPeak(scale float64) (age float64, ok bool) {
	need := l.points(needed)
	top := 0
	for i, p := range need {
		if p.value > need[top].value {
			top = i
		}
	}
	first, last := need[0].at, need[len(need)-1].at
	if need[top].at > first+startShare*(last-first) {
		return 0, false
	}
	after := need[upTo(need, first+(last-first)/2):]
	if len(after) < fewest/3 || need[top].value-quantile(values(after), highQuantile) < startFalls*scale {
		return 0, false
	}
	return l.samples[0].Time.Sub(l.began).Seconds() + need[top].at - first, true
}
