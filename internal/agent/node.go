package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"stella/internal/agent/incidents"
	"stella/internal/agent/inspect"
	"stella/internal/incident/spool"
	"stella/internal/kube"
	"stella/internal/oom"
	"stella/internal/oom/counters"
	"stella/internal/oom/kmsg"
	"stella/internal/oom/ledger"
	"stella/internal/oom/owner"
	"stella/internal/oom/samples"
	"stella/internal/oom/trace"
	"stella/internal/oom/tree"
	"stella/internal/oom/victims"
)

// retry is how long a witness that failed is left alone.
const retry = 10 * time.Second

// node is everything that an agent knows of its machine. It implements reads and source.
type node struct {
	o         Options
	log       *slog.Logger
	boot      string
	started   time.Time
	witnesses *witnesses
	owners    *owner.Resolver
	ledger    *ledger.Ledger
	// What follows is nil where the memory controller is not within reach.
	cgroups  *tree.Hierarchy
	counters *counters.Counters
	samples  *samples.Sampler
	inspect  *inspect.Inspector
	kube     *kube.Client // nil without Kubernetes
	victims  *victims.Victims
	outlooks *outlooks
	// incidents is nil where they cannot be kept, and noIncidents says why; outgoing is nil where they are sent nowhere.
	incidents   *incidents.Incidents
	noIncidents error
	outgoing    *spool.Spool
	// lag is told how late a kill came into the ledger.
	lag func(time.Duration)
}

// openNode opens what this machine has. What is missing is said, and done without.
func openNode(o Options) (*node, error) {
	n := &node{o: o, log: o.Log, started: time.Now(), witnesses: &witnesses{log: o.Log}}
	n.outlooks = newOutlooks(n, o.Log)
	n.outlooks.announce = n.announce
	var err error
	if n.boot, err = bootID(n.below("proc")); err != nil {
		return nil, err
	}
	if n.kube, err = connect(o); err != nil {
		return nil, err
	}
	h, err := tree.Find(n.below("proc"), n.below("sys/fs/cgroup"))
	if err == nil {
		n.cgroups = &h
	} else {
		n.witnesses.set(oom.WitnessCounter, stateFailed, err.Error())
	}
	n.owners = owner.New(owner.Options{
		Root: o.Root, Cgroups: n.cgroups, Node: o.Node, Kube: n.kube,
		Changed: func(cgroup string, c oom.Container) { n.ledger.Owned(cgroup, c) },
	})
	n.openVictims()
	n.ledger, err = ledger.Open(o.StateDir, ledger.Options{
		Boot: n.boot, Node: o.Node, MaxBytes: int64(o.MaxBytes), MaxAge: o.MaxAge, Log: o.Log,
		Owner: n.owners.Container, Scope: owner.Scope, Lookup: n.lookup, Victim: n.victim, Victims: n.noted, Main: n.main,
	})
	if err != nil {
		return nil, errors.Join(err, n.closeVictims())
	}
	if n.cgroups != nil {
		err = n.openCounts()
	}
	if err != nil {
		return nil, errors.Join(err, n.ledger.Close(), n.closeVictims())
	}
	if err := n.openIncidents(); err != nil {
		return nil, errors.Join(err, n.close())
	}
	return n, nil
}

// connect makes a client of Kubernetes; nil where there is none.
func connect(o Options) (*kube.Client, error) {
	if o.NoKubernetes {
		return nil, nil
	}
	var config kube.Config
	var err error
	if o.Kubeconfig != "" {
		if config, err = kube.Kubeconfig(o.Kubeconfig, ""); err != nil {
			return nil, fmt.Errorf("--kubeconfig: %w", err)
		}
	} else if config, err = kube.InCluster(); err != nil {
		o.Log.Debug("this runs in no pod", "why", err)
		return nil, nil
	}
	return kube.New(config, "stella-agent/"+o.Version), nil
}

// openCounts opens the counters, the sampler, and what asks applications.
func (n *node) openCounts() (err error) {
	n.counters, err = counters.New(counters.Options{
		Hierarchy: *n.cgroups, Proc: n.below("proc"), Baseline: n.ledger.Baseline, Node: n.ledger.NodeBaseline, Log: n.log,
	})
	if err != nil {
		return err
	}
	n.samples, err = samples.New(samples.Options{
		Root: n.o.Root, Proc: n.below("proc"), Hierarchy: *n.cgroups, Log: n.log, Wanted: wanted,
	})
	if err != nil {
		return err
	}
	n.inspect = inspect.New(inspect.Options{
		Dir: filepath.Join(n.o.StateDir, "heaps"), File: n.o.targets, Every: n.o.InspectEvery, Boot: n.boot, Version: n.o.Version,
		Containers: n.Each, Newest: n.samples.Newest, Main: n.samples.Main, Log: n.log,
	})
	return nil
}

// wanted chooses the cgroups that are sampled as one: containers with all that is in them,
// units, and what is neither; not what only holds those together.
func wanted(path string) bool {
	place := owner.Parse(path)
	switch place.Kind {
	case owner.KindContainer:
		return place.ContainerPath == path
	case owner.KindPod, owner.KindQoS, owner.KindKubepods:
		return false
	}
	return path != "/" && !strings.HasSuffix(path, ".slice")
}

// below is a path of the machine.
func (n *node) below(path string) string { return filepath.Join(n.o.Root, path) }

// bootID is the kernel's id of this boot.
func bootID(proc string) (string, error) {
	text, err := os.ReadFile(filepath.Join(proc, "sys/kernel/random/boot_id"))
	if err != nil {
		return "", fmt.Errorf("which boot of the machine this is: %w; mount its /proc", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// lookup finds the cgroup of a process that was killed just now.
func (n *node) lookup(pid int) (cgroup string, p oom.Process, ok bool) {
	if n.cgroups == nil {
		return "", oom.Process{}, false
	}
	if cgroup, p, ok = n.counters.Lookup(pid); !ok {
		cgroup, p, ok = n.samples.Lookup(pid)
	}
	return cgroup, p, ok
}

// openVictims lets the kernel take notes, if it can.
func (n *node) openVictims() {
	if n.o.NoBPF {
		detail := "switched off"
		if err := victims.Remove(n.o.BPFDir); err != nil {
			detail += ", but still there: " + err.Error()
		}
		n.witnesses.set(oom.WitnessBPF, stateOff, detail)
		return
	}
	v, err := victims.Open(victims.Options{Dir: n.o.BPFDir, Log: n.log})
	switch {
	case errors.Is(err, victims.ErrNotHere):
		n.witnesses.set(oom.WitnessBPF, stateOff, err.Error())
	case err != nil:
		n.witnesses.set(oom.WitnessBPF, stateFailed, err.Error())
	default:
		n.victims = v
		n.witnesses.set(oom.WitnessBPF, stateOK, n.o.BPFDir)
	}
}

func (n *node) closeVictims() error {
	if n.victims == nil {
		return nil
	}
	return n.victims.Close()
}

// victim is what the kernel noted of a process.
func (n *node) victim(pid int) (oom.Victim, bool) {
	if n.victims == nil {
		return oom.Victim{}, false
	}
	return n.victims.Find(pid)
}

// noted are all that the kernel noted, nil where it notes nothing.
func (n *node) noted() []oom.Victim {
	if n.victims == nil {
		return nil
	}
	all := []oom.Victim{}
	err := n.victims.Each(func(v oom.Victim) bool {
		all = append(all, v)
		return true
	})
	if err != nil {
		n.witnesses.set(oom.WitnessBPF, stateFailed, err.Error())
	}
	return all
}

// main is the first process of a cgroup's container.
func (n *node) main(cgroup string) (pid int, alive, ok bool) {
	if n.samples == nil {
		return 0, false, false
	}
	return n.samples.Main(cgroup)
}

// run reads all witnesses until ctx ends.
func (n *node) run(ctx context.Context) error {
	work, ctx := errgroup.WithContext(ctx)
	work.Go(func() error { return n.ledger.Run(ctx) })
	if n.incidents != nil {
		work.Go(func() error { return n.incidents.Run(ctx) })
	}
	if n.outgoing != nil {
		work.Go(func() error { n.outgoing.Run(ctx); return nil })
	}
	work.Go(func() error { return ended(ctx, n.owners.Run(ctx)) })
	if n.cgroups != nil {
		work.Go(func() error { return ended(ctx, n.samples.Run(ctx)) })
		work.Go(func() error { return ended(ctx, n.inspect.Run(ctx)) })
		work.Go(func() error { return ended(ctx, n.count(ctx)) })
		work.Go(func() error {
			n.outlooks.run(ctx)
			return nil
		})
		work.Go(func() error { return ended(ctx, n.cgroups.Watch(ctx, n.log, n.cgroup)) })
	}
	n.keep(ctx, work, oom.WitnessLog, func() error { return n.followLog(ctx) })
	n.keep(ctx, work, oom.WitnessTrace, func() error { return n.followTrace(ctx) })
	n.followRuntimes(ctx, work)
	n.followKubernetes(ctx, work)
	return work.Wait()
}

// ended is no error where ctx ended.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// keep runs a witness, and again when it failed: what cannot be read now may be later.
func (n *node) keep(ctx context.Context, work *errgroup.Group, name oom.Witness, run func() error) {
	work.Go(func() error {
		for {
			err := run()
			if ctx.Err() != nil {
				return nil
			}
			switch {
			case errors.Is(err, trace.ErrNotHere):
				n.witnesses.set(name, stateOff, err.Error())
			case err != nil:
				n.witnesses.set(name, stateFailed, err.Error())
			}
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(retry):
			}
		}
	})
}

// count reads the counters. When that fails it is for good: what they had counted since would be told as new.
func (n *node) count(ctx context.Context) error {
	n.witnesses.set(oom.WitnessCounter, stateOK, n.cgroups.Mount)
	err := n.counters.Run(ctx, n.ledger.Rise)
	if err != nil && ctx.Err() == nil {
		n.witnesses.set(oom.WitnessCounter, stateFailed, err.Error()+"; a new start of the agent reads them again")
		return nil
	}
	return err
}

// cgroup is told of each cgroup that comes and goes.
func (n *node) cgroup(e tree.Event) {
	if e.Complete {
		n.counters.Complete()
		return
	}
	if !e.Added {
		n.counters.Remove(e.Cgroup)
		n.samples.Remove(e.Cgroup)
		return
	}
	n.counters.Add(e.Cgroup)
	n.samples.Add(e.Cgroup)
	n.owners.Container(e.Path) // reads the runtime's files while they are there
}

// followLog reads the kernel log.
func (n *node) followLog(ctx context.Context) error {
	path := n.below("dev/kmsg")
	report := func(r oom.Report) {
		n.ledger.Report(r)
		if r.Time.After(n.started) {
			n.lag(time.Since(r.Time))
		}
	}
	position := func(seq uint64) {
		n.witnesses.set(oom.WitnessLog, stateOK, path)
		n.ledger.Position(seq)
	}
	return kmsg.Follow(ctx, kmsg.Options{Path: path, After: n.ledger.After()}, report, n.ledger.Lost, position)
}

// followTrace reads the tracepoint of victims.
func (n *node) followTrace(ctx context.Context) error {
	dir := n.below("sys/kernel/tracing")
	began := func() { n.witnesses.set(oom.WitnessTrace, stateOK, dir) }
	return trace.Follow(ctx, trace.Options{Dir: dir, Log: n.log, Began: began}, n.ledger.Notice)
}

// close closes what is kept.
func (n *node) close() error {
	var err error
	if n.samples != nil {
		err = n.samples.Close()
	}
	if n.outgoing != nil {
		err = errors.Join(err, n.outgoing.Close())
	}
	return errors.Join(err, n.ledger.Close(), n.closeVictims())
}
