package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"stella/internal/bytesize"
	"stella/internal/oom"
	"stella/internal/oom/analyze"
	"stella/internal/scan"
)

const (
	// analyzeMemory is the budget of an analysis, however large the logs are.
	analyzeMemory = 32 << 20
	// stdinPoll is how soon a read from standard input notices that the command was interrupted.
	stdinPoll = 100 * time.Millisecond
	// maxUnread is how many sources that could not be read are named on standard error; the result has them all.
	maxUnread = 10
)

// oomAnalyze is "stella oom analyze".
type oomAnalyze struct {
	app      *app
	format   string
	zone     string
	pageSize bytesize.Size
	options  analyze.Options
}

func newOOMAnalyze(a *app) *cobra.Command {
	c := &oomAnalyze{app: a, format: "table", zone: "Local"}
	cmd := &cobra.Command{
		Use:   "analyze FILE...",
		Short: "Find the OOM kills in logs: files, directories, archives, from any machine",
		Long: `Find the OOM kills in logs from any machine, each once, however many of the logs tell of it.
No agent is needed.

A FILE is a kernel log (dmesg, syslog, journalctl -o json or as text, a serial console), a log of
containerd, CRI-O, Docker or the kubelet, what kubectl get pods -A -o json printed, or a
directory or archive (tar, gzip) of these; - is standard input. Logs and pods are joined
by the IDs of containers. docs/oom-formats.md has all formats.

Without a line of the kernel "Killed process", what a runtime or Kubernetes tells is a weak kill.`,
		Example: `  stella oom analyze /var/log/messages*
  dmesg | stella oom analyze - -o json | jq '.kills[].process.comm'
  kubectl get pods -A -o json > pods.json; stella oom analyze bundle.tar.gz pods.json
  stella oom analyze node7/ --zone Asia/Seoul --year 2022`,
		RunE: c.run,
	}
	flags := cmd.Flags()
	flags.StringVar(&c.zone, "zone", c.zone, "time `zone` of logs that have none: Local, UTC, or a name such as Asia/Seoul")
	flags.IntVar(&c.options.Year, "year", 0, "`year` of logs that have none (default by when the file was written)")
	flags.Var(&c.pageSize, "page-size", "`size` of the machine's memory pages, such as 64Ki (default what the log shows, else 4Ki)")
	addFormat(cmd, &c.format, tableFormats)
	cmd.Args = func(cmd *cobra.Command, args []string) (err error) {
		if len(args) == 0 {
			return usagef(cmd, "%q needs a file or directory with logs; - is standard input", cmd.CommandPath())
		}
		if c.options.Location, err = time.LoadLocation(c.zone); err != nil {
			return usagef(cmd, "--zone %s: write Local, UTC, or a name such as Asia/Seoul", quoteIfOdd(c.zone))
		}
		if y := c.options.Year; y != 0 && (y < 1990 || y > 9999) {
			return usagef(cmd, "--year %d: write the year with four digits", y)
		}
		c.options.PageSize = int64(c.pageSize)
		return checkFormat(cmd, c.format, tableFormats)
	}
	return cmd
}

func (c *oomAnalyze) run(cmd *cobra.Command, args []string) error {
	ctx := cmd.Context()
	scan.LimitRuntime(analyzeMemory)
	a := analyze.New(c.options)
	var failed []error
	for _, path := range args {
		if err := read(ctx, a, path); ctx.Err() != nil {
			return ctx.Err()
		} else if err != nil {
			failed = append(failed, err)
		}
	}
	result := a.Result()
	for _, u := range result.Unread {
		failed = append(failed, fmt.Errorf("%s: %s", u.Name, u.Reason))
	}
	if result.Totals.Sources == 0 && len(failed) > 0 {
		return errors.Join(failed...)
	}
	result.Kills, result.Sources = list(result.Kills), list(result.Sources)
	write := c.app.analysis(c.format, &result)
	if layout, ok := killLayouts[c.format]; ok {
		write = func(w io.Writer) error { return layout.write(w, &result) }
	}
	if err := c.app.result(write); err != nil {
		return err
	}
	for i, err := range failed {
		if i == maxUnread {
			c.app.note("and %d more", len(failed)-i)
			break
		}
		c.app.warn(err.Error())
	}
	if len(failed) > 0 {
		return &unreadError{len(failed)}
	}
	return nil
}

// killLayout is how the kills of a result, its first field, look in a format.
type killLayout struct {
	encode func(io.Writer, any) error
	// none is the empty list. open, sep and end are around and between kills, and last is what comes after them where there is nothing else.
	none, open, sep, end, last string
}

var killLayouts = map[string]killLayout{
	"json": {writeJSON, "[]", "[\n", ",\n", "\n  ]", "\n  ]\n}\n"},
	"yaml": {writeYAML, " []", "\n", "\n", "", "\n"},
}

// write writes a result as encode would, but its kills one at a time: thousands of them in one text are more than the budget.
func (l killLayout) write(w io.Writer, r *analyze.Result) error {
	rest := *r
	rest.Kills = []oom.Kill{}
	var text bytes.Buffer
	if err := l.encode(&text, rest); err != nil {
		return err
	}
	if len(r.Kills) == 0 {
		_, err := w.Write(text.Bytes())
		return err
	}
	before, after, _ := strings.Cut(text.String(), l.none)
	if _, err := io.WriteString(w, before+l.open); err != nil {
		return err
	}
	for i := range r.Kills {
		text.Reset()
		if err := l.encode(&text, struct {
			Kills []oom.Kill `json:"kills"`
		}{r.Kills[i : i+1]}); err != nil {
			return err
		}
		_, kill, _ := strings.Cut(text.String(), l.open)
		kill = strings.TrimSuffix(kill, l.last)
		if i > 0 {
			kill = l.sep + kill
		}
		if _, err := io.WriteString(w, kill); err != nil {
			return err
		}
	}
	_, err := io.WriteString(w, l.end+after)
	return err
}

func read(ctx context.Context, a *analyze.Analysis, path string) error {
	if path == "-" {
		return a.Reader(ctx, "standard input", &pollReader{ctx, os.Stdin}, time.Time{})
	}
	return a.Path(ctx, path)
}

// pollReader reads a file that may have nothing for a long time, until ctx ends.
type pollReader struct {
	ctx  context.Context
	file *os.File
}

func (r *pollReader) Read(p []byte) (int, error) {
	fds := []unix.PollFd{{Fd: int32(r.file.Fd()), Events: unix.POLLIN}}
	for r.ctx.Err() == nil {
		n, err := unix.Poll(fds, int(stdinPoll/time.Millisecond))
		if err != nil && !errors.Is(err, unix.EINTR) {
			return 0, err
		}
		if n > 0 {
			return r.file.Read(p)
		}
	}
	return 0, r.ctx.Err()
}

// unreadError says that the result was written, but not all logs could be read.
type unreadError struct{ count int }

func (e *unreadError) Error() string {
	return fmt.Sprintf("the result is partial: %s could not be read", countOf(int64(e.count), "log"))
}

// Unwrap makes it the kind of error that has the exit code of a partial result.
func (e *unreadError) Unwrap() error { return &partialError{count: e.count} }
