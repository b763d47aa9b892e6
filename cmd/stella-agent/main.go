// Command stella-agent catches every OOM kill of the node that it runs on, keeps
// them, and samples the memory of containers. It needs no Kubernetes.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"stella/internal/agent"
	"stella/internal/oom"
)

// version is set by the linker: -X main.version=1.2.3.
var version = "0.0.0-dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr, os.Getenv))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer, getenv func(string) string) int {
	o := agent.Options{Version: version}
	var level slog.Level
	var showVersion bool
	flags := flag.NewFlagSet("stella-agent", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // what is wrong is said below, without all the flags
	flags.StringVar(&o.Node, "node", getenv("NODE_NAME"), "the node's `name` in Kubernetes; also NODE_NAME (default the host's name)")
	flags.StringVar(&o.Root, "root", "/", "`directory` where the machine's file system is seen: in a container, where the host's / is mounted")
	flags.StringVar(&o.StateDir, "state-dir", stateDir(getenv), "`directory` that keeps the ledger over restarts")
	flags.Var(&o.MaxBytes, "max-bytes", "most disk space of the ledger, such as 64Mi, which is the default; the oldest kills are dropped first")
	flags.DurationVar(&o.MaxAge, "max-age", 0, "how long kills are kept (default 744h, 31 days)")
	flags.StringVar(&o.Socket, "socket", oom.Socket(os.Geteuid(), getenv("XDG_RUNTIME_DIR")), "`path` of the Unix socket for commands on this machine")
	flags.StringVar(&o.SocketGroup, "socket-group", "", "`group` whose members may read through the socket")
	flags.StringVar(&o.Admin, "admin", "127.0.0.1:9322", "`HOST:PORT` for metrics, health and profiles; empty is none")
	flags.StringVar(&o.TLSCert, "tls-cert", "", "`file` with the certificate for --admin, in PEM")
	flags.StringVar(&o.TLSKey, "tls-key", "", "`file` with its key")
	flags.BoolVar(&o.AllowPlainHTTP, "allow-plain-http", false, "let --admin be without TLS beyond loopback, behind something that has it")
	flags.StringVar(&o.TokenFile, "token-file", "", "`file` with the bearer token that --admin asks for; needed beyond loopback")
	flags.StringVar(&o.Kubeconfig, "kubeconfig", "", "`file` with access to Kubernetes (default the pod's service account, where there is one)")
	flags.BoolVar(&o.NoKubernetes, "no-kubernetes", false, "ask no Kubernetes API")
	flags.TextVar(&level, "log-level", slog.LevelInfo, "least `level` on standard error: debug, info, warn or error")
	flags.BoolVar(&showVersion, "version", false, "say which version this is")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintf(stdout, "Usage: stella-agent [flags]\n\nstella-agent catches every OOM kill of this machine. stella oom, stella pods and stella top ask it.\n\nFlags:\n")
		flags.SetOutput(stdout)
		flags.PrintDefaults()
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "stella-agent: %v; see stella-agent --help\n", err)
		return 2
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "stella-agent: %q is no flag; see stella-agent --help\n", flags.Arg(0))
		return 2
	}
	if showVersion {
		fmt.Fprintln(stdout, version)
		return 0
	}
	o.Log = slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))
	if err := o.Validate(); err != nil {
		fmt.Fprintf(stderr, "stella-agent: %v\n", err)
		return 2
	}
	if err := agent.Run(ctx, o, func() {}); err != nil {
		fmt.Fprintf(stderr, "stella-agent: %v\n", err)
		return 1
	}
	return 0
}

// stateDir is where the ledger is kept unless somebody says otherwise:
// file-hierarchy(7) for root, and XDG's state directory for others.
func stateDir(getenv func(string) string) string {
	if os.Geteuid() == 0 {
		return "/var/lib/stella/agent"
	}
	if dir := getenv("XDG_STATE_HOME"); dir != "" {
		return filepath.Join(dir, "stella", "agent")
	}
	if home := getenv("HOME"); home != "" {
		return filepath.Join(home, ".local", "state", "stella", "agent")
	}
	return ""
}
