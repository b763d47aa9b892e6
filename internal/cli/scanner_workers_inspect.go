package cli

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"stella/internal/bytesize"
	"stella/internal/scanner"
)

// workersInspect is "stella scanner workers inspect".
type workersInspect struct {
	app    *app
	server *serverFlags
	format string
}

func newScannerWorkersInspect(a *app, f *serverFlags) *cobra.Command {
	c := &workersInspect{app: a, server: f, format: "text"}
	cmd := &cobra.Command{
		Use:   "inspect NAME",
		Short: "Say everything about one worker, also how its last process ended",
		Long: `Say everything about one worker: what it does, its memory against its limit, how
often its process was replaced and why, and how the last one ended. An exit code
of 137 is a kill; only with a reason of oom was it for want of memory.

Where several servers share the work, NAME is INSTANCE/NAME.`,
		Example: `  stella scanner workers inspect default-0
  stella scanner workers inspect default-0 -o json | jq .lastExit.exit_code`,
		Args:              oneArg("the name of a worker; stella scanner workers list shows them"),
		ValidArgsFunction: completeWorkers(a, f),
		RunE:              c.run,
	}
	addFormat(cmd, &c.format, textFormats)
	return cmd
}

func (c *workersInspect) run(cmd *cobra.Command, args []string) error {
	if err := checkFormat(cmd, c.format, textFormats); err != nil {
		return err
	}
	service, err := c.server.client(c.app)
	if err != nil {
		return err
	}
	workers, err := service.Workers(cmd.Context())
	if err != nil {
		return err
	}
	w, err := findWorker(workers, args[0])
	if err != nil {
		return err
	}
	return c.app.show(c.format, w, func(out io.Writer) error { return writeWorker(out, w, time.Now()) })
}

// findWorker finds a worker by NAME or INSTANCE/NAME.
func findWorker(workers []scanner.Worker, name string) (*scanner.Worker, error) {
	var found []*scanner.Worker
	var known, full []string
	for i := range workers {
		w := &workers[i]
		known = append(known, w.Name)
		if w.Name == name || w.Instance+"/"+w.Name == name {
			found = append(found, w)
			full = append(full, w.Instance+"/"+w.Name)
		}
	}
	switch len(found) {
	case 0:
		if len(workers) == 0 {
			return nil, scanner.Errorf(scanner.ErrNotFound, "there is no worker %q: there are no workers at all", name)
		}
		return nil, scanner.Errorf(scanner.ErrNotFound, "there is no worker %q among %s%s", name, shortList(known), didYouMean(name, known))
	case 1:
		return found[0], nil
	}
	return nil, scanner.Errorf(scanner.ErrConflict, "%d servers have a worker %q: say which one: %s", len(found), name, shortList(full))
}

// writeWorker writes a worker for people, in the form of YAML.
func writeWorker(out io.Writer, w *scanner.Worker, now time.Time) error {
	var b strings.Builder
	line := func(indent, key, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s%s: %s\n", indent, key, oneLine(value))
		}
	}
	line("", "name", w.Name)
	line("", "instance", w.Instance)
	line("", "pool", w.Pool)
	line("", "state", string(w.State))
	line("", "pid", idText(int64(w.PID)))
	line("", "started", momentText(w.Started, now))
	line("", "isolation", w.Isolation)
	line("", "limit", limitText(w))
	line("", "memory", shareText(w.Memory, w.Limit))
	line("", "peak", shareText(w.Peak, w.Limit))
	line("", "cpu", cpuText(w.CPU))
	if w.Job != 0 {
		line("", "job", fmt.Sprint(w.Job))
		line("", "image", w.Image)
		line("", "progress", progressLine(&w.Progress))
		line("", "layer", layerText(&w.Progress))
		line("", "file", w.Progress.Path)
	}
	if len(w.Restarts) > 0 {
		b.WriteString("restarts:\n")
		for _, reason := range slices.Sorted(maps.Keys(w.Restarts)) {
			line("  ", string(reason), fmt.Sprint(w.Restarts[reason]))
		}
	}
	if e := w.LastExit; e != nil {
		b.WriteString("last_exit:\n")
		line("  ", "exit_code", fmt.Sprint(e.ExitCode))
		line("  ", "reason", string(e.Reason))
		line("  ", "at", momentText(e.At, now))
		line("  ", "job", idText(e.Job))
		line("  ", "kills", idText(e.Kills))
		line("  ", "limit", memoryText(e.Limit))
		line("  ", "peak", shareText(e.Peak, e.Limit))
		line("  ", "message", e.Message)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// shareText is an amount of memory and how much of a limit it is; empty where it is not known.
func shareText(n, limit int64) string {
	if n == 0 {
		return ""
	}
	if limit <= 0 {
		return bytesize.Text(n)
	}
	return fmt.Sprintf("%s of %s (%s)", bytesize.Text(n), bytesize.Text(limit), percent(n, limit))
}
