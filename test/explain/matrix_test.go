package explain

import (
	"fmt"
	"slices"
	"strings"

	"stella/internal/explain"
)

// judged is what explain says of a recording.
type judged struct {
	*recording
	explain.Report
}

// judge explains all recordings.
func judge(all []*recording) []judged {
	out := make([]judged, len(all))
	for i, r := range all {
		out[i] = judged{r, explain.Explain(r.Input)}
	}
	return out
}

// found is the likeliest cause.
func (j *judged) found() explain.Cause { return j.Findings[0].Cause }

// right reports whether it is the cause. That it cannot be told is not.
func (j *judged) right() bool { return j.found() == j.Cause }

// alarm reports whether something is said to be wrong.
func (j *judged) alarm() bool {
	return !slices.Contains([]explain.Cause{explain.Healthy, explain.NoOOM, explain.CannotTell}, j.found())
}

// score is of one cause: of what was said to be it how much was, and of what was it how much was said to be.
type score struct{ right, said, were int }

func (s score) precision() float64 { return ratio(s.right, s.said) }
func (s score) recall() float64    { return ratio(s.right, s.were) }

// ratio of nothing is 0: a cause that is never found is not found precisely.
func ratio(part, whole int) float64 {
	if whole == 0 {
		return 0
	}
	return float64(part) / float64(whole)
}

// scores are those of all causes that there are recordings of, and of what was said.
func scores(all []judged) map[explain.Cause]*score {
	out := map[explain.Cause]*score{}
	at := func(c explain.Cause) *score {
		if out[c] == nil {
			out[c] = &score{}
		}
		return out[c]
	}
	for i := range all {
		j := &all[i]
		at(j.Cause).were++
		at(j.found()).said++
		if j.right() {
			at(j.Cause).right++
		}
	}
	return out
}

// macro is the mean over the causes that there are recordings of, of each alike.
func macro(all map[explain.Cause]*score) (precision, recall float64) {
	n := 0.0
	for _, s := range all {
		if s.were > 0 {
			precision, recall, n = precision+s.precision(), recall+s.recall(), n+1
		}
	}
	return precision / n, recall / n
}

// matrix is a row for each cause, and a column for each that was found; where there is nothing it is empty.
func matrix(all []judged) string {
	counts, of := map[[2]explain.Cause]int{}, scores(all)
	for i := range all {
		counts[[2]explain.Cause{all[i].Cause, all[i].found()}]++
	}
	rows := slices.DeleteFunc(causes(), func(c explain.Cause) bool { return of[c] == nil || of[c].were == 0 })
	columns := append(slices.Clone(rows), explain.CannotTell)
	for c := range of {
		if !slices.Contains(columns, c) {
			columns = append(columns, c)
		}
	}
	slices.Sort(columns[len(rows)+1:])
	var b strings.Builder
	b.WriteString("| it was ↓, found → |")
	for _, c := range columns {
		fmt.Fprintf(&b, " %s |", strings.ReplaceAll(string(c), "_", " "))
	}
	b.WriteString(" precision | recall |\n|---|" + strings.Repeat("---|", len(columns)+2) + "\n")
	for _, row := range rows {
		fmt.Fprintf(&b, "| %s |", strings.ReplaceAll(string(row), "_", " "))
		for _, c := range columns {
			if n := counts[[2]explain.Cause{row, c}]; n == 0 {
				b.WriteString(" |")
			} else if c == row {
				fmt.Fprintf(&b, " **%d** |", n)
			} else {
				fmt.Fprintf(&b, " %d |", n)
			}
		}
		fmt.Fprintf(&b, " %s | %s |\n", percent(of[row].precision()), percent(of[row].recall()))
	}
	return b.String()
}

func percent(part float64) string { return fmt.Sprintf("%.1f %%", 100*part) }

// bins are the confidences that calibration is shown for, by their lower ends.
var bins = []float64{0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95}

// calibration is, for findings of like confidence, how many were right.
func calibration(all []judged) string {
	var b strings.Builder
	b.WriteString("| confidence | recordings | its mean | right |\n|---|---|---|---|\n")
	for i, low := range bins {
		high, n, right, sum := 1.01, 0, 0, 0.0
		if i+1 < len(bins) {
			high = bins[i+1]
		}
		for k := range all {
			if c := all[k].Findings[0].Confidence; c >= low && c < high {
				n, sum = n+1, sum+c
				if all[k].right() {
					right++
				}
			}
		}
		if n > 0 {
			fmt.Fprintf(&b, "| %.2f to %.2f | %d | %s | %s |\n", low, min(high, 1), n, percent(sum/float64(n)), percent(ratio(right, n)))
		}
	}
	return b.String()
}
