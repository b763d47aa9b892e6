package window

import (
	"context"
	"errors"
	"strings"
	"time"

	"stella/internal/gate"
)

// The reasons of the check.
const (
	// ReasonClosed is that it is not the time; Until is when it will be.
	ReasonClosed = "closed"
	// ReasonNoWindow is that there are no windows to look at.
	ReasonNoWindow = "no_window"
)

// Check passes while the time is in one of the windows. It asks no one, and of no window at all it cannot tell.
func Check(windows []Window) gate.Check {
	return gate.Check{Name: "window", Timeout: time.Second, Run: func(context.Context) gate.Result { return look(windows, time.Now()) }}
}

func look(windows []Window, now time.Time) gate.Result {
	if len(windows) == 0 {
		return gate.CannotTell(ReasonNoWindow, errors.New("there is no window"))
	}
	if w, ok := Open(windows, now); ok {
		return gate.Passed("it is %s, which is in the window %s", now.In(w.zone).Format(time.RFC3339), w)
	}
	names := make([]string, len(windows))
	for i, w := range windows {
		names[i] = w.String()
	}
	next := Next(windows, now)
	clears := "another window: none of these comes in the next two weeks"
	if !next.IsZero() {
		clears = "the next window, which opens at " + next.In(windows[0].zone).Format(time.RFC3339)
	}
	r := gate.Blocked(ReasonClosed, clears, "it is %s, which is outside of %s", now.In(windows[0].zone).Format(time.RFC3339), strings.Join(names, "; "))
	r.Until = next
	return r
}
