package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"stella/internal/client"
	"stella/internal/scanner"
)

const (
	// upWait bounds how long the service may take to answer before somebody is told
	// that it takes long; upKnock is between two looks.
	upWait  = 10 * time.Second
	upKnock = 20 * time.Millisecond
	// upStop is how long the service may take to end its workers before it is killed.
	upStop = 30 * time.Second
)

// up is "stella up".
type up struct {
	app    *app
	socket string
}

func newUp(a *app) *cobra.Command {
	c := &up{app: a, socket: scanner.Socket(os.Geteuid(), a.getenv("XDG_RUNTIME_DIR"))}
	cmd := &cobra.Command{
		Use:   "up [-- FLAGS OF STELLAD]",
		Short: "Start the scanner service on this machine, until Ctrl-C",
		Long: `Start stellad, the scanner service, on this machine and say how to use it. It needs
nothing else: jobs and results are kept in its own database, and go on where they
were after the next start. What follows -- goes to stellad; "stellad --help" lists it.`,
		Example: `  stella up
  stella up -- --data-dir ./data --worker-memory 8Gi
  stella up -- --listen 127.0.0.1:8443`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && cmd.ArgsLenAtDash() != 0 {
				return usagef(cmd, "%q takes no arguments but those behind --", cmd.CommandPath())
			}
			if slices.ContainsFunc(args, func(s string) bool { return strings.TrimLeft(strings.SplitN(s, "=", 2)[0], "-") == "socket" }) {
				return usagef(cmd, "give --socket to %q itself, before --", cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return c.run(cmd.Context(), args) },
	}
	cmd.Flags().StringVar(&c.socket, "socket", c.socket, "`path` of the Unix socket for commands on this machine")
	return cmd
}

func (c *up) run(ctx context.Context, args []string) error {
	if c.socket == "" {
		return errors.New("there is no place for the service's socket, because XDG_RUNTIME_DIR is not set: name one with --socket")
	}
	socket, err := filepath.Abs(c.socket)
	if err != nil {
		return err
	}
	if knock(ctx, endpoint{address: "unix://" + socket}) == nil {
		return fmt.Errorf("a scanner service listens on %s already; use that, or give this one another --socket", socket)
	}
	program, err := stellad()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, program, append([]string{"--socket", socket}, args...)...)
	cmd.Stdout, cmd.Stderr = c.app.console, c.app.console
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = upStop
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the scanner service: %w", err)
	}
	watching, stop := context.WithCancel(ctx)
	told := make(chan struct{})
	go func() {
		defer close(told)
		c.tell(watching, socket)
	}()
	err = cmd.Wait()
	stop()
	<-told
	switch {
	case ctx.Err() != nil:
		return nil // ended as it was asked to
	case err != nil:
		return fmt.Errorf("the scanner service ended: %w", err)
	}
	return nil
}

// stellad is the service's program: the one beside this, or on the PATH.
func stellad() (string, error) {
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), "stellad")
		if info, err := os.Stat(beside); err == nil && info.Mode().IsRegular() {
			return beside, nil
		}
	}
	path, err := exec.LookPath("stellad")
	if err != nil {
		return "", errors.New("there is no program stellad beside this one or on the PATH; it comes with stella")
	}
	return path, nil
}

// tell says how to use the service, as soon as it answers.
func (c *up) tell(ctx context.Context, socket string) {
	begin, late := time.Now(), false
	for knock(ctx, endpoint{address: "unix://" + socket}) != nil {
		if time.Since(begin) > upWait && !late {
			late = true
			fmt.Fprintln(c.app.console, "stella: the service does not answer yet; still waiting")
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(upKnock):
		}
	}
	service, err := client.New(client.Options{Address: "unix://" + socket, UserAgent: "stella/" + c.app.version})
	if err != nil {
		return
	}
	defer service.Close()
	status, err := service.Status(ctx)
	if err != nil {
		return
	}
	var pools []string
	for _, p := range status.Pools {
		pools = append(pools, fmt.Sprintf("%s (%d × %s)", p.Name, p.Count, sizeText(p.Memory)))
	}
	server := ""
	if c.socket != scanner.Socket(os.Geteuid(), c.app.getenv("XDG_RUNTIME_DIR")) {
		server = " --server unix://" + socket
	}
	fmt.Fprintf(c.app.console, `
The scanner service runs. Workers: %s, %s for all.
  stella scan image debian:12%[3]s
  stella scanner workers stats --watch%[3]s
  stella doctor%[3]s
Ctrl-C ends it; what waits goes on after the next start.

`, strings.Join(pools, ", "), sizeText(status.Memory), server)
}
