package loop

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"stella/internal/gate/window"
	"stella/internal/listen"
)

// What holds where an option says nothing else.
const (
	DefaultPeriod  = 300 * time.Second
	DefaultMaxIter = 72
	DefaultSoak    = 24 * time.Hour
	// AnyKured in the place of kured's DaemonSet is kube-system/kured, or else the one with kured's label.
	AnyKured = "auto"
	// DefaultWatchdog is the alert that always fires of the rules that most clusters have (kube-prometheus).
	DefaultWatchdog = "Watchdog"
	// leastPeriod is what a look may at least take.
	leastPeriod = time.Second
	// maxConnections is how many may ask for metrics at a time, at some 30 KiB each: Prometheus, a kubelet, and a person.
	maxConnections = 16
)

// Options are those of a gate.
type Options struct {
	Version string
	// Node is the name of the node; PodName and Namespace are those of the pod that this runs in.
	Node, PodName, Namespace string
	// Raw and Gated are the files, as this process sees them.
	Raw, Gated string
	// Proc is the root of a procfs; empty is /proc.
	Proc       string
	Kubeconfig string // empty is the pod's service account

	Period  time.Duration
	MaxIter int
	// Every is the time between two looks where that is not Period: tests that let months pass in minutes leave each look its deadline.
	Every time.Duration

	// The checks. Nodes and hold are always looked at.
	AllowCordoned []string
	Workloads     []string // NAMESPACE/SELECTOR:MINIMUM, or NAMESPACE/daemonset/NAME:MINIMUM
	Soak          time.Duration
	SoakUntold    bool
	Claims        bool
	ClaimsIgnore  []string // each NAMESPACE/NAME, or NAMESPACE/*
	// ClaimsUnplaced leaves out claims that wait for a first consumer which no pod is.
	ClaimsUnplaced bool
	Budgets        bool
	ControlPlane   int
	Windows        []string
	Delay          time.Duration
	Prometheus     string
	Alertmanager   string
	AlertsToken    string // a file
	AlertsCA       string // a file
	Watchdog       string
	Pending        bool
	IgnoreFile     string
	// Kured is NAMESPACE/NAME of kured's DaemonSet, or AnyKured; empty asks for no proof of the path. HostRoot is where the host's file system is mounted; empty is nowhere.
	Kured, HostRoot string
	// NoKuredMetric leaves kured's metric alone, where it cannot be reached.
	NoKuredMetric bool

	// Admin is where metrics and health are served, empty is nowhere; the rest as for the other daemons.
	Admin, TLSCert, TLSKey, TokenFile string
	AllowPlainHTTP                    bool

	Log *slog.Logger

	token   string
	windows []window.Window
}

// Validate finds what is wrong before anything is done, and fills in what is not given.
func (o *Options) Validate() (err error) {
	o.Period, o.Proc = cmp.Or(o.Period, DefaultPeriod), cmp.Or(o.Proc, "/proc")
	switch {
	case o.Node == "":
		if o.Node, err = os.Hostname(); err != nil {
			return fmt.Errorf("the host has no name; give the node's with --node: %w", err)
		}
	case o.Period < leastPeriod:
		return fmt.Errorf("--period %v: it may be %v at least", o.Period, leastPeriod)
	case o.MaxIter < 0:
		return fmt.Errorf("--max-iter %d: write how many looks there may be, or 0 for no end", o.MaxIter)
	case o.Soak < 0 || o.Delay < 0 || o.ControlPlane < 0:
		return errors.New("--soak, --delay and --control-plane cannot be negative")
	case o.Delay > 0 && o.Delay < 2*o.Period:
		return fmt.Errorf("--delay %v: it has to be two periods (%v) at least, in which a gate that died is noticed", o.Delay, 2*o.Period)
	case o.Prometheus != "" && o.Alertmanager != "":
		return errors.New("--prometheus-url and --alertmanager-url exclude each other: an Alertmanager has the alerts of its Prometheus, and knows which are silenced")
	case o.Prometheus == "" && o.Alertmanager == "" && slices.ContainsFunc([]string{o.AlertsToken, o.AlertsCA, o.IgnoreFile}, func(s string) bool { return s != "" }):
		return errors.New("--alerts-token-file, --alerts-ca-file and --ignore-file are about alerts: give --prometheus-url or --alertmanager-url")
	}
	if err := o.files(); err != nil {
		return err
	}
	for _, text := range o.Windows {
		w, err := window.Parse(text)
		if err != nil {
			return fmt.Errorf("--window: %w", err)
		}
		o.windows = append(o.windows, w)
	}
	if o.Admin == "" {
		return nil
	}
	if err := o.admin().Validate(); err != nil {
		return fmt.Errorf("--admin: %w", err)
	}
	o.token, err = listen.ReadToken(o.TokenFile, o.Admin)
	return err
}

func (o *Options) files() (err error) {
	for _, f := range []struct {
		flag string
		path *string
	}{{"--raw-file", &o.Raw}, {"--gated-file", &o.Gated}} {
		if *f.path == "" {
			return fmt.Errorf("%s: it cannot be empty", f.flag)
		}
		if *f.path, err = filepath.Abs(*f.path); err != nil {
			return fmt.Errorf("%s: %w", f.flag, err)
		}
	}
	if o.Raw == o.Gated {
		return fmt.Errorf("--raw-file and --gated-file are both %s: kured would see the system's file, and the gate would remove it", o.Raw)
	}
	return nil
}

func (o *Options) admin() listen.TCPOptions {
	return listen.TCPOptions{Address: o.Admin, CertFile: o.TLSCert, KeyFile: o.TLSKey, AllowPlain: o.AllowPlainHTTP, Connections: maxConnections}
}
