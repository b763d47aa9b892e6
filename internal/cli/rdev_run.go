package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"stella/internal/bytesize"
	"stella/internal/rdev"
)

const (
	// stdinHint is after what time somebody is told that standard input has no end yet.
	stdinHint = 2 * time.Second
	// askLinger is how long a request for a command goes on after Ctrl-C: only who has its answer can cancel the command.
	askLinger = 5 * time.Second
)

// rdevRun is "stella rdev run".
type rdevRun struct {
	app     *app
	rdev    *rdevFlags
	project projectFlag
	stdin   *os.File
	timeout span
	memory  bytesize.Size
	output  bytesize.Size
	dir     string
	env     []string
	detach  bool
}

func newRdevRun(a *app, f *rdevFlags) *cobra.Command {
	c := &rdevRun{app: a, rdev: f, project: projectFlag{app: a, here: true}, stdin: os.Stdin}
	cmd := &cobra.Command{
		Use:   "run [flags] -- PROGRAM [ARGUMENT...]",
		Short: "Run a command in a project as if it ran here",
		Long: `Run a command in a project as if it ran here: its standard output and standard error are
this command's, its exit code is this one's, and Ctrl-C cancels it (a second one does not wait
for its end). What is piped to standard input, up to 1 MiB, is its. On a terminal it is told so
by TERM, COLUMNS and FORCE_COLOR, unless NO_COLOR is set. When the connection breaks, this command
comes back by itself and misses nothing; when this command is killed, the other goes on.

124 is that its time was over, and 125 that it did not run, or that how it ended is not known:
"stella help exit-codes" has all.

The command begins where you are in the project, or in --dir. Its environment is the
project's and what --env adds, not that of this shell. The project is the one that --project or
STELLA_RDEV_PROJECT names, else that of the current directory, or the only one that another
machine has.

` + rdevHelp,
		Example: `  stella rdev run -- make test
  stella rdev run --memory 2Gi --timeout 10m --env CI=1 -- go test ./...
  stella rdev run -p web-7d4b9c -- sh -c 'ps aux | head'
  stella rdev run --detach -- ./nightly.sh`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef(cmd, "%q needs a program to run, such as: stella rdev run -- make test", cmd.CommandPath())
			}
			return nil
		},
		RunE: c.run,
	}
	flags := cmd.Flags()
	flags.SetInterspersed(false) // the first argument is the program, and what follows is for it
	c.project.add(cmd)
	flags.Var(&c.timeout, "timeout", "after what time it is ended, such as 90s or 2h (default the service's)")
	flags.Var(&c.memory, "memory", "its memory limit, such as 2Gi (default the service's)")
	flags.Var(&c.output, "output-limit", "how much of its output is kept, such as 64Mi: of more, what is between its head and its tail is dropped (default the service's)")
	flags.StringVar(&c.dir, "dir", "", "`directory` below the project's where it begins (default the current one)")
	flags.StringArrayVarP(&c.env, "env", "e", nil, "`NAME=VALUE` for its environment, or NAME alone for the value here")
	flags.BoolVarP(&c.detach, "detach", "d", false, "print its ID and let it run")
	return cmd
}

func (c *rdevRun) run(cmd *cobra.Command, args []string) error {
	request := rdev.Request{
		Argv: args, Directory: c.dir, Env: c.environment(),
		Timeout: time.Duration(c.timeout), Memory: int64(c.memory), Output: int64(c.output),
	}
	if err := request.Check(); err != nil {
		return &usageError{cmd, err}
	}
	ctx := cmd.Context()
	err := c.rdev.ask(ctx, c.app, func(ctx context.Context, service rdevService) error {
		return c.start(ctx, service, request)
	})
	return notRun(ctx, err)
}

func (c *rdevRun) start(ctx context.Context, service rdevService, request rdev.Request) error {
	project, below, err := c.project.find(ctx, service)
	if err != nil {
		return err
	}
	if request.Directory == "" {
		request.Directory = below
	}
	if request.Stdin, err = c.input(ctx); err != nil {
		return err
	}
	asking, stop := lingering(ctx, askLinger)
	defer stop()
	command, err := service.Run(asking, project, request)
	if err != nil {
		return err
	}
	if c.detach {
		c.app.note("to see what it prints: stella rdev logs -f %s -p %s", command.ID, project)
		return c.app.result(func(w io.Writer) error {
			_, err := fmt.Fprintln(w, command.ID)
			return err
		})
	}
	r := &attached{app: c.app, service: service, project: project, id: command.ID}
	return r.run(ctx)
}

// environment is what the command is told of this terminal, and what --env names.
func (c *rdevRun) environment() map[string]string {
	env := c.app.terminalEnvironment()
	for _, e := range c.env {
		name, value, given := strings.Cut(e, "=")
		if !given {
			if value = c.app.getenv(name); value == "" {
				continue
			}
		}
		env[name] = value
	}
	return env
}

// terminalEnvironment is what programs go by that cannot see where their output goes.
func (a *app) terminalEnvironment() map[string]string {
	env := map[string]string{}
	pass := func(names ...string) {
		for _, name := range names {
			if value := a.getenv(name); value != "" {
				env[name] = value
			}
		}
	}
	if isTerminal(a.stdout) {
		pass("TERM", "COLORTERM")
		env["COLUMNS"] = strconv.Itoa(terminalWidth(a.stdout))
	}
	if a.resultColor() {
		maps.Copy(env, map[string]string{"FORCE_COLOR": "1", "CLICOLOR_FORCE": "1"})
	}
	pass("NO_COLOR", "FORCE_COLOR")
	return env
}

// input is what standard input has for the command: nothing where it is a terminal or closed.
func (c *rdevRun) input(ctx context.Context) ([]byte, error) {
	info, err := c.stdin.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice != 0 {
		return nil, nil
	}
	hint := time.AfterFunc(stdinHint, func() {
		c.app.note("waiting for the end of standard input, which the command gets; where there is nothing for it, add: < /dev/null")
	})
	defer hint.Stop()
	text, err := io.ReadAll(io.LimitReader(&pollReader{ctx, c.stdin}, rdev.MaxStdin+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("standard input, which the command gets: %w", err)
	case len(text) > rdev.MaxStdin:
		return nil, fmt.Errorf("standard input, which the command gets, has more than %s: put it into a file of the project", bytesize.Text(rdev.MaxStdin))
	}
	return text, nil
}

// notRun makes an error that has nothing to do with how a command ended one with an exit code of its own.
func notRun(ctx context.Context, err error) error {
	_, ended := errors.AsType[*exitError](err)
	_, usage := errors.AsType[*usageError](err)
	if err == nil || ended || usage || ctx.Err() != nil {
		return err
	}
	return &exitError{code: ExitNotRun, cause: err}
}

// lingering is a context that ends some time after ctx does.
func lingering(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	later, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			cancel()
		case <-later.Done():
		}
	})
	return later, func() {
		stop()
		cancel()
	}
}

// exitError ends this program as a command ended. Its cause is said; nil is that there is nothing to say.
type exitError struct {
	code  ExitCode
	cause error
}

func (e *exitError) Error() string {
	if e.cause == nil {
		return fmt.Sprintf("the command ended with exit code %d", e.code)
	}
	return e.cause.Error()
}

// Unwrap is the cause.
func (e *exitError) Unwrap() error { return e.cause }
