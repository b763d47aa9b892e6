package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"stella/internal/client"
	"stella/internal/rdev"
)

// rdevHelp ends the help of commands that ask an rdev-api.
const rdevHelp = `The service is the one that --rdev or STELLA_RDEV names, else the one of this machine, by
its Unix socket, where root and the service's own user need no key.`

func newRdev(a *app) *cobra.Command {
	f := new(rdevFlags)
	cmd := group(&cobra.Command{
		Use:   "rdev",
		Short: "Run commands in projects of an rdev-api, and see what they print",
		Long: `Run commands in projects, see what they print, and cancel them. A project is a directory
of the machine on which rdev-api runs, or a container of a Kubernetes pod. The service keeps
each command within a memory limit, and what it printed for some days.

` + rdevHelp,
		Example: `  stella rdev run -- make test
  stella rdev ps
  stella rdev logs -f`,
	}, newRdevRun(a, f), newRdevLogs(a, f), newRdevPs(a, f), newRdevCancel(a, f), newRdevProjects(a, f), newRdevKeys(a, f))
	f.add(cmd.PersistentFlags())
	return cmd
}

// rdevFlags say which rdev-api a command talks to.
type rdevFlags struct {
	address string
	keyFile string
	caFile  string
}

func (f *rdevFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.address, "rdev", "", "`address` of the rdev-api: unix:///PATH, https://HOST:PORT or http://HOST:PORT (default $STELLA_RDEV, else this machine's socket)")
	flags.StringVar(&f.keyFile, "api-key-file", "", "`file` with the API key, which nobody else may read (default $STELLA_RDEV_KEY is the key itself)")
	flags.StringVar(&f.caFile, "rdev-ca", "", "`file` with the certificates (PEM) that the service's is checked against (default the system's)")
}

// rdevService is an rdev-api that a command talks to.
type rdevService struct {
	*client.Rdev
	// near says that it is reached by a Unix socket: its directories are those of this machine.
	near bool
}

// ask calls fn with the service that is meant.
func (f *rdevFlags) ask(ctx context.Context, a *app, fn func(context.Context, rdevService) error) error {
	address := f.address
	if address == "" {
		address = a.getenv("STELLA_RDEV")
	}
	if address == "" {
		sockets := ownFirst(rdev.Socket, a.getenv)
		e, ok := find(sockets)
		if !ok {
			return &noRdevError{sockets}
		}
		address = e.address
	}
	key := a.getenv("STELLA_RDEV_KEY")
	if f.keyFile != "" {
		var err error
		if key, err = client.ReadKey(f.keyFile); err != nil {
			return fmt.Errorf("--api-key-file: %w", err)
		}
	}
	c, err := client.NewRdev(client.Options{
		Address: address, Key: key, CAFile: f.caFile, UserAgent: "stella/" + a.version,
		Away: func(why error) { a.warn(fmt.Sprintf("%v; trying again", why)) },
	})
	if err != nil {
		return err
	}
	defer c.Close()
	return fn(ctx, rdevService{c, strings.HasPrefix(address, "unix:")})
}

// noRdevError says that no rdev-api was named, and that none is on this machine. It matches [client.ErrNoServer].
type noRdevError struct{ sockets []string }

func (e *noRdevError) Error() string {
	return fmt.Sprintf("no rdev-api is named by --rdev or STELLA_RDEV, and there is no socket %s; start one with: rdev-api, or stella up",
		strings.Join(e.sockets, " or "))
}

// Is reports whether target is what it matches.
func (e *noRdevError) Is(target error) bool { return target == client.ErrNoServer }

// atMostOne is the Args of a command with one argument that can be left out.
func atMostOne(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > 1 {
			return usagef(cmd, "%q takes %s, but got %q as well", cmd.CommandPath(), what, args[1])
		}
		return nil
	}
}

// checkChoice finds out whether a flag has one of the values that it can have; empty is that it was not given.
func checkChoice(cmd *cobra.Command, flag, value string, choices []string) error {
	if value == "" || slices.Contains(choices, value) {
		return nil
	}
	return usagef(cmd, "--%s %s: choose %s%s", flag, quoteIfOdd(value), listText(choices), didYouMean(value, choices))
}
