package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"stella/internal/scan/sbom"
)

// scanGet is "stella scan get".
type scanGet struct {
	app      *app
	server   serverFlags
	id       int64
	outputs  []string
	progress string
}

func newScanGet(a *app) *cobra.Command {
	c := &scanGet{app: a}
	cmd := &cobra.Command{
		Use:   "get JOB",
		Short: "Get the SBOM that a job of the scanner service made",
		Long: `Get the result of a job of the scanner service, in any format, as often as it is
wanted while the service keeps it (setting results.retention). A job that has not
ended is waited for. It ends as "stella scan image" would have.

` + serviceHelp,
		Example: `  stella scan get 12
  stella scan get 12 -o cyclonedx-json=app.cdx.json -o table
  stella scan get "$(stella scan image app:1.4 --detach)" -o json`,
		Args: jobArg(&c.id),
		RunE: c.run,
	}
	addOutput(cmd, &c.outputs, "`FORMAT[@VERSION][=FILE]`, repeatable; FORMAT is one of "+listText(sbom.Formats()), sbom.Formats()...)
	flags := cmd.Flags()
	flags.StringVar(&c.progress, "progress", "auto", "`how` to show progress: auto, tty, plain or none")
	complete(cmd, "progress", progressModes...)
	c.server.add(flags)
	return cmd
}

func (c *scanGet) run(cmd *cobra.Command, _ []string) error {
	if !slices.Contains(progressModes, c.progress) {
		return usagef(cmd, "--progress %s: must be one of %s%s", c.progress, strings.Join(progressModes, ", "), didYouMean(c.progress, progressModes))
	}
	outputs, err := parseOutputs(c.outputs)
	if err != nil {
		return &usageError{cmd, err}
	}
	for _, o := range outputs {
		if err := o.check(); err != nil {
			return err
		}
	}
	service, err := c.server.client(c.app)
	if err != nil {
		return err
	}
	wait := jobWait{app: c.app, service: service, id: c.id}
	return wait.run(cmd.Context(), c.progress, outputs)
}
