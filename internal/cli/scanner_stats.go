package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"stella/internal/bytesize"
	"stella/internal/scanner"
)

// statsLast is how far "stella scanner stats" looks back, unless it is told.
const statsLast = span(24 * time.Hour)

func newScannerStats(a *app, f *serverFlags) *cobra.Command {
	format, last := "text", statsLast
	cmd := &cobra.Command{
		Use:   "stats",
		Short: "Count jobs, attempts and OOM kills of some time",
		Example: `  stella scanner stats
  stella scanner stats --last 7d -o json | jq .attempts.oom`,
		Args: noArgs,
	}
	cmd.Flags().Var(&last, "last", "how far to look back, such as 30m, 24h or 7d")
	addFormat(cmd, &format, textFormats)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := checkFormat(cmd, format, textFormats); err != nil {
			return err
		}
		service, err := f.client(a)
		if err != nil {
			return err
		}
		s, err := service.Stats(cmd.Context(), time.Duration(last))
		if err != nil {
			return err
		}
		return a.show(format, s, func(w io.Writer) error { return writeStats(w, &s) })
	}
	return cmd
}

// writeStats writes totals for people.
func writeStats(w io.Writer, s *scanner.Stats) error {
	f := newFields(w)
	f.line("Since", timeText(s.Since))
	f.line("Jobs", countsText(scanner.Statuses, s.Jobs))
	f.line("Attempts", countsText(scanner.Outcomes, s.Attempts))
	f.line("OOM kills", countText(s.Incidents))
	f.line("In quarantine", countText(s.Quarantined))
	f.line("Results", fmt.Sprintf("%s, %s", countText(s.Results), bytesize.Text(s.ResultBytes)))
	if s.MaxSeconds > 0 {
		f.line("Time of a scan", fmt.Sprintf("%s on average, %s at most", durationText(secondsOf(s.MeanSeconds)), durationText(secondsOf(s.MaxSeconds))))
	}
	f.line("Highest memory", memoryText(s.MaxPeak))
	return f.flush()
}

// countsText joins counts in the order of the words that they are of.
func countsText[K ~string](order []K, counts map[K]int64) string {
	var parts []string
	for _, k := range order {
		if n := counts[k]; n > 0 {
			parts = append(parts, countText(n)+" "+string(k))
		}
	}
	if parts == nil {
		return "none"
	}
	return strings.Join(parts, ", ")
}
