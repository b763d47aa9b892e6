package window

import (
	"fmt"
	"strings"
	"time"
)

const (
	day = 24 * time.Hour
	// form is how a window is written, for errors.
	form = `write it as DAYS START-END ZONE, such as "Mo-Fr 02:00-05:00 Europe/Berlin", "Sa,Su 22:00-04:00" or "0:00-24:00"`
	// maxText bounds the text of a window, in bytes. One that names each day has about 60.
	maxText = 256
)

// Parse reads a window. An error says what is wrong, and how a window is written.
func Parse(text string) (Window, error) {
	w, err := parse(text)
	if err != nil {
		return Window{}, fmt.Errorf("window %.256q: %w; %s", text, err, form)
	}
	return w, nil
}

func parse(text string) (Window, error) {
	if len(text) > maxText {
		return Window{}, fmt.Errorf("it has %d bytes, and may have %d", len(text), maxText)
	}
	days, times, zone, err := split(text)
	if err != nil {
		return Window{}, err
	}
	w := Window{text: text}
	if w.days, err = parseDays(days); err != nil {
		return Window{}, err
	}
	first, last, ok := strings.Cut(times, "-")
	if !ok {
		return Window{}, fmt.Errorf("%q has no START-END", times)
	}
	if w.start, err = parseTime(first); err != nil {
		return Window{}, err
	}
	if w.end, err = parseTime(last); err != nil {
		return Window{}, err
	}
	if w.start == day || w.start == w.end {
		return Window{}, fmt.Errorf("%q is no time at all; a whole day is 0:00-24:00", times)
	}
	if w.zone, err = parseZone(zone); err != nil {
		return Window{}, err
	}
	return w, nil
}

// split finds the parts of a window. No zone's name begins with a digit, and all times do.
func split(text string) (days, times, zone string, err error) {
	const every, utc = "su-sa", "UTC"
	parts := strings.Fields(text)
	switch {
	case len(parts) == 1:
		return every, parts[0], utc, nil
	case len(parts) == 2 && parts[1][0] >= '0' && parts[1][0] <= '9':
		return parts[0], parts[1], utc, nil
	case len(parts) == 2:
		return every, parts[0], parts[1], nil
	case len(parts) == 3:
		return parts[0], parts[1], parts[2], nil
	}
	return "", "", "", fmt.Errorf("it has %d parts", len(parts))
}

// parseDays reads days and ranges of them: Mo,We,Fr-Su.
func parseDays(text string) (days [7]bool, err error) {
	for part := range strings.SplitSeq(text, ",") {
		first, last, ok := strings.Cut(part, "-")
		if !ok {
			last = first
		}
		from, err := parseDay(first)
		if err != nil {
			return days, err
		}
		to, err := parseDay(last)
		if err != nil {
			return days, err
		}
		for ; from != to; from = (from + 1) % 7 {
			days[from] = true
		}
		days[to] = true
	}
	return days, nil
}

// parseDay reads a day as kured does: Su, Sun or Sunday in any case, or a number from 0, which is Sunday.
func parseDay(text string) (time.Weekday, error) {
	text = strings.ToLower(text)
	for d := time.Sunday; d <= time.Saturday; d++ {
		switch name := strings.ToLower(d.String()); text {
		case name, name[:3], name[:2], string(rune('0' + d)):
			return d, nil
		}
	}
	return 0, fmt.Errorf("%q is no day of the week", text)
}

// parseTime reads a time of day in one of the forms that kured takes, or 24:00.
func parseTime(text string) (time.Duration, error) {
	if text == "24:00" {
		return day, nil
	}
	for _, layout := range []string{"15:04", "15:04:05", "15", "3:04pm", "3pm"} {
		if t, err := time.Parse(layout, strings.ToLower(text)); err == nil && t.Nanosecond() == 0 {
			return timeOfDay(t), nil
		}
	}
	return 0, fmt.Errorf("%q is no time of day, such as 2:00, 02:00:30, 2 or 2am", text)
}

// parseZone finds a time zone by its name. Local is none: a container's is whatever its image has.
func parseZone(name string) (*time.Location, error) {
	if name == "Local" {
		return nil, fmt.Errorf("%q is no place that is the same everywhere", name)
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("the time zone: %w", err)
	}
	return zone, nil
}
