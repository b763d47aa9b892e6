// Command rdev-api runs commands in projects and streams what they print, in memory that does not grow with it. The
// command stella rdev talks to it.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"stella/internal/bytesize"
	"stella/internal/daemon"
	"stella/internal/rdev"
	"stella/internal/rdevserver"
)

// version is set by the linker: -X main.version=1.2.3.
var version = "0.0.0-dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if filepath.Base(os.Args[0]) == "curl" {
		os.Exit(curl(ctx, os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr, os.Getenv))
}

// size is an amount of bytes, such as 64Mi.
type size int64

func (s *size) String() string { return bytesize.Size(*s).String() }

func (s *size) Set(text string) error {
	var b bytesize.Size
	err := b.Set(text)
	*s = size(b)
	return err
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer, getenv func(string) string) int {
	m := daemon.Main{
		Name: "rdev-api", Version: version, Stdout: stdout, Stderr: stderr,
		About: "rdev-api runs commands in projects and streams what they print. stella rdev talks to it.\n" +
			"Every flag can be given as an environment variable, too: RDEV_CACHE_TTL (also CACHE_TTL) for --cache-ttl. Flags win.",
	}
	o := rdevserver.Options{Version: version}
	var flags flag.FlagSet
	define(&flags, &o, getenv)
	if err := fromEnvironment(&flags, getenv); err != nil {
		return m.Fail(daemon.Misuse, err)
	}
	if level := getenv("RDEV_LOG_LEVEL"); level != "" { // m.Parse adds that flag
		args = append([]string{"--log-level=" + level}, args...)
	}
	log, code, ok := m.Parse(&flags, args)
	if !ok {
		return code
	}
	o.Log = log
	if err := o.Validate(); err != nil {
		return m.Fail(daemon.Misuse, err)
	}
	// With a subscriber on each of a hundred commands that print as fast as they can, what is garbage between two collections is most of the
	// heap: at half of what Go allows it, that is a fifth less memory for 4 % of a processor.
	if getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
	return m.Fail(daemon.Failed, rdevserver.Run(ctx, o, func() {}))
}

func define(flags *flag.FlagSet, o *rdevserver.Options, getenv func(string) string) {
	flags.StringVar(&o.StateDir, "state-dir", daemon.StateDir(getenv, "stella", "rdev"), "`directory` that keeps commands, their output and heap profiles")
	flags.StringVar(&o.Store, "store", "", "where commands are kept: `URL` sqlite:PATH or postgres://USER@HOST/DATABASE (default sqlite:STATE-DIR/rdev.db)")
	flags.DurationVar(&o.Handover, "handover", 0, "how long to wait for another process, which has the same store, to end (default not at all)")
	flags.Var((*daemon.List)(&o.Projects), "project", "a project: `NAME=DIRECTORY`, or a directory, whose name it is; repeatable")
	flags.Var((*daemon.List)(&o.Roots), "root", "`directory` whose directories are projects; repeatable")
	flags.BoolVar(&o.Kubernetes, "kubernetes", false, "let pods be projects")
	flags.StringVar(&o.Pods, "pods", "", "`labels` of these pods, such as app=web (default all)")
	flags.StringVar(&o.Namespace, "namespace", "", "`namespace` of these pods (default the service's own)")
	flags.StringVar(&o.Container, "container", "", "`name` of their container (default each pod's own default, or first)")
	flags.StringVar(&o.Kubeconfig, "kubeconfig", "", "`file` with access to Kubernetes (default the pod's service account)")
	flags.DurationVar(&o.CacheTTL, "cache-ttl", 0, "how long a listing of projects is kept (default 30s)")
	flags.StringVar(&o.Socket, "socket", rdev.Socket(os.Geteuid(), getenv("XDG_RUNTIME_DIR")), "`path` of the Unix socket for commands on this machine")
	flags.StringVar(&o.SocketGroup, "socket-group", "", "`group` whose members may run commands through the socket")
	flags.StringVar(&o.Listen, "listen", "127.0.0.1:8080", "`HOST:PORT` for HTTP; requests need an API key; empty is none")
	flags.StringVar(&o.Admin, "admin", "127.0.0.1:9323", "`HOST:PORT` for metrics, health and profiles; empty is none")
	flags.StringVar(&o.TLSCert, "tls-cert", "", "`file` with the certificate for --listen and --admin, in PEM")
	flags.StringVar(&o.TLSKey, "tls-key", "", "`file` with its key")
	flags.BoolVar(&o.AllowPlainHTTP, "allow-plain-http", false, "let --listen and --admin be without TLS beyond loopback, behind something that has it")
	flags.StringVar(&o.AdminKeyFile, "admin-key-file", "", "`file` with a key of the scope admin, for who makes the first keys without the socket")
	flags.Var((*daemon.List)(&o.MetricsFrom), "metrics-from", "`network`s that may read /metrics without a key, such as 10.0.0.0/8; repeatable")
	flags.StringVar(&o.User, "user", "", "`name` or number of the user that commands run as on this machine (default the service's own)")
	defineLimits(flags, o)
	flags.StringVar(&o.WebhookSecretFile, "webhook-secret-file", "", "`file` with the secrets that webhooks are signed with, one on each line; without it there are no webhooks")
	flags.Var((*daemon.List)(&o.WebhookAllow), "webhook-allow", "`network`s that webhooks may go to although they are not public; repeatable")
	flags.BoolVar(&o.WebhookPlainHTTP, "webhook-plain-http", false, "let webhooks be called without TLS")
	flags.StringVar(&o.IncidentsTo, "incidents-to", "", "`URL` of the stellad that is told of commands which were killed for want of memory: https://HOST:PORT or unix:PATH (default none)")
	flags.StringVar(&o.IncidentsKeyFile, "incidents-key-file", "", "`file` with an API key for it with the scope incidents, which nobody else may read")
}

func defineLimits(flags *flag.FlagSet, o *rdevserver.Options) {
	l := &o.Limits
	flags.IntVar(&l.Running, "running", 0, "most commands that run at the same time (default 16)")
	flags.IntVar(&l.PerProject, "running-per-project", 0, "most of them in one project (default 8)")
	flags.IntVar(&l.PerCaller, "running-per-key", 0, "most of them for one key (default 8)")
	flags.IntVar(&l.Queued, "queued", 0, "most commands that wait (default 1000)")
	flags.IntVar(&l.QueuedPerCaller, "queued-per-key", 0, "most of them for one key (default 200)")
	flags.Var((*size)(&l.Memory), "memory", "memory limit of a command that asks for none, such as 1Gi (default 512Mi)")
	flags.Var((*size)(&l.MaxMemory), "max-memory", "most that a command may ask for (default --total-memory)")
	flags.Var((*size)(&l.TotalMemory), "total-memory", "what all commands that run may have together (default 4Gi, or what is there, less a share for the service)")
	flags.DurationVar(&l.Timeout, "timeout", 0, "time of a command that asks for none (default 1h)")
	flags.DurationVar(&l.MaxTimeout, "max-timeout", 0, "most that a command may ask for (default 24h)")
	flags.Var((*size)(&l.Output), "output", "how much of a command's output is kept where it asks for none (default 16Mi)")
	flags.Var((*size)(&l.MaxOutput), "max-output", "most that a command may ask for (default 256Mi)")
	flags.DurationVar(&l.Keep, "keep", 0, "how long commands are known after their end (default 168h)")
	flags.Var(&o.LogBytes, "output-total", "most disk space of all outputs; the oldest are removed first (default 10Gi)")
	flags.DurationVar(&o.LogAge, "output-keep", 0, "how long outputs are kept after the end of their command (default 168h)")
	flags.IntVar(&o.PerSecond, "requests-per-second", 0, "most requests of one key in a second, and twice as many at once (default 100)")
	flags.IntVar(&o.Streams, "streams", 0, "most connections of events (default 16384)")
	flags.IntVar(&o.StreamsPerKey, "streams-per-key", 0, "most of them for one key (default 4096)")
	flags.IntVar(&o.StreamsPerCommand, "streams-per-command", 0, "most of them for one command (default 12288)")
	flags.DurationVar(&o.StreamAge, "stream-age", time.Duration(0), "how long one lives, a tenth more or less (default 1h)")
}

// fromEnvironment sets flags from variables: RDEV_ and the flag's name. What the command line says then counts instead, but
// for flags that are repeated, which it adds to.
func fromEnvironment(flags *flag.FlagSet, getenv func(string) string) (err error) {
	flags.VisitAll(func(f *flag.Flag) {
		name := "RDEV_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		value := getenv(name)
		if value == "" && f.Name == "cache-ttl" {
			name, value = "CACHE_TTL", getenv("CACHE_TTL")
		}
		if value == "" || err != nil {
			return
		}
		for _, one := range values(f, value) {
			if e := f.Value.Set(one); e != nil {
				err = fmt.Errorf("the environment variable %s: %q: %w", name, value, e)
			}
		}
	})
	return err
}

// values are those of a variable: of a flag that may be repeated there are several, with commas.
func values(f *flag.Flag, value string) []string {
	if _, repeated := f.Value.(*daemon.List); repeated {
		return strings.Split(value, ",")
	}
	return []string{value}
}
