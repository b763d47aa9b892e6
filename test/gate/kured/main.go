//go:build linux

// Command kured is a double of kured (github.com/kubereboot/kured): what of kured 1.23 meets the reboot gate, written anew from what that
// does, because its module cannot be had by the product's build. Tests that are given the real one run it in place of this, with the same flags.
//
// Words: a look is what it does once in a period. Its order is window, sentinel, blockers, lock, drain, reboot; each ends the look where it says no. The lock is an
// annotation of kured's DaemonSet. A reboot is a command, and after it this program waits to be ended; started anew and with the lock, it takes
// the node back and lets go.
//
// It is kured's in this, too:
//
//   - The first look is after half a period to one and a half. The metric kured_reboot_required is set once a minute, and follows the sentinel alone.
//   - A sentinel command and a reboot command run among the host's mounts, those of process 1: it takes the host's processes, and root. A sentinel command that ends
//     with 0 is a wish, with 1 none, with another none and a warning; one that cannot be started ends the program.
//   - An alert blocks that is pending or firing, unless --alert-firing-only, and whose name the filter does not have. Prometheus failing blocks.
//   - Variables beat flags: KURED_REBOOT_SENTINEL is --reboot-sentinel.
//
// It is not kured's in this: a drain is a cordon, and no pod is moved; there is one lock, which never ends by itself; the window has no days, and is in UTC.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"stella/internal/kube"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.LookupEnv, os.Stderr); err != nil {
		fmt.Fprintf(os.Stderr, "kured (a double): %v\n", err)
		os.Exit(1)
	}
}

// options are kured's flags.
type options struct {
	node                      string
	sentinel, sentinelCommand string
	rebootCommand             string
	period                    time.Duration
	prometheus                string
	firingOnly, matchOnly     bool
	filter                    string
	namespace, name, lock     string
	start, end                string
	metricsHost               string
	metricsPort               int
	// mounts is where the kernel has the host's mount namespace.
	mounts string
}

func parse(args []string, lookup func(string) (string, bool)) (options, error) {
	o := options{mounts: "/proc/1/ns/mnt"}
	var flags flag.FlagSet
	flags.Init("kured", flag.ContinueOnError)
	flags.StringVar(&o.node, "node-id", "", "the node's `name`")
	flags.StringVar(&o.sentinel, "reboot-sentinel", "/var/run/reboot-required", "`file` whose existence is a wish for a reboot")
	flags.StringVar(&o.sentinelCommand, "reboot-sentinel-command", "", "`command` that is asked in its place")
	flags.StringVar(&o.rebootCommand, "reboot-command", "/bin/systemctl reboot", "`command` that reboots")
	flags.DurationVar(&o.period, "period", time.Hour, "how often to look")
	flags.StringVar(&o.prometheus, "prometheus-url", "", "`URL` of a Prometheus whose alerts block")
	flags.BoolVar(&o.firingOnly, "alert-firing-only", false, "pending alerts do not block")
	flags.StringVar(&o.filter, "alert-filter-regexp", "", "`names` of alerts that do not block")
	flags.BoolVar(&o.matchOnly, "alert-filter-match-only", false, "those are the only ones that do")
	flags.StringVar(&o.namespace, "ds-namespace", "kube-system", "`namespace` of the DaemonSet with the lock")
	flags.StringVar(&o.name, "ds-name", "kured", "its `name`")
	flags.StringVar(&o.lock, "lock-annotation", "weave.works/kured-node-lock", "`key` of the lock")
	flags.StringVar(&o.start, "start-time", "0:00", "`time` from which reboots may be, in UTC")
	flags.StringVar(&o.end, "end-time", "23:59:59", "`time` until which reboots may be, in UTC")
	flags.StringVar(&o.metricsHost, "metrics-host", "", "`host` to listen at")
	flags.IntVar(&o.metricsPort, "metrics-port", 8080, "`port` to listen at")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	var err error
	flags.VisitAll(func(f *flag.Flag) {
		name := "KURED_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		if value, ok := lookup(name); ok && err == nil {
			if err = f.Value.Set(value); err != nil {
				err = fmt.Errorf("%s: %w", name, err)
			}
		}
	})
	if err == nil && o.node == "" {
		err = errors.New("KURED_NODE_ID has to be the node's name")
	}
	return o, err
}

// run is the program, until ctx ends.
func run(ctx context.Context, args []string, lookup func(string) (string, bool), stderr io.Writer) error {
	o, err := parse(args, lookup)
	if err != nil {
		return err
	}
	d, err := newDaemon(o, slog.New(slog.NewTextHandler(stderr, nil)))
	if err != nil {
		return err
	}
	return d.run(ctx)
}

func newDaemon(o options, log *slog.Logger) (*daemon, error) {
	d := &daemon{options: o, log: log}
	var err error
	if d.window, err = newWindow(o.start, o.end); err != nil {
		return nil, err
	}
	if d.names, err = regexp.Compile(o.filter); err != nil {
		return nil, err
	}
	if d.wished, err = newSentinel(o, log); err != nil {
		return nil, err
	}
	config, err := configuration()
	if err != nil {
		return nil, err
	}
	d.api = kube.New(config, "kured-double")
	return d, nil
}

// configuration is that of the pod, or of a kubeconfig where this is none.
func configuration() (kube.Config, error) {
	config, err := kube.InCluster()
	if errors.Is(err, kube.ErrNotInCluster) {
		return kube.Kubeconfig("", "")
	}
	return config, err
}

// daemon is kured on one node.
type daemon struct {
	options
	log    *slog.Logger
	api    *kube.Client
	window window
	// names is the filter.
	names *regexp.Regexp
	// wished asks the sentinel.
	wished func() (bool, error)
	// required is the metric: 0 or 1.
	required atomic.Int32
}

// run looks and serves until ctx ends, or something does that should not.
func (d *daemon) run(ctx context.Context) error {
	defer d.api.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var parts sync.WaitGroup
	for _, part := range []func(context.Context) error{d.metrics, d.follow, d.loop} {
		parts.Go(func() { cancel(part(ctx)) })
	}
	parts.Wait()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// follow sets the metric.
func (d *daemon) follow(ctx context.Context) error {
	ticker := time.NewTicker(time.Minute)
	defer ticker.Stop()
	for {
		wished, err := d.wished()
		if err != nil {
			return err
		}
		if wished {
			d.required.Store(1)
		} else {
			d.required.Store(0)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

// metrics serves the metric.
func (d *daemon) metrics(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		fmt.Fprintf(w, "# HELP kured_reboot_required Whether the sentinel wants a reboot.\n# TYPE kured_reboot_required gauge\nkured_reboot_required{node=%q} %d\n", d.node, d.required.Load())
	})
	server := &http.Server{Addr: net.JoinHostPort(d.metricsHost, strconv.Itoa(d.metricsPort)), Handler: mux, ReadHeaderTimeout: time.Minute}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	return server.ListenAndServe()
}
