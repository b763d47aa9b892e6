package cli

import (
	"fmt"
	"time"

	"stella/internal/bytesize"
)

// soon is how far ahead a trend says anything.
const soon = 24 * time.Hour

// trendText is a change a minute, with its sign.
func trendText(n int64) string {
	switch {
	case n >= 1<<10:
		return "+" + bytesize.Text(n) + "/min"
	case n <= -1<<10:
		return "-" + bytesize.Text(-n) + "/min"
	}
	return "steady"
}

// untilText is in how long so many bytes are used up at a rate of bytes a minute; empty where that is
// not soon.
func untilText(left, rate int64) string {
	if rate < 1<<10 {
		return ""
	}
	minutes := float64(max(left, 0)) / float64(rate)
	if minutes >= soon.Minutes() {
		return ""
	}
	return ageText(time.Duration(minutes * float64(time.Minute)))
}

// milliText is processor use as Kubernetes writes it: 1000m is one core.
func milliText(cores float64) string { return fmt.Sprintf("%.0fm", cores*1000) }

// percentCPU is processor use as crictl and top write it: 100.00 is one core.
func percentCPU(cores float64) string { return fmt.Sprintf("%.2f", cores*100) }

// knownBytes is an amount that is below 0 where it is not known.
func knownBytes(n int64) string {
	if n < 0 {
		return ""
	}
	return bytesize.Text(n)
}

// knownCount is a number that is below 0 where it is not known.
func knownCount(n int64) string {
	if n < 0 {
		return ""
	}
	return countText(n)
}

// limitOrNone is a limit, where 0 is none.
func limitOrNone(n int64) string {
	if n <= 0 {
		return "none"
	}
	return bytesize.Text(n)
}

// share is a part of a limit in percent; empty without one.
func share(n, limit int64) string {
	if limit <= 0 || n < 0 {
		return ""
	}
	return percent(n, limit)
}
