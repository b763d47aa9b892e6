package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"stella/internal/bytesize"
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
	if err := c.app.show(c.format, result, c.app.analysis(c.format, &result)); err != nil {
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
