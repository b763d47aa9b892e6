package cli

import (
	"strconv"

	"github.com/spf13/cobra"
)

// serviceHelp ends the help of commands that talk to the service.
const serviceHelp = `The service is the one that --server or STELLA_SERVER names, else the one of this
machine, by its Unix socket. Over TCP it wants an API key: STELLA_API_KEY, or a
file that --api-key-file names.`

func newScanner(a *app) *cobra.Command {
	f := new(serverFlags)
	cmd := group(&cobra.Command{
		Use:   "scanner",
		Short: "Look at the scanner service, and change it",
		Long: `Look at the scanner service, and change it: its jobs, workers, settings and log.

` + serviceHelp,
		Example: `  stella scanner status
  stella scanner jobs list --status failed --last 1h
  stella scanner workers stats --watch
  stella scanner config set worker.memory_limit 8Gi`,
	},
		newScannerStatus(a, f), newScannerQueue(a, f), newScannerStats(a, f), newScannerIncidents(a, f),
		newScannerJobs(a, f), newScannerJob(a, f), newScannerWorkers(a, f), newScannerConfig(a, f), newScannerLogs(a, f))
	f.add(cmd.PersistentFlags())
	return cmd
}

// jobArg is the Args of a command about one job, whose ID goes to id.
func jobArg(id *int64) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) (err error) {
		if len(args) != 1 {
			return usagef(cmd, "%q needs the ID of one job; stella scanner jobs list shows them", cmd.CommandPath())
		}
		*id, err = strconv.ParseInt(args[0], 10, 64)
		if err != nil || *id < 1 {
			return usagef(cmd, "%q is no ID of a job: those are numbers from 1", args[0])
		}
		return nil
	}
}

// oneArg is the Args of a command that needs exactly one argument.
func oneArg(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch len(args) {
		case 0:
			return usagef(cmd, "%q needs %s", cmd.CommandPath(), what)
		case 1:
			return nil
		}
		return usagef(cmd, "%q takes one argument, but got %q as well", cmd.CommandPath(), args[1])
	}
}
