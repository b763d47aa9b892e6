package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"stella/internal/bytesize"
	"stella/internal/client"
	"stella/internal/scanner"
)

func newScannerJob(a *app, f *serverFlags) *cobra.Command {
	return group(&cobra.Command{
		Use:   "job",
		Short: "Look at one job, cancel it, or try it again",
	}, newScannerJobDetails(a, f),
		newScannerJobAction(a, f, "cancel", "End a job that has not ended",
			`End a job that has not ended, for all who asked for it. A worker that has it is
ended and replaced.`, (*client.Client).Cancel),
		newScannerJobAction(a, f, "retry", "Try a job again that has failed",
			`Let a job wait again that failed, was cancelled or took too long. Its image is
taken out of quarantine.`, (*client.Client).Retry))
}

// jobDetails is "stella scanner job details".
type jobDetails struct {
	app    *app
	server *serverFlags
	format string
	id     int64
}

func newScannerJobDetails(a *app, f *serverFlags) *cobra.Command {
	c := &jobDetails{app: a, server: f, format: "text"}
	cmd := &cobra.Command{
		Use:   "details ID",
		Short: "Say what became of a job: each attempt, with its worker, memory and end",
		Long: `Say everything about one job: why it failed, each attempt with its worker, pool,
limit, peak of memory and the layer and file being read when it ended, and what
happened when.`,
		Example: `  stella scanner job details 12
  stella scanner job details 12 -o json | jq '.history[-1].exitCode'`,
		Args: jobArg(&c.id),
		RunE: c.run,
	}
	addFormat(cmd, &c.format, textFormats)
	return cmd
}

func (c *jobDetails) run(cmd *cobra.Command, _ []string) error {
	if err := checkFormat(cmd, c.format, textFormats); err != nil {
		return err
	}
	service, err := c.server.client(c.app)
	if err != nil {
		return err
	}
	d, err := service.Job(cmd.Context(), c.id)
	if err != nil {
		return err
	}
	d.History, d.Events = list(d.History), list(d.Events)
	now := time.Now()
	return c.app.show(c.format, d, func(w io.Writer) error {
		return writeJob(w, &d, now, c.app.resultWidth(), c.app.console.glyphs().ellipsis)
	})
}

// jobAction is "stella scanner job cancel" and "retry".
func newScannerJobAction(a *app, f *serverFlags, name, short, long string, act func(*client.Client, context.Context, int64) (scanner.Job, error)) *cobra.Command {
	var id int64
	format := "text"
	cmd := &cobra.Command{
		Use:     name + " ID",
		Short:   short,
		Long:    long,
		Example: "  stella scanner job " + name + " 12",
		Args:    jobArg(&id),
	}
	addFormat(cmd, &format, textFormats)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := checkFormat(cmd, format, textFormats); err != nil {
			return err
		}
		service, err := f.client(a)
		if err != nil {
			return err
		}
		job, err := act(service, cmd.Context(), id)
		if err != nil {
			return err
		}
		return a.show(format, job, func(w io.Writer) error {
			_, err := fmt.Fprintf(w, "job %d (%s) is %s, in pool %s\n", job.ID, printable(job.Image), job.Status, job.Pool)
			return err
		})
	}
	return cmd
}

// writeJob writes a job's details for people.
func writeJob(w io.Writer, d *scanner.JobDetails, now time.Time, width int, ellipsis string) error {
	f := newFields(w)
	f.line("Job", fmt.Sprint(d.ID))
	f.line("Image", d.Image)
	f.line("Platform", d.Platform)
	f.line("Digest", d.Digest)
	f.line("Size", fmt.Sprintf("%s, %s", sizeText(d.Size), countOf(int64(d.Layers), "layer")))
	f.line("Status", statusText(&d.Job))
	f.line("Reason", d.Reason)
	f.line("Message", d.Message)
	f.line("Pool", d.Pool)
	if d.Timeout > 0 {
		f.line("Timeout", d.Timeout.String())
	}
	f.line("Requests", fmt.Sprint(d.Requests))
	f.line("Submitted", momentText(d.Submitted, now))
	f.line("Started", momentText(d.Started, now))
	f.line("Ended", momentText(d.Ended, now))
	if d.NotBefore.After(now) {
		f.line("Waits until", timeText(d.NotBefore))
	}
	if d.Progress != nil {
		f.line("Now", progressLine(d.Progress))
	}
	if q := d.Quarantine; q != nil {
		f.line("Quarantine", fmt.Sprintf("since %s: killed in %s (incident %s); stella scanner job retry %d takes it out", momentText(q.At, now), bytesize.Text(q.Limit), q.Incident, d.ID))
	}
	if r := d.Result; r != nil {
		f.line("Result", fmt.Sprintf("%s, %s; stella scan get %d", countOf(r.Components, "component"), countOf(int64(r.Problems), "problem"), d.ID))
		f.line("Attached", r.Attached)
	}
	if err := f.flush(); err != nil || len(d.History) == 0 {
		return err
	}
	fmt.Fprintln(w)
	if err := attemptRows(d.History, now).write(w, width, ellipsis); err != nil {
		return err
	}
	for _, a := range d.History {
		if a.Message != "" {
			fmt.Fprintf(w, "attempt %d: %s\n", a.Number, oneLine(a.Message))
		}
	}
	if len(d.Events) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	return eventRows(d.Events).write(w, 0, ellipsis) // whole: what happened is what was asked for
}

// attemptRows are the attempts of a job for people.
func attemptRows(history []scanner.Attempt, now time.Time) *rows {
	r := newRows(10, "ATTEMPT", "OUTCOME", "EXIT", "KILLS", "POOL", "WORKER", "LIMIT", "PEAK", "TOOK", "LAYER", "FILE")
	for _, a := range history {
		r.add(fmt.Sprint(a.Number), cmp.Or(string(a.Outcome), "running"), exitText(a.ExitCode), fmt.Sprint(a.Kills), a.Pool, a.Worker,
			bytesize.Text(a.Limit), memoryText(a.Peak), tookText(a.Started, a.Ended, now), layerText(&a.Progress), a.Progress.Path)
	}
	return r
}

func eventRows(events []scanner.Event) *rows {
	r := newRows(2, "TIME", "EVENT", "MESSAGE")
	for _, e := range events {
		r.add(timeText(e.At), string(e.Kind), e.Message)
	}
	return r
}
