package cli

import (
	"os"

	"github.com/spf13/cobra"

	"stella/internal/scanner/worker"
)

// newWorker is "stella worker", which stellad starts. It is nothing for people.
func newWorker(a *app) *cobra.Command {
	return &cobra.Command{
		Use:    "worker",
		Short:  "Scan what stellad says on standard input",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return worker.Serve(cmd.Context(), worker.ServeOptions{Stdin: os.Stdin, Stdout: a.stdout, Version: a.version})
		},
	}
}
