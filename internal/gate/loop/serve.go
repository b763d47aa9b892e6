package loop

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"stella/internal/gate"
	"stella/internal/gate/sentinel"
	"stella/internal/gate/turn"
	"stella/internal/kube"
	"stella/internal/listen"
)

// The exit codes of kured's --reboot-sentinel-command. Any other is a failure to kured, which it logs.
const (
	Reboot   = 0
	NoReboot = 1
)

const (
	// readHeader and maxHeader bound what a caller of the admin listener can take.
	readHeader = 5 * time.Second
	maxHeader  = 8 << 10
	// onceTimeout bounds a look of --once: kured waits for it without an end of its own.
	onceTimeout = 2 * time.Minute
)

// Serve runs a gate until ctx ends, or it has looked as often as it may. ready is called when it serves.
func Serve(ctx context.Context, o Options, ready func()) error {
	file, err := sentinel.Open(o.Gated, o.Log)
	if err != nil {
		return err
	}
	b, err := o.build(file)
	if err != nil {
		return err
	}
	defer b.client.Close()
	metrics := &Metrics{Node: o.Node, Period: o.Period, Version: o.Version, Gated: func() bool { return isThere(o.Gated) }}
	l := &Loop{
		Node: o.Node, Raw: o.Raw, Gated: file, Period: o.Period, Every: o.Every, MaxIter: o.MaxIter, Checks: b.checks, Proof: b.proof,
		Cluster: &Node{Client: b.client, Name: o.Node, Proc: o.Proc}, Metrics: metrics, Log: o.Log,
	}
	if o.Delay > 0 {
		l.Turn = turn.New(b.client, o.Namespace, o.Node, o.Delay)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	work, ctx := errgroup.WithContext(ctx)
	if o.Admin != "" {
		admin, err := listen.TCP(ctx, o.admin())
		if err != nil {
			return err
		}
		server := &http.Server{Handler: listen.WithToken(o.token, isHealth, metrics.Handler()), ReadHeaderTimeout: readHeader, MaxHeaderBytes: maxHeader}
		work.Go(func() error { return listen.Serve(ctx, server, admin) })
		o.Admin = admin.Addr().String() // where it was asked for any port
	}
	o.Log.Info("ready", "version", o.Version, "node", o.Node, "raw", o.Raw, "gated", o.Gated, "period", o.Period, "admin", o.Admin)
	ready()
	work.Go(func() error {
		defer stop() // the end of the loop is that of all
		return l.Run(ctx)
	})
	return work.Wait()
}

// Once looks once, and returns an exit code for kured. It makes no file. With a delay between nodes it takes the turn, and does not give it back: that is
// what a gate ([Serve]) with the same delay does, which has to run on the node, too.
func Once(ctx context.Context, o Options) int {
	ctx, cancel := context.WithTimeout(ctx, onceTimeout)
	defer cancel()
	pending, wanted, err := sentinel.Raw(o.Raw)
	switch {
	case err != nil:
		o.Log.Error("whether a reboot is wanted cannot be told, so it is not", "err", err)
		return NoReboot
	case !wanted:
		o.Log.Info("no reboot is required", "file", o.Raw)
		return NoReboot
	}
	b, err := o.build(nil)
	if err != nil {
		o.Log.Error("blocked", "err", err)
		return NoReboot
	}
	defer b.client.Close()
	checks := b.checks()
	if o.Delay > 0 {
		checks = append(checks, turn.New(b.client, o.Namespace, o.Node, o.Delay).Check())
	}
	v := gate.Decide(ctx, o.Node, pending, time.Now(), checks, nil)
	for _, r := range v.Blocking() {
		o.Log.Info("blocked", "check", r.Check, "outcome", r.Outcome, "reason", r.Reason, "detail", r.Detail)
	}
	if !v.Open {
		return NoReboot
	}
	o.Log.Info("ALL CHECKS PASSED: the node may be rebooted")
	return Reboot
}

func isThere(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func isHealth(path string) bool { return path == "/livez" || path == "/readyz" }

// connect is the client of the API server.
func (o *Options) connect() (*kube.Client, error) {
	config, err := kube.InCluster()
	if o.Kubeconfig != "" {
		config, err = kube.Kubeconfig(o.Kubeconfig, "")
	}
	if err != nil {
		return nil, fmt.Errorf("the gate asks Kubernetes: %w; outside a pod, give --kubeconfig", err)
	}
	if o.Namespace == "" {
		o.Namespace = config.Namespace
	}
	return kube.New(config, "kured-sentinel-gate/"+o.Version), nil
}
