package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"stella/internal/client"
	"stella/internal/oom"
	"stella/internal/rdev"
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
	app         *app
	socket      string
	agentSocket string
	noAgent     bool
	rdevSocket  string
	noRdev      bool
}

// daemon is one of the programs that "stella up" runs.
type daemon struct {
	what, program, socket string
	args                  []string
}

func newUp(a *app) *cobra.Command {
	runtimeDir := a.getenv("XDG_RUNTIME_DIR")
	c := &up{app: a, socket: scanner.Socket(os.Geteuid(), runtimeDir), agentSocket: oom.Socket(os.Geteuid(), runtimeDir), rdevSocket: rdev.Socket(os.Geteuid(), runtimeDir)}
	cmd := &cobra.Command{
		Use:   "up [-- FLAGS OF STELLAD]",
		Short: "Start the scanner service, the agent and rdev-api on this machine, until Ctrl-C",
		Long: `Start stellad, the scanner service, stella-agent, which catches OOM kills, and rdev-api, which
runs commands in the current directory, on this machine, and say how to use them. They need
nothing else: jobs, results, kills and what commands printed are kept in their own files, and
go on where they were after the next start. An agent or rdev-api that runs here already is
left alone. What follows -- goes to stellad; "stellad --help" lists it.`,
		Example: `  stella up
  stella up -- --data-dir ./data --worker-memory 8Gi
  stella up --no-agent --no-rdev -- --listen 127.0.0.1:8443`,
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
	flags := cmd.Flags()
	flags.StringVar(&c.socket, "socket", c.socket, "`path` of the scanner service's Unix socket for commands on this machine")
	flags.StringVar(&c.agentSocket, "agent-socket", c.agentSocket, "`path` of the agent's")
	flags.BoolVar(&c.noAgent, "no-agent", false, "do not start the agent")
	flags.StringVar(&c.rdevSocket, "rdev-socket", c.rdevSocket, "`path` of rdev-api's")
	flags.BoolVar(&c.noRdev, "no-rdev", false, "do not start rdev-api")
	return cmd
}

func (c *up) run(ctx context.Context, args []string) error {
	service, err := newDaemon("scanner service", "stellad", c.socket, args)
	if err != nil {
		return err
	}
	c.socket = service.socket
	if knock(ctx, endpoint{address: "unix://" + service.socket}) == nil {
		return fmt.Errorf("a scanner service listens on %s already; use that, or give this one another --socket", service.socket)
	}
	daemons, err := c.beside(ctx)
	if err != nil {
		return err
	}
	daemons = append(daemons, service)
	running, ctx := errgroup.WithContext(ctx)
	for _, d := range daemons {
		running.Go(func() error { return d.run(ctx, c.app.console) })
	}
	watching, stop := context.WithCancel(ctx)
	told := make(chan struct{})
	go func() {
		defer close(told)
		c.tell(watching, service.socket)
	}()
	err = running.Wait()
	stop()
	<-told
	return err
}

// beside are the daemons to start with the scanner service: those that do not run already.
func (c *up) beside(ctx context.Context) ([]daemon, error) {
	here, err := os.Getwd()
	if err != nil {
		return nil, fmt.Errorf("which directory this is, whose commands rdev-api is to run: %w", err)
	}
	stellad, err := filepath.Abs(c.socket)
	if err != nil {
		return nil, err
	}
	tell := []string{"--incidents-to", "unix://" + stellad}
	agentArgs := tell
	if !c.noRdev && knock(ctx, endpoint{address: "unix://" + c.rdevSocket}) != nil { // else one that runs here already may tell nobody
		agentArgs = append([]string{"--commands-told"}, tell...)
	}
	var daemons []daemon
	for _, d := range []struct {
		without               bool
		what, program, socket string
		args                  []string
		flag                  string // leaves it out
	}{
		{c.noAgent, "agent", "stella-agent", c.agentSocket, agentArgs, "--no-agent"},
		// Without its port: commands on this machine need none, and others often have 8080 in use.
		{c.noRdev, "rdev-api", "rdev-api", c.rdevSocket, append([]string{"--project", here, "--listen", ""}, tell...), "--no-rdev"},
	} {
		if d.without {
			continue
		}
		one, err := newDaemon(d.what, d.program, d.socket, d.args)
		if err != nil {
			return nil, fmt.Errorf("%w; or leave it out with %s", err, d.flag)
		}
		if knock(ctx, endpoint{address: "unix://" + one.socket}) != nil {
			daemons = append(daemons, one)
		}
	}
	return daemons, nil
}

// newDaemon finds a program: the one beside this, or on the PATH.
func newDaemon(what, program, socket string, args []string) (daemon, error) {
	if socket == "" {
		return daemon{}, fmt.Errorf("there is no place for the %s's socket, because XDG_RUNTIME_DIR is not set: name one", what)
	}
	socket, err := filepath.Abs(socket)
	if err != nil {
		return daemon{}, err
	}
	d := daemon{what: what, socket: socket, args: append([]string{"--socket", socket}, args...)}
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), program)
		if info, err := os.Stat(beside); err == nil && info.Mode().IsRegular() {
			d.program = beside
			return d, nil
		}
	}
	if d.program, err = exec.LookPath(program); err != nil {
		return daemon{}, fmt.Errorf("there is no program %s beside this one or on the PATH; it comes with stella", program)
	}
	return d, nil
}

// run is the program's life, until ctx ends; then it is asked to end, and after upStop killed.
func (d daemon) run(ctx context.Context, console io.Writer) error {
	cmd := exec.CommandContext(ctx, d.program, d.args...)
	cmd.Stdout, cmd.Stderr = console, console
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = upStop
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return nil // ended as it was asked to
	case err != nil:
		return fmt.Errorf("the %s ended: %w", d.what, err)
	}
	return fmt.Errorf("the %s ended by itself", d.what)
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
  stella doctor%[3]s%[4]s%[5]s
Ctrl-C ends it; what waits goes on after the next start.

`, strings.Join(pools, ", "), sizeText(status.Memory), server, c.agentLines(), c.rdevLines())
}

// agentLines say how to use the agent.
func (c *up) agentLines() string {
	if c.noAgent {
		return ""
	}
	agent := ""
	if c.agentSocket != oom.Socket(os.Geteuid(), c.app.getenv("XDG_RUNTIME_DIR")) {
		agent = " --agent unix://" + c.agentSocket
	}
	return fmt.Sprintf("\nThe agent catches OOM kills.\n  stella oom list --last 7d%[1]s\n  stella top containers --watch%[1]s", agent)
}

// rdevLines say how to run commands.
func (c *up) rdevLines() string {
	if c.noRdev {
		return ""
	}
	service := ""
	if c.rdevSocket != rdev.Socket(os.Geteuid(), c.app.getenv("XDG_RUNTIME_DIR")) {
		service = " --rdev unix://" + c.rdevSocket
	}
	return fmt.Sprintf("\nrdev-api runs commands in this directory.\n  stella rdev run%[1]s -- make test\n  stella rdev ps%[1]s", service)
}
