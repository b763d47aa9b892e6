// Command stella-agent catches every OOM kill of the node that it runs on, keeps
// them, and samples the memory of containers. It needs no Kubernetes.
package main

import (
	"context"
	"flag"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"stella/internal/agent"
	"stella/internal/daemon"
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
	m := daemon.Main{
		Name: "stella-agent", Version: version, Stdout: stdout, Stderr: stderr,
		About: "stella-agent catches every OOM kill of this machine. stella oom, stella pods and stella top ask it.",
	}
	o := agent.Options{Version: version}
	var flags flag.FlagSet
	flags.StringVar(&o.Node, "node", getenv("NODE_NAME"), "the node's `name` in Kubernetes; also NODE_NAME (default the host's name)")
	flags.StringVar(&o.Root, "root", "/", "`directory` where the machine's file system is seen: in a container, where the host's / is mounted")
	flags.StringVar(&o.StateDir, "state-dir", daemon.StateDir(getenv, "stella", "agent"), "`directory` that keeps the ledger over restarts")
	flags.Var(&o.MaxBytes, "max-bytes", "most disk space of the ledger, such as 64Mi, which is the default; the oldest kills are dropped first")
	flags.DurationVar(&o.MaxAge, "max-age", 0, "how long kills are kept (default 744h, 31 days)")
	flags.StringVar(&o.IncidentsTo, "incidents-to", "", "`address` of a stellad that is told of incidents, too: unix:///PATH, https://HOST:PORT or http://HOST:PORT")
	flags.StringVar(&o.IncidentsKeyFile, "incidents-key-file", "", "`file` with the API key for --incidents-to, which nobody else may read")
	flags.StringVar(&o.IncidentsCA, "incidents-ca", "", "`file` with the certificates (PEM) that the one of --incidents-to is checked against (default the system's)")
	flags.BoolVar(&o.CommandsTold, "commands-told", false, "leave kills of rdev-api's commands to rdev-api, which has --incidents-to")
	flags.StringVar(&o.Socket, "socket", oom.Socket(os.Geteuid(), getenv("XDG_RUNTIME_DIR")), "`path` of the Unix socket for commands on this machine")
	flags.StringVar(&o.SocketGroup, "socket-group", "", "`group` whose members may read through the socket, and tell nothing")
	flags.StringVar(&o.Admin, "admin", "127.0.0.1:9322", "`HOST:PORT` for metrics, health and profiles; empty is none")
	flags.StringVar(&o.TLSCert, "tls-cert", "", "`file` with the certificate for --admin, in PEM")
	flags.StringVar(&o.TLSKey, "tls-key", "", "`file` with its key")
	flags.BoolVar(&o.AllowPlainHTTP, "allow-plain-http", false, "let --admin be without TLS beyond loopback, behind something that has it")
	flags.StringVar(&o.TokenFile, "token-file", "", "`file` with the bearer token that --admin asks for; needed beyond loopback")
	flags.StringVar(&o.Kubeconfig, "kubeconfig", "", "`file` with access to Kubernetes (default the pod's service account, where there is one)")
	flags.BoolVar(&o.NoKubernetes, "no-kubernetes", false, "ask no Kubernetes API")
	flags.StringVar(&o.BPFDir, "bpf-dir", "", "`directory` of the bpf file system, where what notes victims in the kernel is kept (default sys/fs/bpf below --root)")
	flags.BoolVar(&o.NoBPF, "no-bpf", false, "keep no program in the kernel that notes victims, and remove the one that is there")
	flags.StringVar(&o.Inspect, "inspect", "", "`file` with cgroups that may be asked for gauges and heap profiles, each line CGROUP metrics|pprof URL; pods say so by annotations")
	flags.DurationVar(&o.InspectEvery, "inspect-every", 0, "how often gauges are read (default 30s)")
	log, code, ok := m.Parse(&flags, args)
	if !ok {
		return code
	}
	o.Log = log
	if err := o.Validate(); err != nil {
		return m.Fail(daemon.Misuse, err)
	}
	// Who tells of kills must not be the next; where the priority class of a pod has done it, this is no more.
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte("-999"), 0); err != nil {
		o.Log.Warn("the OOM killer may choose stella-agent: this user may not lower its oom_score_adj", "why", err)
	}
	// What is garbage between two collections counts against the 32 MiB that the agent may have. It allocates so little that to
	// collect at 30 % and not at 100 costs nothing that could be measured, and saves 3 MiB.
	if getenv("GOGC") == "" {
		debug.SetGCPercent(30)
	}
	return m.Fail(daemon.Failed, agent.Run(ctx, o, func() { daemon.TrimSoon(log) }))
}
