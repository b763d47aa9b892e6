package cli

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"stella/internal/client"
	"stella/internal/rdev"
)

// rdevLogs is "stella rdev logs".
type rdevLogs struct {
	app     *app
	rdev    *rdevFlags
	project projectFlag
	follow  bool
	tail    int64
	stream  string
}

var rdevStreams = []string{string(rdev.Stdout), string(rdev.Stderr)}

func newRdevLogs(a *app, f *rdevFlags) *cobra.Command {
	c := &rdevLogs{app: a, rdev: f, project: projectFlag{app: a}}
	cmd := &cobra.Command{
		Use:   "logs [ID]",
		Short: "Show what a command printed, or prints",
		Long: `Show what a command printed on standard output and standard error, each in its order: that of
ID, or of the newest command of the project. -f goes on with what it prints until its end, or
Ctrl-C, which leaves the command alone; it comes back by itself when the connection breaks.

` + projectHelp + "\n\n" + rdevHelp,
		Example: `  stella rdev logs
  stella rdev logs -f --tail 20
  stella rdev logs 01JD3V8Q2C --stream stderr`,
		Args: atMostOne("the ID of a command"),
		RunE: c.run,
	}
	flags := cmd.Flags()
	c.project.add(cmd)
	flags.BoolVarP(&c.follow, "follow", "f", false, "go on until the command's end")
	flags.Int64Var(&c.tail, "tail", 0, "begin with the last `lines` (default with the first)")
	flags.StringVar(&c.stream, "stream", "", "only this `stream`: stdout or stderr (default both)")
	complete(cmd, "stream", rdevStreams...)
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		if cmd.Flags().Changed("tail") && c.tail < 1 {
			return usagef(cmd, "--tail %d: must be above 0", c.tail)
		}
		return checkChoice(cmd, "stream", c.stream, rdevStreams)
	}
	return cmd
}

func (c *rdevLogs) run(cmd *cobra.Command, args []string) error {
	ctx := cmd.Context()
	err := c.rdev.ask(ctx, c.app, func(ctx context.Context, service rdevService) error {
		project, _, err := c.project.find(ctx, service)
		if err != nil {
			return err
		}
		id := ""
		if len(args) > 0 {
			id = args[0]
		} else if id, err = c.newest(ctx, service, project); err != nil {
			return err
		}
		if !c.follow {
			return c.app.result(func(w io.Writer) error {
				return service.Output(ctx, project, id, c.tail, rdev.Stream(c.stream), w)
			})
		}
		return c.goOn(ctx, service, project, id)
	})
	if c.follow {
		return followed(ctx, err)
	}
	return err
}

// newest is the ID of the newest command of a project.
func (c *rdevLogs) newest(ctx context.Context, service rdevService, project string) (string, error) {
	page, err := service.Commands(ctx, rdev.Filter{Project: project, Limit: 1})
	if err != nil {
		return "", err
	}
	if len(page.Commands) == 0 {
		return "", rdev.Errorf(rdev.ErrNotFound, "no command was run in project %s", project)
	}
	command := &page.Commands[0]
	c.app.note("this is command %s: %s", command.ID, commandLine(&command.Request))
	return command.ID, nil
}

// goOn shows a command's output as it is printed, and says how it ended.
func (c *rdevLogs) goOn(ctx context.Context, service rdevService, project, id string) error {
	out := &printer{app: c.app, stdout: c.app.stdout, stderr: c.app.stdout, only: rdev.Stream(c.stream)}
	err := out.show(func(event func(client.OutputEvent) error) error {
		return service.Follow(ctx, project, id, client.From{Tail: c.tail}, event)
	})
	if err != nil {
		return err
	}
	c.app.note("%s", endText(out.end))
	return nil
}
