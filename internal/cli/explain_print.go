package cli

import (
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"stella/internal/bytesize"
	"stella/internal/explain"
)

// explanation writes a report for people. Names and texts in it come from kernels and clusters, and are hostile.
type explanation struct {
	*explain.Report
	now time.Time
}

func (e *explanation) write(w io.Writer) error {
	f := newFields(w)
	f.line("Container", whereText(&e.Container, ""))
	f.line("Workload", e.Container.Workload)
	f.line("Image", e.Container.Image)
	for i := range e.Findings {
		label := "Cause"
		if i > 0 {
			label = "Or"
		}
		finding := &e.Findings[i]
		f.line(label, fmt.Sprintf("%s (%.0f %%): %s", causeText(finding.Cause), 100*finding.Confidence, finding.Summary))
	}
	f.line("Full", e.full())
	f.line("Heap", e.grown())
	if l := e.Limit; l != nil {
		f.line("Limit to set", fmt.Sprintf("%s: %s were seen, and %s for what was not; %s", bytesize.Text(l.Bytes), bytesize.Text(l.Seen), bytesize.Text(l.Headroom), l.Reason))
	}
	if k := e.Known; k != nil {
		f.line("Known issue", k.Title+": "+k.Match)
		f.line("Remedy", k.Remedy)
		f.line("Source", k.Source)
	}
	if err := f.flush(); err != nil {
		return err
	}
	for i := range e.Findings {
		e.evidence(w, &e.Findings[i])
	}
	if len(e.Collect) > 0 {
		fmt.Fprintln(w, "\nWhat would tell more:")
		for _, text := range e.Collect {
			fmt.Fprintln(w, "  - "+oneLine(text))
		}
	}
	return nil
}

// full is when the limit is reached.
func (e *explanation) full() string {
	f := e.Forecast
	if f == nil {
		return ""
	}
	latest := "perhaps never"
	if !f.Latest.IsZero() {
		latest = e.ahead(f.Latest)
	}
	text := fmt.Sprintf("in %s (%s to %s): it grows by %s an hour towards %s", e.ahead(f.At), e.ahead(f.Earliest), latest,
		bytesize.Text(f.PerHour), bytesize.Text(f.Limit))
	if f.Lives > 0 {
		text += fmt.Sprintf(", as it did %s before, until it was killed", countOf(int64(f.Lives), "time"))
	}
	return text
}

// ahead is how long it is until a time; one that is over is now.
func (e *explanation) ahead(t time.Time) string {
	return spanText(max(t.Sub(e.now), 0).Round(time.Second))
}

// grown is how the heap grew, and where what grew was allocated.
func (e *explanation) grown() string {
	h := e.Heap
	if h == nil {
		return ""
	}
	text := fmt.Sprintf("%s in use, %s in the %s before", bytesize.Text(h.After), bytesize.Text(h.Before), spanText(h.To.Sub(h.From).Round(time.Second)))
	if h.After >= h.Before {
		text = fmt.Sprintf("grew by %s in %s", bytesize.Text(h.After-h.Before), spanText(h.To.Sub(h.From).Round(time.Second)))
	}
	for i := range h.Sites[:min(len(h.Sites), sitesShown)] {
		s := &h.Sites[i]
		text += fmt.Sprintf("; %s (%.0f %%) by %s", bytesize.Text(s.Grown), 100*s.Share, s.Function)
		if s.File != "" {
			text += fmt.Sprintf(" (%s:%d)", path.Base(s.File), s.Line)
		}
	}
	return text
}

// sitesShown is how many of them people are shown; JSON has all.
const sitesShown = 3

func (e *explanation) evidence(w io.Writer, f *explain.Finding) {
	if len(f.For)+len(f.Against) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s:\n", causeText(f.Cause))
	for _, x := range f.For {
		fmt.Fprintln(w, "  + "+oneLine(x.Text))
	}
	for _, x := range f.Against {
		fmt.Fprintln(w, "  - "+oneLine(x.Text))
	}
}

// causeText is a cause in the words of docs/causes.md.
func causeText(c explain.Cause) string { return strings.ReplaceAll(string(c), "_", " ") }
