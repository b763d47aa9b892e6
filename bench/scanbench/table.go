package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

var columns = []string{"tool", "limit", "CPU s", "× floor", "wall s", "× floor", "peak RSS", "cgroup peak", "temp disk", "OOM-killed", "packages", "by type"}

// render writes a report as text, markdown or json.
func render(w io.Writer, format string, r Report) error {
	switch format {
	case "json":
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(r)
	case "markdown":
		return renderMarkdown(w, r)
	case "text":
		return renderText(w, r)
	}
	return fmt.Errorf("format %q is not one of text, markdown, json", format)
}

func renderText(w io.Writer, r Report) error {
	if _, err := fmt.Fprintf(w, "%s\n\n", heading(r)); err != nil {
		return err
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{columns}, rows(r)...) {
		if _, err := fmt.Fprintln(tw, strings.Join(row, "\t")); err != nil {
			return err
		}
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	return writeNotes(w, r, "")
}

func renderMarkdown(w io.Writer, r Report) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n| %s |\n|%s\n", heading(r), strings.Join(columns, " | "), strings.Repeat("---|", len(columns)))
	for _, row := range rows(r) {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return err
	}
	return writeNotes(w, r, "- ")
}

func heading(r Report) string {
	f := r.Figures
	return fmt.Sprintf("Image %s: %d layers, %s compressed, %s of files, %d entries. %v",
		r.Image, f.Layers, size(f.Compressed), size(f.FileBytes), f.Entries, r.Machine)
}

func rows(r Report) [][]string {
	var out [][]string
	for _, x := range r.Results {
		if x.Unmeasured != "" {
			row := make([]string, len(columns))
			for i := range row {
				row[i] = "–"
			}
			row[0], row[1], row[9] = x.Tool, size(x.Limit), "unmeasured"
			out = append(out, row)
			continue
		}
		m := x.Median
		killed := "no"
		if m.OOMKilled {
			killed = "yes"
		}
		// The figures of a run cut short are lower bounds.
		atLeast := ""
		if m.CutShort {
			atLeast = "> "
		}
		packages, byType := packageCells(x.Packages)
		out = append(out, []string{
			x.Tool, size(x.Limit),
			fmt.Sprintf("%s%.1f", atLeast, m.CPU), ratio(atLeast, x.CPURatio),
			fmt.Sprintf("%s%.1f", atLeast, m.Wall), ratio(atLeast, x.WallRatio),
			size(m.RSS), size(m.CgroupPeak), size(m.TempDisk), killed, packages, byType,
		})
	}
	return out
}

func packageCells(p *Packages) (total, byType string) {
	if p == nil {
		return "–", "–"
	}
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(p.ByType)) {
		parts = append(parts, fmt.Sprintf("%s %d", kind, p.ByType[kind]))
	}
	if p.WithoutURL > 0 {
		parts = append(parts, fmt.Sprintf("without purl %d", p.WithoutURL))
	}
	return fmt.Sprint(p.Distinct), strings.Join(parts, ", ")
}

// writeNotes says of each tool what its row cannot.
func writeNotes(w io.Writer, r Report, bullet string) error {
	var notes []string
	for _, x := range r.Results {
		if x.Unmeasured != "" {
			notes = append(notes, x.Tool+": unmeasured: "+x.Unmeasured)
		}
		if x.Median.Failure != "" {
			notes = append(notes, x.Tool+": "+x.Median.Failure)
		}
	}
	notes = append(notes, "Packages are distinct package URLs without qualifiers. The cgroup peak includes page cache; peak RSS does not depend on it.")
	_, err := fmt.Fprintf(w, "\n%s%s\n", bullet, strings.Join(notes, "\n"+bullet))
	return err
}

func ratio(prefix string, r float64) string {
	if r == 0 {
		return "–"
	}
	return fmt.Sprintf("%s%.2f", prefix, r)
}

// size prints bytes in binary units with three significant digits or so.
func size(n int64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%.0f GiB", float64(n)/(1<<30))
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 10<<20:
		return fmt.Sprintf("%.0f MiB", float64(n)/(1<<20))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.0f KiB", float64(n)/(1<<10))
}
