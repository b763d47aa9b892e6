package explain

import "time"

const (
	// WarnEvery is how often it is asked again what is coming, to warn in time: a warning takes two answers.
	WarnEvery = 15 * time.Second
	// warnAhead is the time to the limit from which on a warning is given: what is farther away can wait, and often does not come.
	warnAhead = 10 * time.Minute
	// warnInARow is how many forecasts, one after the other, make a warning: a morning or a warm-up looks like growth for a moment.
	warnInARow = 2
	// wayThere is the part of the way to the limit that has to be behind it, in memory and in time: most of what grows comes to rest before.
	wayThere = 0.6
	// hardlySlower is the least slope of the second half, in that of the whole. What slows down is about to come to rest, and gets a forecast, but no warning.
	hardlySlower = 0.8
)

// Ahead is the forecast of [Explain] alone, for who asks often: nil is that there is none.
func Ahead(in Input) *Forecast { return look(in).forecast() }

// due reports whether growth is near enough to its limit, and sure enough to reach it, for a warning.
func (v *view) due(f *Forecast, g *growth, need []point) bool {
	seen, left := g.span, f.At.Sub(v.zero).Seconds()-need[len(need)-1].at
	highest := quantile(values(need[len(need)*9/10:]), 1)
	return seen >= wayThere*(seen+left) && highest >= wayThere*v.limit && g.goesOn >= hardlySlower
}

// Warner says which of the forecasts of one container, made [WarnEvery] one after the other, are a warning. Its zero value is ready.
type Warner struct{ row int }

// Warns takes in the next forecast, nil for none, and reports whether to warn.
func (w *Warner) Warns(f *Forecast) bool {
	if f == nil || !f.Due {
		w.row = 0
		return false
	}
	w.row = min(w.row+1, warnInARow)
	return w.row == warnInARow
}
