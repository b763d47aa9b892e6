// Command stellad is the scanner service: it runs image scans in workers with
// memory limits, keeps jobs and results, and answers the stella command.
package main

import (
	"context"
	"flag"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"stella/internal/daemon"
	"stella/internal/scanner"
	"stella/internal/server"
)

// version is set by the linker: -X main.version=1.2.3.
var version = "0.0.0-dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr, os.Getenv))
}

// list is a flag that may be given several times.
type list []string

func (l *list) String() string { return strings.Join(*l, ",") }

func (l *list) Set(s string) error {
	*l = append(*l, s)
	return nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer, getenv func(string) string) int {
	m := daemon.Main{
		Name: "stellad", Version: version, Stdout: stdout, Stderr: stderr,
		About: "stellad runs image scans in workers with memory limits. The command stella talks to it; stella scanner logs has what it\nlogs, at every level.",
	}
	o := server.Options{Version: version}
	var flags flag.FlagSet
	flags.StringVar(&o.DataDir, "data-dir", daemon.StateDir(getenv, "stella"), "`directory` that keeps jobs and results")
	flags.StringVar(&o.CacheDir, "cache-dir", "", "`directory` that keeps finished layers for later jobs (default DATA-DIR/cache)")
	flags.StringVar(&o.TempDir, "tmp-dir", "", "`directory` for temporary files; should not be in memory (default DATA-DIR/tmp)")
	flags.StringVar(&o.Store, "store", "", "where jobs are kept: `URL` sqlite:PATH, or postgres://USER@HOST/DATABASE to share it with other stellad; also STELLA_STORE (default sqlite:DATA-DIR/stella.db)")
	flags.StringVar(&o.Instance, "instance", "", "`name` of this server among those that share a database (default the host's)")
	flags.StringVar(&o.Socket, "socket", scanner.Socket(os.Getuid(), getenv("XDG_RUNTIME_DIR")), "`path` of the Unix socket for commands on this machine")
	flags.StringVar(&o.SocketGroup, "socket-group", "", "`group` whose members may ask for scans through the socket")
	flags.StringVar(&o.Listen, "listen", "", "`HOST:PORT` for HTTP; every request needs an API key (stella keys create)")
	flags.StringVar(&o.TLSCert, "tls-cert", "", "`file` with the certificate for --listen and --admin, in PEM")
	flags.StringVar(&o.TLSKey, "tls-key", "", "`file` with its key")
	flags.BoolVar(&o.AllowPlainHTTP, "allow-plain-http", false, "let --listen and --admin be without TLS beyond loopback, behind something that has it")
	flags.StringVar(&o.Admin, "admin", "127.0.0.1:9321", "`HOST:PORT` for metrics, health and profiles; empty is none")
	flags.StringVar(&o.Worker, "worker", "", "the stella `program` that workers run (default the one beside this program)")
	flags.Var(&o.WorkerMemory, "worker-memory", "memory that all workers together may have, such as 8Gi (default what this machine or cgroup has, less a share for the rest)")
	flags.Var((*list)(&o.AllowPaths), "allow-path", "`directory` with images that anybody who may scan may name; repeatable")
	flags.BoolVar(&o.AllowAttach, "allow-attach", false, "let everybody who may scan push SBOMs with this server's credentials for registries, and not only root and this user on this machine")
	flags.Var((*list)(&o.AllowRegistries), "allow-registry", "registry `HOST[:PORT]` that may have a loopback or link-local address; repeatable")
	flags.Var((*list)(&o.PlainHTTP), "plain-http", "registry `HOST[:PORT]` without TLS; repeatable")
	log, code, ok := m.Parse(&flags, args)
	if !ok {
		return code
	}
	if err := server.CheckFlag(o.Store); err != nil {
		return m.Fail(daemon.Misuse, err)
	}
	if o.Store == "" {
		o.Store = getenv("STELLA_STORE")
	}
	o.Log = log
	return m.Fail(daemon.Failed, server.Run(ctx, o, func() {}))
}
