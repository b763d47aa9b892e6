package cli

import (
	"fmt"
	"strings"
	"time"

	"stella/internal/bytesize"
)

const chartRows = 8

// glyphs is how a chart is drawn.
type glyphs struct {
	// levels fill a cell from nearly nothing to all of it.
	levels                                       []string
	budget, axis, corner, ellipsis, arrow, empty string
}

var (
	unicodeGlyphs = glyphs{levels: strings.Split("▁▂▃▄▅▆▇█", ""), budget: "┄", axis: "─", corner: "└", ellipsis: "…", arrow: "→", empty: "░"}
	asciiGlyphs   = glyphs{levels: []string{".", ":", "#"}, budget: "-", axis: "-", corner: "+", ellipsis: "..", arrow: "->", empty: "."}
)

// chart draws memory over time, with the budget as a line across. Its
// highest row belongs to the budget or the peak, whichever is more.
func chart(cols []int64, budget int64, elapsed time.Duration, g glyphs) string {
	if len(cols) == 0 {
		return ""
	}
	top := budget
	for _, v := range cols {
		top = max(top, v)
	}
	row := float64(top) / chartRows
	budgetRow := int(float64(budget)/row+0.5) - 1

	var b strings.Builder
	for r := chartRows - 1; r >= 0; r-- {
		label := ""
		if r == budgetRow || r == chartRows-1 {
			label = bytesize.Text(int64(row * float64(r+1)))
		}
		fmt.Fprintf(&b, "%10s ", label)
		for _, v := range cols {
			b.WriteString(cell(float64(v)/row-float64(r), r == budgetRow, g))
		}
		if r == budgetRow {
			b.WriteString(" budget")
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "%10s %s%s\n", "0", g.corner, strings.Repeat(g.axis, len(cols)-1))
	end := durationText(elapsed)
	fmt.Fprintf(&b, "%10s 0%*s\n", "", max(len(cols)-1, len(end)+1), end)
	return b.String()
}

// cell draws one cell; fill is how much of it the value covers, where 1 is all.
func cell(fill float64, onBudget bool, g glyphs) string {
	switch {
	case fill >= 1:
		return g.levels[len(g.levels)-1]
	case fill > 0:
		return g.levels[int(fill*float64(len(g.levels)))]
	case onBudget:
		return g.budget
	}
	return " "
}

// durationText rounds to what a person compares.
func durationText(d time.Duration) string {
	switch {
	case d >= time.Minute:
		return d.Round(time.Second).String()
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(time.Microsecond).String()
}
