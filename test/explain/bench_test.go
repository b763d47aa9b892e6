package explain

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"stella/bench/machine"
	"stella/internal/explain"
)

// TestFigures plays all scenes, or takes recordings, and prints what is found.
func TestFigures(t *testing.T) {
	switch {
	case *replay != "":
		figures(t, load(t, *replay))
	case *bench:
		began := time.Now()
		all := newLab(t).playAll(scenes())
		t.Logf("%d scenes in %v, %d at once", len(all), time.Since(began).Round(time.Second), *stages)
		figures(t, all)
		t.Log(machine.Describe())
	default:
		t.Skip("what make bench-explain is for")
	}
}

// playAll plays scenes, many side by side: they wait more than they work.
func (l *lab) playAll(all []*scene) []*recording {
	l.Helper()
	out := make([]*recording, len(all))
	var playing errgroup.Group
	playing.SetLimit(*stages)
	for i, s := range all {
		playing.Go(func() (err error) {
			out[i], err = l.play(s)
			if err == nil && *keep != "" {
				err = out[i].save(*keep)
			}
			return err
		})
		time.Sleep(stagger)
	}
	if err := playing.Wait(); err != nil {
		l.Fatal(err)
	}
	return out
}

// stagger is between the beginnings of scenes, so that not all do the same at the same moment.
const stagger = 100 * time.Millisecond

// figures prints those of each part.
func figures(t *testing.T, all []*recording) {
	for _, p := range []part{development, final} {
		if *only != "" && *only != string(p) {
			continue
		}
		var of []*recording
		for _, r := range all {
			if partOf(r.Variant) == p {
				of = append(of, r)
			}
		}
		if len(of) > 0 {
			fmt.Print(figuresOf(t, p, of))
		}
	}
}

func figuresOf(t *testing.T, p part, all []*recording) string {
	found, wrong, before, said := judge(all), misses(all), warnings(all), falseWarnings(all)
	if p == development { // nobody tunes by the others
		tell(t, found, wrong, before, said)
	}
	of := scores(found)
	alarms, healthy, inTime := 0, 0, 0
	for i := range found {
		if j := &found[i]; j.Cause == explain.Healthy {
			healthy++
			if j.alarm() {
				alarms++
			}
		}
	}
	for _, w := range before {
		if w.before >= early {
			inTime++
		}
	}
	leak := of[explain.Leak]
	if leak == nil {
		leak = &score{}
	}
	precision, recall := macro(of)
	var b strings.Builder
	row := func(what, is string) { fmt.Fprintf(&b, "| %s | %s |\n", what, is) }
	fmt.Fprintf(&b, "\n## The %s part: %d recordings\n\n%s\n| | |\n|---|---|\n", p, len(all), matrix(found))
	row("**macro precision and recall** (target: 95 %)", fmt.Sprintf("**%s, %s**", percent(precision), percent(recall)))
	row("**precision and recall of leaks** (target: 95 %)", fmt.Sprintf("**%s, %s**", percent(leak.precision()), percent(leak.recall())))
	row("**false alarms on what is healthy** (target: 2 %)", fmt.Sprintf("**%s**, %d of %d", percent(ratio(alarms, healthy)), alarms, healthy))
	if len(wrong) > 0 {
		row(fmt.Sprintf("**median error of the forecast at half-way** of %d lives of linear leaks (target: 15 %%)", len(wrong)), "**"+percent(wrong[len(wrong)/2].by)+"**")
	}
	row(fmt.Sprintf("**kills of leaks of which a warning came %.0f s before** (target: 90 %%)", early.Seconds()), fmt.Sprintf("**%s**, %d of %d", percent(ratio(inTime, len(before))), inTime, len(before)))
	if len(before) > 0 {
		row("how long before it came, in the median", before[len(before)/2].before.Round(time.Second).String())
	}
	row("healthy ones in which a warning ever came", fmt.Sprintf("%s, %d of %d", percent(ratio(len(said), healthy)), len(said), healthy))
	return b.String() + "\n" + calibration(found)
}

// mostMiss is what the forecast may be wrong by.
const mostMiss = 0.15

// tell says what is not as it should be.
func tell(t *testing.T, found []judged, wrong []miss, before []warning, said []*recording) {
	for i := range found {
		if j := &found[i]; !j.right() {
			t.Logf("%s is found to be %s (%.2f): %s", j.name(), j.found(), j.Findings[0].Confidence, j.Findings[0].Summary)
		}
	}
	for _, w := range wrong {
		if w.by > mostMiss {
			t.Logf("%s: of the life from %s to %s the forecast is wrong by %s", w.name(), w.born.Format(time.TimeOnly), w.killed.Format(time.TimeOnly), percent(w.by))
		}
	}
	for _, w := range before {
		if w.before < early {
			t.Logf("%s: of the life from %s to %s a warning came %v before the end", w.name(), w.born.Format(time.TimeOnly), w.killed.Format(time.TimeOnly), w.before)
		}
	}
	for _, r := range said {
		t.Logf("%s: a warning came at %s", r.name(), warned(&r.Input, epoch, r.Input.Now).Format(time.TimeOnly))
	}
}
