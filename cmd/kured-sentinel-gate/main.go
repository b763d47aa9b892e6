// Command kured-sentinel-gate stands between a node that wants a reboot and kured, which would do it: it lets the wish through, as
// a file or as an exit code, only while everything that was asked for is known to be well.
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
	"slices"
	"strconv"
	"strings"
	"syscall"
	_ "time/tzdata" // for --window in an image that has no zones

	"stella/internal/daemon"
	"stella/internal/gate/loop"
	"stella/internal/gate/sentinel"
)

// version is set by the linker: -X main.version=1.2.3.
var version = "0.0.0-dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr, os.Getenv))
}

const about = `kured-sentinel-gate lets kured reboot this node only while all checks pass.

  kured-sentinel-gate [FLAGS]           look each period; make, renew and remove the gated file
  kured-sentinel-gate --once [FLAGS]    look once, for kured's --reboot-sentinel-command: exit 0 wants a reboot, 1 does not
  kured-sentinel-gate granted [FLAGS]   the same, by the gated file that another one renews: its grant must not be over
  kured-sentinel-gate expire [FLAGS]    remove the gated file when nobody renews it; in a container of its own`

func run(ctx context.Context, args []string, stdout, stderr io.Writer, getenv func(string) string) int {
	m := daemon.Main{Name: "kured-sentinel-gate", Version: version, Stdout: stdout, Stderr: stderr, About: about}
	// The budget is 16 MiB for ever. What it allocates is little; to collect it at once costs nothing that could be measured.
	if getenv("GOGC") == "" {
		debug.SetGCPercent(20)
	}
	command := ""
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		command, args = args[0], args[1:]
	}
	switch command {
	case "":
		return watch(ctx, m, args, getenv)
	case "granted":
		return granted(m, args)
	case "expire":
		return expire(ctx, m, args, getenv)
	}
	return m.Fail(daemon.Misuse, fmt.Errorf("%q is no command: there are granted and expire; without one it is the gate itself", command))
}

const gatedFile = "/var/run/gated-reboot-required"

func watch(ctx context.Context, m daemon.Main, args []string, getenv func(string) string) int {
	o := loop.Options{Version: version, PodName: getenv("POD_NAME")}
	var flags flag.FlagSet
	once := flags.Bool("once", false, "look once and exit: 0 wants a reboot, 1 does not")
	flags.StringVar(&o.Node, "node", getenv("NODE_NAME"), "the node's `name` in Kubernetes; also NODE_NAME (default the host's name)")
	flags.StringVar(&o.Namespace, "namespace", getenv("POD_NAMESPACE"), "`namespace` of the gates, where their Lease is; also POD_NAMESPACE (default kube-system)")
	flags.StringVar(&o.Raw, "raw-file", "/var/run/reboot-required", "`file` by which the system wants a reboot")
	flags.StringVar(&o.Gated, "gated-file", gatedFile, "`file` that kured looks for: its --reboot-sentinel")
	flags.StringVar(&o.Proc, "proc", "/proc", "`directory` of a procfs, which tells when the machine was booted")
	flags.StringVar(&o.Kubeconfig, "kubeconfig", "", "`file` with access to Kubernetes (default the pod's service account)")
	flags.DurationVar(&o.Period, "period", loop.DefaultPeriod, "how often it looks")
	most, err := maxIter(getenv("MAX_ITER"))
	if err != nil {
		return m.Fail(daemon.Misuse, err)
	}
	flags.IntVar(&o.MaxIter, "max-iter", most, "after how many looks it ends, to be started anew; 0 is never; also MAX_ITER")
	defineChecks(&flags, &o)
	flags.StringVar(&o.Admin, "admin", "127.0.0.1:9329", "`HOST:PORT` for metrics and health; empty is none")
	flags.StringVar(&o.TLSCert, "tls-cert", "", "`file` with the certificate for --admin, in PEM")
	flags.StringVar(&o.TLSKey, "tls-key", "", "`file` with its key")
	flags.BoolVar(&o.AllowPlainHTTP, "allow-plain-http", false, "let --admin be without TLS beyond loopback, behind something that has it")
	flags.StringVar(&o.TokenFile, "token-file", "", "`file` with the bearer token that --admin asks for; needed beyond loopback")
	log, code, ok := m.Parse(&flags, args)
	if *once || slices.Contains(args, "--once") || slices.Contains(args, "-once") {
		// 0 would be a reboot: neither --help nor a mistake before --once may end with it.
		if !ok {
			return loop.NoReboot
		}
		o.Admin = ""
	}
	if !ok {
		return code
	}
	o.Log = log
	if err := o.Validate(); err != nil && *once {
		return m.Fail(loop.NoReboot, err)
	} else if err != nil {
		return m.Fail(daemon.Misuse, err)
	}
	if *once {
		return loop.Once(ctx, o)
	}
	return m.Fail(daemon.Failed, loop.Serve(ctx, o, func() { daemon.TrimSoon(log) }))
}

func defineChecks(flags *flag.FlagSet, o *loop.Options) {
	flags.Var((*daemon.List)(&o.AllowCordoned), "allow-cordoned", "`node` that may be cordoned: a name, or a label as key=value; repeatable")
	flags.Var((*daemon.List)(&o.Workloads), "workload", "what must be healthy: `NAMESPACE/SELECTOR:MINIMUM`, such as calico-system/k8s-app=calico-node:3, or NAMESPACE/daemonset/NAME:MINIMUM; repeatable")
	flags.DurationVar(&o.Soak, "soak", loop.DefaultSoak, "how long no node may have been rebooted; 0 is not to ask")
	flags.BoolVar(&o.SoakUntold, "soak-untold", false, "take a node without a gate for booted when it last became Ready")
	flags.BoolVar(&o.Claims, "claims", false, "no PersistentVolumeClaim may be unbound")
	flags.Var((*daemon.List)(&o.ClaimsIgnore), "claims-ignore", "a claim that does not count: `NAMESPACE/NAME`, or NAMESPACE/* for all of a namespace; repeatable")
	flags.BoolVar(&o.ClaimsUnplaced, "claims-ignore-unplaced", false, "claims that wait for their first consumer do not count while no pod that uses them was placed")
	flags.BoolVar(&o.Budgets, "budgets", true, "no PodDisruptionBudget may forbid the drain of this node")
	flags.IntVar(&o.ControlPlane, "control-plane", 0, "how many nodes of the control plane must be Ready without this one; 0 is not to ask")
	flags.Var((*daemon.List)(&o.Windows), "window", "`hours` in which a node may be rebooted, such as \"Mo-Fr 02:00-05:00 Europe/Berlin\"; repeatable")
	flags.DurationVar(&o.Delay, "delay", 0, "least time between two nodes; 0 is not to wait for others")
	flags.StringVar(&o.Prometheus, "prometheus-url", "", "`URL` of a Prometheus: no alert may fire")
	flags.StringVar(&o.Alertmanager, "alertmanager-url", "", "`URL` of an Alertmanager, which also knows what is silenced")
	flags.StringVar(&o.AlertsToken, "alerts-token-file", "", "`file` with the bearer token for it")
	flags.StringVar(&o.AlertsCA, "alerts-ca-file", "", "`file` with the certificates that its own is checked by, in PEM (default the system's)")
	flags.StringVar(&o.Watchdog, "alerts-watchdog", loop.DefaultWatchdog, "`name` of an alert that always fires: where it does not, nobody evaluates rules")
	flags.BoolVar(&o.Pending, "alerts-pending", false, "alerts that are pending count, too")
	flags.StringVar(&o.IgnoreFile, "ignore-file", "", "`file` with rules for alerts that are ignored for a while")
	flags.StringVar(&o.Kured, "kured-daemonset", loop.AnyKured, "`NAMESPACE/NAME` of kured's DaemonSet, for the proof that it reads --gated-file; auto is kube-system/kured, or else the one labelled app.kubernetes.io/name=kured; empty is no proof")
	flags.BoolVar(&o.NoKuredMetric, "no-kured-metric", false, "prove nothing by kured's own metric, where its port cannot be reached")
	flags.StringVar(&o.HostRoot, "host-root", "", "`directory` where the host's file system is mounted, for a proof by a file")
}

// maxIter reads the variable, which seeds of this gate had.
func maxIter(text string) (int, error) {
	if text == "" {
		return loop.DefaultMaxIter, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("MAX_ITER=%.40q: write how many looks there may be, or 0 for no end", text)
	}
	return n, nil
}

func granted(m daemon.Main, args []string) int {
	var flags flag.FlagSet
	path := flags.String("gated-file", gatedFile, "`file` of the gate")
	log, _, ok := m.Parse(&flags, args)
	if !ok {
		return loop.NoReboot // also for --help: 0 would be a reboot
	}
	now, err := sentinel.Now()
	if err == nil {
		var g *sentinel.Grant
		if g, err = sentinel.Valid(*path, now); err == nil {
			log.Info("this node may be rebooted", "since", g.AllowedAt, "until", g.ValidUntil, "reason", g.Reason)
			return loop.Reboot
		}
	}
	return m.Fail(loop.NoReboot, fmt.Errorf("this node may not be rebooted: %w", err))
}

func expire(ctx context.Context, m daemon.Main, args []string, _ func(string) string) int {
	var o sentinel.Options
	var flags flag.FlagSet
	flags.StringVar(&o.Gated, "gated-file", gatedFile, "`file` of the gate")
	flags.DurationVar(&o.Period, "period", loop.DefaultPeriod, "how often the gate looks: its --period")
	log, code, ok := m.Parse(&flags, args)
	if !ok {
		return code
	}
	o.Log = log
	var err error
	if o.Gated, err = filepath.Abs(o.Gated); err != nil {
		return m.Fail(daemon.Misuse, err)
	}
	daemon.TrimSoon(log)
	return m.Fail(daemon.Failed, sentinel.Expire(ctx, o))
}
