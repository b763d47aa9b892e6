package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"stella/internal/bytesize"
)

// table is one of the report's. The first row is its head.
type table [][]string

// String is the table in Markdown.
func (t table) String() string {
	var b strings.Builder
	for i, row := range t {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			b.WriteString("|" + strings.Repeat("---|", len(row)) + "\n")
		}
	}
	return b.String()
}

func (t *table) add(cells ...string) { *t = append(*t, cells) }

// ms shows a time in milliseconds.
func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond)) }

func size(n int64) string { return bytesize.Text(n) }

// share is processor time for each second that went by.
func share(cpu, wall time.Duration) string {
	return fmt.Sprintf("%.1f ms a second", float64(cpu)/float64(time.Millisecond)/wall.Seconds())
}

// median is the middle value, or the lower of the two in the middle.
func median[T cmp.Ordered](values []T) T { return quantile(values, 50) }

// quantile is the least value that so many percent of all do not exceed.
func quantile[T cmp.Ordered](values []T, percent int) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[max(0, (len(sorted)*percent+99)/100-1)]
}

func mean(values []time.Duration) time.Duration {
	var sum time.Duration
	for _, v := range values {
		sum += v
	}
	return sum / time.Duration(len(values))
}
