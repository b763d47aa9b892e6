package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"stella/internal/scanner"
)

// workersRestart is "stella scanner workers restart".
type workersRestart struct {
	app     *app
	server  *serverFlags
	format  string
	request scanner.RestartRequest
}

func newScannerWorkersRestart(a *app, f *serverFlags) *cobra.Command {
	c := &workersRestart{app: a, server: f, format: "text"}
	cmd := &cobra.Command{
		Use:   "restart",
		Short: "Restart workers, so that they use new settings",
		Long: `Restart workers. Those without a scan restart at once, the others when their scan
ends. --now does not wait: the scans that run are queued again, and nothing is lost.`,
		Example: `  stella scanner workers restart
  stella scanner workers restart --pool large-images --now`,
		Args: noArgs,
		RunE: c.run,
	}
	flags := cmd.Flags()
	flags.StringVar(&c.request.Pool, "pool", "", "only workers of this `pool`")
	flags.BoolVar(&c.request.Now, "now", false, "do not wait for scans that run; they are queued again")
	addFormat(cmd, &c.format, textFormats)
	completePools(cmd, "pool", a, f)
	return cmd
}

func (c *workersRestart) run(cmd *cobra.Command, _ []string) error {
	if err := checkFormat(cmd, c.format, textFormats); err != nil {
		return err
	}
	service, err := c.server.client(c.app)
	if err != nil {
		return err
	}
	pools, err := service.RestartWorkers(cmd.Context(), c.request)
	if err != nil {
		return err
	}
	for _, p := range pools {
		c.app.warn(p.Warnings...)
	}
	return c.app.show(c.format, list(pools), func(w io.Writer) error {
		for _, p := range pools {
			if _, err := fmt.Fprintf(w, "pool %s: %s restarted\n", p.Name, countOf(int64(p.Restarted), "worker")); err != nil {
				return err
			}
			if err := writeDraining(w, &p); err != nil {
				return err
			}
		}
		return nil
	})
}
