package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"stella/internal/doctor"
	"stella/internal/scanner"
)

var doctorFormats = []string{"text", "table", "json", "markdown"}

// doctorCommand is "stella doctor".
type doctorCommand struct {
	app    *app
	server serverFlags
	format string
	checks []string
}

func newDoctor(a *app) *cobra.Command {
	c := &doctorCommand{app: a, format: "text"}
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check the scanner service, and say what is wrong and what to do",
		Long: `Run the service's checks. Each says what it found: ok, warn, fail, or could not
tell; by which evidence, the likely cause, the commands that help, and the one that
shows whether they did. The exit code is 1 where a check failed, and where there
is no service that could be checked.

` + serviceHelp,
		Example: `  stella doctor
  stella doctor --check check.scanner.memory-usage
  stella doctor --format markdown > ticket.md
  stella doctor --format json | jq -r '.checks[] | select(.state != "ok") | .id'`,
		Args: noArgs,
		RunE: c.run,
	}
	cmd.Flags().StringSliceVar(&c.checks, "check", nil, "only the check with this `ID`, or those below it, such as check.scanner; repeatable")
	addFormat(cmd, &c.format, doctorFormats)
	c.server.add(cmd.Flags())
	complete(cmd, "check", "check.scanner.memory-usage", "check.scanner.worker-health", "check.scanner.queue", "check.scanner.disk")
	return cmd
}

func (c *doctorCommand) run(cmd *cobra.Command, _ []string) error {
	if err := checkFormat(cmd, c.format, doctorFormats); err != nil {
		return err
	}
	report, err := c.ask(cmd.Context())
	switch {
	case errors.Is(err, scanner.ErrInvalid), errors.Is(err, scanner.ErrNotFound), errors.Is(err, scanner.ErrDenied), cmd.Context().Err() != nil:
		return err
	case err != nil:
		report = unreachable(c.checks, err, time.Now())
	}
	report.Checks = list(report.Checks)
	if err := c.app.show(c.format, report, c.printer(&report)); err != nil {
		return err
	}
	if err != nil {
		return errors.New("nothing could be checked, because the scanner service does not answer")
	}
	return failed(&report)
}

func (c *doctorCommand) ask(ctx context.Context) (doctor.Report, error) {
	service, err := c.server.client(c.app)
	if err != nil {
		return doctor.Report{}, err
	}
	return service.Doctor(ctx, c.checks)
}

// unreachable is the report where nobody could be asked.
func unreachable(checks []string, err error, now time.Time) doctor.Report {
	if len(checks) == 0 {
		checks = []string{"check.scanner"}
	}
	r := doctor.Report{State: doctor.Unknown, At: now.UTC()}
	for _, id := range checks {
		r.Checks = append(r.Checks, doctor.Result{ID: id, Title: "scanner service", Finding: doctor.Finding{
			State:    doctor.Unknown,
			Summary:  "the scanner service does not answer",
			Evidence: []doctor.Evidence{doctor.Text("answer", err.Error(), "this command")},
			Cause:    "it does not run, or listens elsewhere than --server and STELLA_SERVER say",
			Fix:      []string{"stella up"},
			Verify:   "stella scanner status",
		}})
	}
	return r
}

// failed is the error of a report with checks that failed, else nil.
func failed(r *doctor.Report) error {
	var ids []string
	for _, c := range r.Checks {
		if c.State == doctor.Fail {
			ids = append(ids, c.ID)
		}
	}
	if ids == nil {
		return nil
	}
	return fmt.Errorf("%s failed: %s", countOf(int64(len(ids)), "check"), strings.Join(ids, ", "))
}

func (c *doctorCommand) printer(r *doctor.Report) func(io.Writer) error {
	switch c.format {
	case "table":
		return c.app.table(c.format, doctorRows(r))
	case "markdown":
		return func(w io.Writer) error { return writeDoctorMarkdown(w, r) }
	}
	return func(w io.Writer) error { return writeDoctor(w, r, c.app.resultColor()) }
}
