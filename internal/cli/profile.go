package cli

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"stella/internal/bytesize"
	"stella/internal/scan"
)

// maxRows is the most rows that a report about a scan has in one table.
const maxRows = 20

// writeTimes is the report of --profile: where the time went.
func writeTimes(w io.Writer, s *scan.Stats) {
	tw := newTable(w)
	fmt.Fprintln(tw, "PHASE\tTIME")
	for _, p := range []scan.Phase{scan.PhaseLayers, scan.PhaseLinks, scan.PhaseSquash} {
		if d, ok := s.Phases[p]; ok {
			fmt.Fprintf(tw, "%s\t%s\n", p, durationText(d))
		}
	}
	tw.Flush()

	type row struct {
		name string
		scan.ExtractorStats
	}
	var rows []row
	var sum time.Duration
	for name, e := range s.Extractors {
		rows = append(rows, row{name, e})
		sum += e.Duration
	}
	slices.SortFunc(rows, func(a, b row) int {
		return cmp.Or(cmp.Compare(b.Duration, a.Duration), strings.Compare(a.name, b.name))
	})
	if len(rows) == 0 {
		fmt.Fprintln(w, "\nNo extractor ran: every layer came from the cache.")
		return
	}
	fmt.Fprintln(w)
	tw = newTable(w)
	fmt.Fprintln(tw, "EXTRACTOR\tTIME\tSHARE\tFILES\tPACKAGES")
	for _, r := range rows {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\n", r.name, durationText(r.Duration),
			percent(int64(r.Duration), int64(sum)), countText(r.Files), countText(r.Packages))
	}
	tw.Flush()
	fmt.Fprintf(w, "\nTemporary disk space: %s at most.\n", bytesize.Text(s.PeakDisk))
}

func percent(part, whole int64) string {
	if whole <= 0 {
		return "-"
	}
	return fmt.Sprintf("%d%%", (part*100+whole/2)/whole)
}

// newTable aligns columns with spaces, without lines, as kubectl does.
func newTable(w io.Writer) *tabwriter.Writer {
	return tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
}
