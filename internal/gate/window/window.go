// Package window says when a node may be rebooted: in hours of chosen days, by the clock on the wall of a place.
//
// Words: a [Window] is written as DAYS START-END ZONE, such as "Mo-Fr 02:00-05:00 Europe/Berlin". Days and zone may be left out, which
// is every day, and UTC. kured writes the same as four options (--reboot-days, --start-time, --end-time, --time-zone): what those take is taken here.
//
// A moment is in a window if a clock on that wall shows a time of it: the start is in it, the end no more. So where the hour is put forward, a
// window that begins in the hour that is left out begins after it, and one that lies in that hour does not come that day. Where it is put back,
// times that the wall shows twice are in it twice. A window over midnight ("Fr 22:00-04:00") belongs to the day on which it begins,
// and goes on into the next one.
//
// Hazards: what is asked is the clock of this node. A node whose clock is wrong has wrong windows. The zones
// are the machine's, or else those that the program has built in (time/tzdata): without either, only UTC is known.
package window

import (
	"slices"
	"time"
)

// Window is some hours of some days. Make one with [Parse].
type Window struct {
	text string
	days [7]bool // by time.Weekday
	// start and end are times of day as a wall clock shows them. An end that is before start is on the next day.
	start, end time.Duration
	zone       *time.Location
}

// String is the window as it was written.
func (w Window) String() string { return w.text }

// Contains reports whether a moment is in the window.
func (w Window) Contains(t time.Time) bool {
	t = t.In(w.zone)
	today, clock := t.Weekday(), timeOfDay(t)
	if w.start < w.end {
		return w.days[today] && w.start <= clock && clock < w.end
	}
	yesterday := (today + 6) % 7
	return w.days[today] && w.start <= clock || w.days[yesterday] && clock < w.end
}

func timeOfDay(t time.Time) time.Duration {
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute + time.Duration(t.Second())*time.Second + time.Duration(t.Nanosecond())
}

// searchDays is how far ahead an opening is looked for: over two weeks, since a change of the clocks can leave one out.
const searchDays = 16

// Next is the first moment after t at which the window opens. It is zero if there is none in the next two weeks.
func (w Window) Next(t time.Time) time.Time {
	var next time.Time
	for _, m := range w.openings(t) {
		if m.After(t) && w.Contains(m) && !w.Contains(m.Add(-1)) && (next.IsZero() || m.Before(next)) {
			next = m
		}
	}
	return next
}

// openings are all moments in the days after t at which the window can open, and some at which it does not: those at which a wall clock
// shows its start, and those at which that clock is put forward or back.
func (w Window) openings(t time.Time) []time.Time {
	var all []time.Time
	end := t.AddDate(0, 0, searchDays)
	offsets := []int{offset(t.In(w.zone))}
	for u := t.In(w.zone); u.Before(end); {
		_, change := u.ZoneBounds()
		if change.IsZero() || change.After(end) {
			break
		}
		all = append(all, change.UTC())
		offsets = append(offsets, offset(change))
		u = change
	}
	year, month, day := t.In(w.zone).Date()
	for i := -1; i <= searchDays; i++ {
		wall := time.Date(year, month, day+i, 0, 0, 0, 0, time.UTC).Add(w.start)
		for _, seconds := range offsets {
			all = append(all, wall.Add(-time.Duration(seconds)*time.Second))
		}
	}
	return all
}

func offset(t time.Time) int {
	_, seconds := t.Zone()
	return seconds
}

// Open is the first of the windows that a moment is in; false is that it is in none.
func Open(windows []Window, t time.Time) (Window, bool) {
	i := slices.IndexFunc(windows, func(w Window) bool { return w.Contains(t) })
	if i < 0 {
		return Window{}, false
	}
	return windows[i], true
}

// Next is the first moment after t at which one of the windows opens, zero if none does in the next two weeks.
func Next(windows []Window, t time.Time) time.Time {
	var next time.Time
	for _, w := range windows {
		if n := w.Next(t); !n.IsZero() && (next.IsZero() || n.Before(next)) {
			next = n
		}
	}
	return next
}
