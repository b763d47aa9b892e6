package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"stella/internal/client"
	"stella/internal/scanner"
)

var logLevels = []string{"debug", "info", "warn", "error"}

// scannerLogs is "stella scanner logs".
type scannerLogs struct {
	app    *app
	server *serverFlags
	format string
	filter scanner.LogFilter
	last   span
	follow bool
}

func newScannerLogs(a *app, f *serverFlags) *cobra.Command {
	c := &scannerLogs{app: a, server: f, format: "text"}
	cmd := &cobra.Command{
		Use:   "logs",
		Short: "Show the service's log: of servers, and of workers' processes",
		Long: fmt.Sprintf(`Show the log of the service: of its servers, and what workers' processes wrote. The
newest lines that are chosen are shown, in order, %s at most.

-o json writes one object for each line. --follow goes on until Ctrl-C.`, countText(scanner.MaxLogPage)),
		Example: `  stella scanner logs --filter "out of memory" --last 1h
  stella scanner logs --filter sbom --level debug --last 30m --tail 100
  stella scanner logs --job 12 --level debug
  stella scanner logs --follow -o json | jq -r .message`,
		Args: noArgs,
		RunE: c.run,
	}
	flags := cmd.Flags()
	flags.StringVar(&c.filter.Text, "filter", "", "only lines with this `text` in them, in capitals or not")
	flags.StringVar(&c.filter.Level, "level", "info", "only lines of at least this `level`: "+strings.Join(logLevels, ", "))
	flags.Var(&c.last, "last", "only lines of so much time, such as 30m, 24h or 7d")
	flags.IntVar(&c.filter.Tail, "tail", scanner.MaxLogPage, "at most so many `lines`, the newest")
	flags.Int64Var(&c.filter.Job, "job", 0, "only lines about the job with this `ID`")
	flags.BoolVarP(&c.follow, "follow", "f", false, "go on with lines as they are written, until Ctrl-C")
	formats := []string{"text", "json"}
	addFormat(cmd, &c.format, formats)
	complete(cmd, "level", logLevels...)
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		switch {
		case !slices.Contains(logLevels, c.filter.Level):
			return usagef(cmd, "--level %s: choose %s%s", c.filter.Level, listText(logLevels), didYouMean(c.filter.Level, logLevels))
		case c.filter.Tail < 1 || c.filter.Tail > scanner.MaxLogPage:
			return usagef(cmd, "--tail %d: must be 1 to %d", c.filter.Tail, scanner.MaxLogPage)
		case c.filter.Job < 0:
			return usagef(cmd, "--job %d: must be the ID of a job", c.filter.Job)
		}
		return checkFormat(cmd, c.format, formats)
	}
	return cmd
}

func (c *scannerLogs) run(cmd *cobra.Command, _ []string) error {
	service, err := c.server.client(c.app)
	if err != nil {
		return err
	}
	if c.last > 0 {
		c.filter.Since = time.Now().Add(-time.Duration(c.last))
	}
	ctx := cmd.Context()
	show := func(w io.Writer) error { return c.show(ctx, service, w) }
	if !c.follow {
		return c.app.result(show)
	}
	// Without a buffer: each line is seen when it is written.
	return followed(ctx, show(c.app.stdout))
}

func (c *scannerLogs) show(ctx context.Context, service *client.Client, w io.Writer) error {
	lines := 0
	err := service.Logs(ctx, c.filter, c.follow, func(l scanner.LogLine) error {
		lines++
		return c.write(w, &l)
	})
	if err == nil && lines == scanner.MaxLogPage {
		c.app.note("there may be older lines; choose fewer with --last, --filter or --level")
	}
	return err
}

// write writes one line.
func (c *scannerLogs) write(w io.Writer, l *scanner.LogLine) error {
	if c.format == "json" {
		return json.NewEncoder(w).Encode(l) // in one write
	}
	_, err := io.WriteString(w, logText(l))
	return err
}

// logText is a line of the log for people.
func logText(l *scanner.LogLine) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %-5s %s", l.At.UTC().Format("2006-01-02T15:04:05.000Z"), strings.ToUpper(l.Level), l.Source)
	if l.Worker != "" {
		fmt.Fprintf(&b, " %s", l.Worker)
	}
	if l.Job != 0 {
		fmt.Fprintf(&b, " job=%d", l.Job)
	}
	if l.Attempt != 0 {
		fmt.Fprintf(&b, " attempt=%d", l.Attempt)
	}
	return printable(b.String()) + ": " + oneLine(l.Message) + "\n"
}
