package cli

import (
	"fmt"
	"regexp"
	"strconv"
	"time"

	"stella/internal/scanner"
)

// span is a flag's value: a length of time above zero, such as 90s, 30m, 24h or 7d.
type span time.Duration

const day = 24 * time.Hour

// maxSpan is a hundred years: more is a slip of the finger.
const maxSpan = 100 * 365 * day

var daysFirst = regexp.MustCompile(`^(\d{1,6})d(.*)$`)

// String implements pflag.Value.
func (s *span) String() string {
	if *s == 0 {
		return ""
	}
	return spanText(time.Duration(*s))
}

// Set implements pflag.Value.
func (s *span) Set(text string) error {
	rest, sum := text, time.Duration(0)
	if m := daysFirst.FindStringSubmatch(text); m != nil {
		n, _ := strconv.Atoi(m[1]) // six digits
		rest, sum = m[2], time.Duration(min(n, 40_000))*day
	}
	if rest != "" || text == "" {
		d, err := time.ParseDuration(rest)
		if err != nil || d < 0 {
			return fmt.Errorf("write a length of time as 90s, 30m, 24h or 7d")
		}
		sum += d
	}
	if sum <= 0 || sum > maxSpan {
		return fmt.Errorf("must be above 0 and at most 36500d")
	}
	*s = span(sum)
	return nil
}

// Type implements pflag.Value.
func (*span) Type() string { return "duration" }

// spanText writes a length of time as [span] reads it.
func spanText(d time.Duration) string {
	days, rest := d/day, d%day
	if days == 0 {
		return scanner.Duration(rest).String()
	}
	text := fmt.Sprintf("%dd", days)
	if rest > 0 {
		text += scanner.Duration(rest).String()
	}
	return text
}

// ageText is a length of time in the one unit that matters, as kubectl shows
// ages; a dash where it is not known.
func ageText(d time.Duration) string {
	switch {
	case d < 0:
		return "0s" // another machine's clock is ahead
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 2*day:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dd", d/day)
}

// since is the age of a moment, empty for none.
func since(now, t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return ageText(now.Sub(t))
}

// timeText is a moment for people.
func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
