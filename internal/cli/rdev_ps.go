package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"stella/internal/rdev"
)

const (
	// defaultCommands fit a screen or two; maxCommands, with long arguments, some 20 MiB.
	defaultCommands = 50
	maxCommands     = 5_000
)

// rdevPs is "stella rdev ps".
type rdevPs struct {
	app     *app
	rdev    *rdevFlags
	project projectFlag
	format  string
	filter  rdev.Filter
	status  string
	all     bool
	last    span
	limit   int
	bare    bool
}

var commandStatuses = []string{string(rdev.Queued), string(rdev.Running), string(rdev.Ended)}

func newRdevPs(a *app, f *rdevFlags) *cobra.Command {
	c := &rdevPs{app: a, rdev: f, project: projectFlag{app: a}, format: "table", limit: defaultCommands}
	cmd := &cobra.Command{
		Use:   "ps",
		Short: "List commands, newest first: those that run, wait and have ended",
		Long: `List the commands of a project, or with -A of all, newest first.

--last chooses those that were asked for, or ended, since then, and all that have not ended.

` + projectHelp + "\n\n" + rdevHelp,
		Example: `  stella rdev ps
  stella rdev ps -A --status running
  stella rdev ps --last 1h -o json | jq '.[] | select(.end.reason == "oom")'`,
		Args: noArgs,
		RunE: c.run,
	}
	flags := cmd.Flags()
	c.project.add(cmd)
	flags.BoolVarP(&c.all, "all-projects", "A", false, "commands of all projects")
	flags.StringVar(&c.status, "status", "", "only commands with this `status`: "+strings.Join(commandStatuses, ", "))
	flags.StringVar(&c.filter.By, "by", "", "only commands that were asked for by this `name`, as the list has it")
	flags.Var(&c.last, "last", "only commands of so much time, such as 30m, 24h or 7d")
	flags.IntVar(&c.limit, "limit", c.limit, fmt.Sprintf("at most so many `commands`, 1 to %d", maxCommands))
	addFormat(cmd, &c.format, nameFormats)
	addNoHeaders(flags, &c.bare)
	complete(cmd, "status", commandStatuses...)
	return cmd
}

func (c *rdevPs) run(cmd *cobra.Command, _ []string) error {
	if err := c.check(cmd); err != nil {
		return err
	}
	now := time.Now()
	if c.last > 0 {
		c.filter.Since = now.Add(-time.Duration(c.last))
	}
	c.filter.Status = rdev.Status(c.status)
	return c.rdev.ask(cmd.Context(), c.app, func(ctx context.Context, service rdevService) (err error) {
		if !c.all {
			if c.filter.Project, _, err = c.project.find(ctx, service); err != nil {
				return err
			}
		}
		commands, more, err := allCommands(ctx, service, c.filter, c.limit)
		if err != nil {
			return err
		}
		if more {
			c.app.note("these are the newest %s; --limit shows more", countOf(int64(len(commands)), "command"))
		}
		if len(commands) == 0 {
			c.app.note("no such commands")
			if c.format != "json" && c.format != "yaml" {
				return nil
			}
		}
		return c.app.show(c.format, list(commands), c.text(commands, now))
	})
}

func (c *rdevPs) check(cmd *cobra.Command) error {
	switch {
	case c.limit < 1 || c.limit > maxCommands:
		return usagef(cmd, "--limit %d: must be 1 to %d", c.limit, maxCommands)
	case c.all && c.project.name != "":
		return usagef(cmd, "--project names one project, and --all-projects asks for all")
	}
	if err := checkChoice(cmd, "status", c.status, commandStatuses); err != nil {
		return err
	}
	return checkFormat(cmd, c.format, nameFormats)
}

// allCommands reads pages until there are so many commands, or no more. It says whether there are more.
func allCommands(ctx context.Context, service rdevService, filter rdev.Filter, limit int) (commands []rdev.Command, more bool, err error) {
	for {
		filter.Limit = min(limit+1-len(commands), rdev.MaxPage)
		page, err := service.Commands(ctx, filter)
		if err != nil {
			return nil, false, err
		}
		commands = append(commands, page.Commands...)
		if len(commands) > limit {
			return commands[:limit], true, nil
		}
		if page.Next == "" {
			return commands, false, nil
		}
		filter.After = page.Next
	}
}

// text writes commands for people, or their IDs.
func (c *rdevPs) text(commands []rdev.Command, now time.Time) func(io.Writer) error {
	if c.format == "name" {
		return writeNames(commands, func(c *rdev.Command) string { return c.ID })
	}
	r := commandRows(commands, now, c.all, c.format == "wide")
	r.bare = c.bare
	return c.app.table(c.format, r)
}

// commandRows are commands for people.
func commandRows(commands []rdev.Command, now time.Time, all, wide bool) *rows {
	head := []string{"ID", "STATUS", "RESULT", "AGE", "TOOK"}
	if all {
		head = append(head, "PROJECT")
	}
	head = append(head, "COMMAND")
	if wide {
		head = append(head, "BY", "DIRECTORY", "MEMORY", "LINES", "OUTPUT", "DETAIL")
	}
	r := newRows(len(head)-1, head...)
	for i := range commands {
		c := &commands[i]
		status := string(c.Status)
		if c.Status == rdev.Queued && c.Place > 0 {
			status = fmt.Sprintf("queued (%d)", c.Place)
		}
		cells := []string{c.ID, status, resultText(c), since(now, c.Created), tookText(c.Started, c.Finished, now)}
		if all {
			cells = append(cells, c.Project)
		}
		cells = append(cells, commandLine(&c.Request))
		if wide {
			detail := ""
			if c.End != nil {
				detail = c.End.Detail
			}
			cells = append(cells, c.By, c.Request.Directory, memoryText(c.Request.Memory), countText(c.Output.Lines), memoryText(c.Output.Bytes), detail)
		}
		r.add(cells...)
	}
	return r
}

// commandLine is what was asked for, as one would write it for a shell.
func commandLine(r *rdev.Request) string {
	if len(r.Argv) == 0 {
		return r.Shell
	}
	words := make([]string, len(r.Argv))
	for i, word := range r.Argv {
		words[i] = shellWord(word)
	}
	return strings.Join(words, " ")
}
