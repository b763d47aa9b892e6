package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"stella/internal/rdev"
)

func newRdevCancel(a *app, f *rdevFlags) *cobra.Command {
	project := projectFlag{app: a}
	cmd := &cobra.Command{
		Use:   "cancel ID",
		Short: "End a command",
		Long: `End a command: one that waits at once, and one that runs by SIGTERM to all its processes and,
ten seconds later, SIGKILL.

` + projectHelp + "\n\n" + rdevHelp,
		Example: "  stella rdev cancel 01JD3V8Q2C",
		Args:    oneArg("the ID of a command; stella rdev ps shows them"),
	}
	project.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return f.ask(cmd.Context(), a, func(ctx context.Context, service rdevService) error {
			name, _, err := project.find(ctx, service)
			if err != nil {
				return err
			}
			command, err := service.Cancel(ctx, name, args[0])
			if err != nil {
				return err
			}
			return a.result(func(w io.Writer) error {
				_, err := fmt.Fprintln(w, cancelText(&command))
				return err
			})
		})
	}
	return cmd
}

// cancelText says what became of a command that somebody cancelled.
func cancelText(c *rdev.Command) string {
	switch {
	case c.End == nil:
		return fmt.Sprintf("command %s is being ended", c.ID)
	case c.End.Reason == rdev.ReasonCancelled:
		return fmt.Sprintf("command %s is cancelled", c.ID)
	}
	return fmt.Sprintf("command %s had ended: %s", c.ID, resultText(c))
}
