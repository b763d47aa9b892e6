// Package kured finds out whether kured goes by the file that the gate writes. If it does not, nothing that the gate finds matters.
//
// Words: kured's path is the one that it asks for, in its own container; the host path is what that is on the node, by the volumes of the pod. The gate's own
// path has a host path likewise. The two have to be one. What shows that is a proof:
//
//   - configuration: the pod of kured on this node, as the API has it, not the DaemonSet, which may have changed since. Flags and variables are read as kured
//     1.15 to 1.23 read them (cmd/kured/main.go there). Since 1.16.2 a variable beats a flag, and before a flag beat a variable, so that both with two values are an error here.
//   - canary: what the gate writes in its directory can be read in that of kured. It takes the host's file system, mounted in the gate's container.
//     Without it /var/run counts as /run, which it is on nearly every system, and other links are not known.
//   - metric: kured_reboot_required of that pod follows the gated file. kured sets it once a minute.
//
// Hazards:
//
//   - A gate that kured does not ask cannot keep it from rebooting, and all that is left is to say so. The check then blocks, which is for the people who look at it.
//   - The metric says whether there is a file, and not which. It shows a wrong path only while the two files differ.
//   - It takes leave to get (and without a name to list) daemonsets, to list pods in kured's namespace, and to get pods in the gate's own.
//   - A file that is mounted alone, without its directory, is forever the one that was there at the start. It counts as a mismatch.
package kured

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"strings"
	"time"

	"stella/internal/gate"
	"stella/internal/gate/cluster"
	"stella/internal/gate/sentinel"
	"stella/internal/kube"
)

// Name is that of the check.
const Name = "path"

// Reasons of the check. To these come those of [cluster.Reason] for errors of the API.
const (
	// ReasonNoKured: there is no DaemonSet of kured.
	ReasonNoKured = "no_kured"
	// ReasonAmbiguous: there are two, of DaemonSets or pods or containers.
	ReasonAmbiguous = "ambiguous"
	// ReasonNotRunning: kured does not run on this node.
	ReasonNotRunning = "not_running"
	// ReasonUnreadable: the configuration of kured, or of the gate, cannot be understood.
	ReasonUnreadable = "unreadable"
	// ReasonCommand: kured asks a command that is not the gate.
	ReasonCommand = "command"
	// ReasonMismatch: kured looks elsewhere.
	ReasonMismatch = "mismatch"
	// ReasonBypassed: kured sees a wish for a reboot that the gate did not let through.
	ReasonBypassed = "bypassed"
	// ReasonUnsettled: it may be so, and the next look will tell.
	ReasonUnsettled = "unsettled"
	// ReasonNotSeen: kured does not see the gated file.
	ReasonNotSeen = "not_seen"
	// ReasonCanary: no canary could be written or looked for.
	ReasonCanary = "canary"
	// ReasonMetric: the metric of kured could not be read.
	ReasonMetric = "metric"
)

// timeout bounds the check: four requests to the API, and one to kured.
const timeout = 30 * time.Second

// Options of the check.
type Options struct {
	// Node is the node's name.
	Node string
	// Namespace and Name are those of kured's DaemonSet, kube-system and kured where they are "". Without a name it is also looked for by the label of
	// kured's chart, app.kubernetes.io/name=kured: in the namespace, or without one in all.
	Namespace, Name string
	// PodNamespace and Pod are the gate's own pod. Without a name the gate runs on the host itself, and its paths are those of the host.
	PodNamespace, Pod string
	// Raw is the raw sentinel as the gate sees it, Gated the file that it writes.
	Raw   string
	Gated *sentinel.File
	// HostRoot is where the host's file system is mounted, for a canary; "" is nowhere.
	HostRoot string
	// NoMetric leaves the metric of kured alone, where it cannot be reached.
	NoMetric bool
}

// checker is the state of the check between looks.
type checker struct {
	Options
	client *kube.Client
	http   *http.Client
	// own are the gate's paths on the host. They do not change while the pod lives.
	own *ownPaths
	seen
}

// Path is the check that kured reads the path that is written.
func Path(client *kube.Client, o Options) gate.Check {
	c := &checker{Options: o, client: client, http: metricClient()}
	return gate.Check{Name: Name, Timeout: timeout, Run: c.run}
}

// refusal is a result that ends the check.
type refusal struct{ gate.Result }

func (r *refusal) Error() string { return r.Detail }

func blocked(reason, clears, format string, args ...any) error {
	return &refusal{gate.Blocked(reason, clears, format, args...)}
}

func cannotTell(reason string, err error) error { return &refusal{gate.CannotTell(reason, err)} }

func (c *checker) run(ctx context.Context) gate.Result {
	proofs, err := c.prove(ctx)
	var r *refusal
	switch {
	case err == nil:
		return gate.Passed("kured goes by the gate; proofs: %s", strings.Join(proofs, "; "))
	case errors.As(err, &r):
		return r.Result
	}
	return gate.CannotTell(cluster.Reason(err), err)
}

// prove returns what shows that kured goes by the gated file. Its error is a refusal, or one of the API.
func (c *checker) prove(ctx context.Context) ([]string, error) {
	pod, err := c.kured(ctx)
	if err != nil {
		return nil, err
	}
	container, err := pod.kured()
	if err != nil {
		return nil, err
	}
	s, err := read(container)
	if err != nil {
		return nil, cannotTell(ReasonUnreadable, fmt.Errorf("the pod %s of kured: %w", pod.Metadata.Name, err))
	}
	theirs, asksUs, err := asked(pod, container, s)
	if asksUs || err != nil {
		return []string{"configuration: it runs " + s.command}, err
	}
	if c.own == nil {
		if c.own, err = c.ownPaths(ctx); err != nil {
			return nil, err
		}
	}
	proofs, err := c.compare(theirs, s)
	if err != nil || c.NoMetric {
		return proofs, err
	}
	proof, err := c.watch(ctx, pod, s.port)
	return append(proofs, proof), err
}

// asked is the host path that kured asks for, or that it asks the gate itself.
func asked(p *pod, c *container, s settings) (theirs string, asksUs bool, err error) {
	const clears = "kured with --reboot-sentinel and the directory of the gated file mounted, or with --reboot-sentinel-command='kured-sentinel-gate --once ...'"
	if s.command == "" {
		theirs, err = p.hostPath(c, s.sentinel)
		var r *refusal
		if errors.As(err, &r) {
			r.Detail = "kured looks for " + s.sentinel + " in its container, and " + r.Detail
			r.Clears = clears
		}
		return theirs, false, err
	}
	theirs, asksUs = commandAsks(s.command)
	if theirs == "" && !asksUs {
		err = blocked(ReasonCommand, clears, "kured asks a command, not the gated file: %s", s.command)
	}
	return theirs, asksUs, err
}

// compare compares the host paths.
func (c *checker) compare(theirs string, s settings) ([]string, error) {
	gated := c.own.gated
	fix := "kured with the host's " + gated + " as its sentinel"
	if same(theirs, c.own.raw) {
		return nil, blocked(ReasonBypassed, fix, "kured goes by %s of the host, which is the raw sentinel: it reboots without asking the gate", theirs)
	}
	mismatch := func(how string) error {
		return blocked(ReasonMismatch, fix, "kured goes by %s of the host, and the gate writes %s%s: what one says the other does not see", theirs, gated, how)
	}
	proof := "configuration (" + theirs + ", every " + s.period.String() + ")"
	switch {
	case path.Base(theirs) != path.Base(gated):
		return nil, mismatch("")
	case c.HostRoot != "":
		err := c.Gated.Canary(c.HostRoot, path.Dir(theirs))
		if errors.Is(err, sentinel.ErrElsewhere) {
			return nil, mismatch(", as a canary shows")
		} else if err != nil {
			return nil, cannotTell(ReasonCanary, err)
		}
		return []string{proof, "canary"}, nil
	case !same(theirs, gated):
		return nil, mismatch("")
	case theirs != gated:
		proof += ", where the gate writes " + gated + ", taking /var/run for /run"
	}
	return []string{proof}, nil
}

// same reports whether two host paths are one, as far as names show it.
func same(a, b string) bool { return unaliased(a) == unaliased(b) }

// unaliased is a path without the one alias that nearly every system has.
func unaliased(name string) string {
	if rest, ok := strings.CutPrefix(name, "/var/run/"); ok {
		return "/run/" + rest
	}
	return name
}
