package loop

import (
	"fmt"
	"strings"

	"stella/internal/gate"
	"stella/internal/gate/alerts"
	"stella/internal/gate/cluster"
	"stella/internal/gate/kured"
	"stella/internal/gate/sentinel"
	"stella/internal/gate/window"
	"stella/internal/kube"
)

// built is what a gate asks.
type built struct {
	client *kube.Client
	// checks makes those of one look.
	checks func() []gate.Check
	// proof is that kured reads what is written.
	proof []gate.Check
}

// build makes the checks that were asked for. file is nil where none is written, as kured asks by an exit code: then there is no path to prove.
func (o *Options) build(file *sentinel.File) (*built, error) {
	workloads, err := o.workloads()
	if err != nil {
		return nil, err
	}
	client, err := o.connect()
	if err != nil {
		return nil, err
	}
	b := &built{client: client}
	if o.Kured != "" && file != nil {
		namespace, name, ok := strings.Cut(o.Kured, "/")
		switch {
		case o.Kured == AnyKured:
			namespace, name = "", ""
		case !ok || namespace == "" || name == "":
			return nil, fmt.Errorf("--kured-daemonset %q: write NAMESPACE/NAME, %s, or nothing where no proof is wanted", o.Kured, AnyKured)
		}
		b.proof = []gate.Check{kured.Path(client, kured.Options{
			Node: o.Node, Namespace: namespace, Name: name, PodNamespace: o.Namespace, Pod: o.PodName, Raw: o.Raw, Gated: file, HostRoot: o.HostRoot, NoMetric: o.NoKuredMetric,
		})}
	}
	// What keeps state from look to look, or needs none, is made once; a Look at the nodes is for one.
	var same []gate.Check
	if len(workloads) > 0 {
		same = append(same, cluster.Workloads(client, workloads...))
	}
	if o.Claims {
		same = append(same, cluster.Claims(client, cluster.ClaimsOptions{Ignore: o.ClaimsIgnore, IgnoreUnplaced: o.ClaimsUnplaced}))
	}
	if o.Budgets {
		same = append(same, cluster.Budgets(client, o.Node))
	}
	if len(o.windows) > 0 {
		same = append(same, window.Check(o.windows))
	}
	if o.Prometheus != "" || o.Alertmanager != "" {
		firing, err := o.alerts()
		if err != nil {
			return nil, err
		}
		same = append(same, firing)
	}
	same = append(same, b.proof...)
	b.checks = func() []gate.Check { return append(o.look(client), same...) }
	return b, nil
}

// look makes the checks that share one look at the nodes.
func (o *Options) look(client *kube.Client) []gate.Check {
	l := cluster.NewLook(client, o.Node)
	checks := []gate.Check{l.Hold(o.Namespace), l.Nodes(cluster.NodesOptions{AllowCordoned: o.AllowCordoned})}
	if o.Soak > 0 {
		checks = append(checks, l.Soak(cluster.SoakOptions{For: o.Soak, Proc: o.Proc, AllowUntold: o.SoakUntold}))
	}
	if o.ControlPlane > 0 {
		checks = append(checks, l.ControlPlane(o.ControlPlane))
	}
	return checks
}

func (o *Options) alerts() (gate.Check, error) {
	a := alerts.Options{
		Kind: alerts.Prometheus, URL: o.Prometheus, TokenFile: o.AlertsToken, CAFile: o.AlertsCA, Watchdog: o.Watchdog, Pending: o.Pending, IgnoreFile: o.IgnoreFile,
	}
	if o.Alertmanager != "" {
		a.Kind, a.URL = alerts.Alertmanager, o.Alertmanager
	}
	check, err := alerts.Check(a)
	if err != nil {
		return gate.Check{}, fmt.Errorf("the check of alerts: %w", err)
	}
	return check, nil
}

func (o *Options) workloads() ([]cluster.Workload, error) {
	var all []cluster.Workload
	for _, text := range o.Workloads {
		w, err := cluster.ParseWorkload(text)
		if err != nil {
			return nil, fmt.Errorf("--workload: %w", err)
		}
		all = append(all, w)
	}
	return all, nil
}
