package cli

import (
	"cmp"
	"fmt"
	"io"
	"time"

	"stella/internal/bytesize"
	"stella/internal/oom"
	"stella/internal/oom/analyze"
)

// maxMissing is how many sentences about what would tell more a person reads.
const maxMissing = 5

// analysis prints what was found in logs: the kills, and then what they were found in.
func (a *app) analysis(format string, r *analyze.Result) func(io.Writer) error {
	kills := a.table(format, foundRows(r.Kills, format == "wide"))
	return func(w io.Writer) error {
		if len(r.Kills) > 0 {
			if err := kills(w); err != nil {
				return err
			}
			fmt.Fprintln(w)
		}
		return writeAnalysis(w, r)
	}
}

// foundRows are kills that were found in logs. Their IDs are no ledger's, and their age says little.
func foundRows(kills []oom.Kill, wide bool) *rows {
	head := []string{"TIME", "WHERE", "PROCESS", "RSS", "LIMIT", "FIRED", "SURE", "INVOKER"}
	if wide {
		head = append(head, "WITNESSES", "WORKLOAD", "NODE", "IMAGE", "LIMIT'S CGROUP", "CGROUP", "DOUBT")
	}
	r := newRows(1, head...)
	for i := range kills {
		k := &kills[i]
		cells := []string{timeText(k.Time), placeText(k), victimText(k), memoryText(k.Process.Resident()), memoryText(k.Limit.Bytes), string(k.Limit.Scope), string(k.Confidence), k.Invoker}
		if wide {
			cells = append(cells, witnessesText(k.Witnesses), k.Container.Workload, k.Container.Node, k.Container.Image, k.Limit.Cgroup, k.Cgroup, k.Doubt)
		}
		r.add(cells...)
	}
	return r
}

// writeAnalysis writes what was read and found, for people.
func writeAnalysis(w io.Writer, r *analyze.Result) error {
	t := &r.Totals
	f := newFields(w)
	kills := "none"
	if n := t.Certain + t.Strong + t.Weak; n > 0 {
		kills = fmt.Sprintf("%s: %s certain, %s strong, %s weak", countText(n), countText(t.Certain), countText(t.Strong), countText(t.Weak))
	}
	f.line("Kills", kills)
	if t.LeftOut > 0 {
		f.line("Left out", fmt.Sprintf("%s more, beyond what one result holds: choose fewer logs", countText(int64(t.LeftOut))))
	}
	for i := range r.Others {
		o := &r.Others[i]
		f.line("Not the kernel's", fmt.Sprintf("%s %s: %s killed by %s", timeText(o.Time), cmp.Or(whereText(&o.Container, o.Cgroup), "unknown"), cmp.Or(o.Process.Comm, "processes"), o.Reason))
	}
	f.line("Read", fmt.Sprintf("%s, %s, %s", countOf(int64(t.Sources), "log"), bytesize.Text(t.Bytes), countOf(t.Lines, "line")))
	if t.Pods > 0 {
		f.line("Pods", countText(int64(t.Pods)))
	}
	for i := range r.Sources {
		s := &r.Sources[i]
		if s.Moved != 0 {
			f.line("Times moved", fmt.Sprintf("%s: by %s, because its own lines show another zone or year than was assumed", s.Name, movedText(s.Moved)))
		}
	}
	for i, m := range r.Missing {
		if i == maxMissing {
			f.line("Would tell more", fmt.Sprintf("and %d more; -o json has all", len(r.Missing)-i))
			break
		}
		f.line("Would tell more", m)
	}
	return f.flush()
}

// movedText is a length of time with its sign.
func movedText(d time.Duration) string {
	if d < 0 {
		return "-" + spanText(-d)
	}
	return "+" + spanText(d)
}
