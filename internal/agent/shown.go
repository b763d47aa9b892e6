package agent

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"time"

	"stella/internal/explain"
	"stella/internal/oom"
	"stella/internal/oom/ledger"
	"stella/internal/proc"
	"stella/internal/telemetry"
)

// Kills implements reads.
func (n *node) Kills(f oom.Filter) []oom.Kill { return n.ledger.Kills(f) }

// Kill implements reads.
func (n *node) Kill(id string) (oom.Kill, bool) { return n.ledger.Kill(id) }

// Follow implements reads.
func (n *node) Follow(ctx context.Context, after string, fn func(string, oom.KillEvent) error) error {
	return n.ledger.Follow(ctx, after, fn)
}

// Totals implements source.
func (n *node) Totals(fn func(c oom.Container, cgroup string, kills int64)) { n.ledger.Totals(fn) }

// Scopes implements source.
func (n *node) Scopes() map[oom.Scope]int64 { return n.ledger.Scopes() }

// Each implements source.
func (n *node) Each(fn func(c oom.Container, cgroup string)) {
	if n.samples == nil {
		return
	}
	for _, u := range n.samples.Usage() {
		if u.Gone.IsZero() {
			fn(n.owners.Container(u.Cgroup), u.Cgroup)
		}
	}
}

// Usage implements reads.
func (n *node) Usage() []oom.Usage {
	if n.samples == nil {
		return nil
	}
	kills := n.ledger.Counts()
	all := n.samples.Usage()
	for i := range all {
		u := &all[i]
		u.Container = n.owners.Container(u.Cgroup)
		u.Kills, u.LastKill = kills[u.Cgroup].Kills, kills[u.Cgroup].Last
	}
	return all
}

// Rising implements history.
func (n *node) Rising(share float64) []oom.Usage { return n.owned(n.samples.Rising(share)) }

// Gone implements history.
func (n *node) Gone() []oom.Usage { return n.owned(n.samples.Gone()) }

// owned says whose containers they are.
func (n *node) owned(all []oom.Usage) []oom.Usage {
	for i := range all {
		all[i].Container = n.owners.Container(all[i].Cgroup)
	}
	return all
}

// Counts implements history.
func (n *node) Counts() map[string]ledger.Count { return n.ledger.Counts() }

// Forecasts implements source.
func (n *node) Forecasts(fn func(c oom.Container, cgroup string, f *explain.Forecast, warned bool)) {
	n.outlooks.each(fn)
}

// Warnings implements source.
func (n *node) Warnings() int64 { return n.outlooks.warned() }

// Series implements reads.
func (n *node) Series(cgroup string) []oom.Sample {
	if n.samples == nil {
		return nil
	}
	return n.samples.Series(cgroup)
}

// Limits implements reads.
func (n *node) Limits(cgroup string) ([]oom.CgroupLimit, error) {
	if n.cgroups == nil {
		return nil, errors.New("the memory controller is not within reach of this agent, so it cannot read limits")
	}
	return n.cgroups.Limits(cgroup)
}

// Gauges implements reads.
func (n *node) Gauges(cgroup string) []oom.Gauge {
	if n.inspect == nil {
		return nil
	}
	return n.inspect.Gauges(cgroup)
}

// Heaps implements reads.
func (n *node) Heaps(cgroup string) []oom.Heap {
	if n.inspect == nil {
		return nil
	}
	return n.inspect.Heaps(cgroup)
}

// OpenHeap implements reads.
func (n *node) OpenHeap(id string) (io.ReadCloser, error) {
	if n.inspect == nil {
		return nil, fs.ErrNotExist
	}
	return n.inspect.OpenHeap(id)
}

// Processes implements reads.
func (n *node) Processes(limit int) []oom.ProcessUsage {
	if n.samples == nil {
		return nil
	}
	all := n.samples.Processes(limit)
	for i := range all {
		all[i].Container = n.owners.Container(all[i].Cgroup)
	}
	return all
}

// Node implements reads.
func (n *node) Node() oom.NodeUsage {
	u := oom.NodeUsage{Name: n.o.Node, Time: time.Now()}
	if n.samples == nil {
		return u
	}
	u = n.samples.Node()
	u.Name = n.o.Node
	n.Each(func(c oom.Container, _ string) {
		switch {
		case c.ID == "":
		case c.GroupKill == nil:
			u.GroupKill[2]++
		case *c.GroupKill:
			u.GroupKill[0]++
		default:
			u.GroupKill[1]++
		}
	})
	return u
}

// Status implements reads and source.
func (n *node) Status() oom.AgentStatus {
	s := oom.AgentStatus{
		Version: n.o.Version, Node: n.o.Node, Boot: n.boot, Started: n.started,
		Witnesses: n.witnesses.list(), Ledger: n.ledger.Status(),
	}
	if n.samples != nil {
		s.Containers, s.Inspect = n.samples.Status().Containers, n.inspect.Status()
		now := n.counters.Report()
		for i, w := range s.Witnesses {
			if w.Name == now.Name && w.State == stateOK {
				s.Witnesses[i] = now
			}
		}
	}
	s.Incidents = n.incidentsStatus()
	if m, err := proc.OpenSelf("/proc"); err == nil {
		if u, err := m.Read(); err == nil {
			s.Resident = u.Resident
		}
		m.Close()
	}
	return s
}

// ready are the checks of /readyz: an agent that sees nothing of the kernel is not ready.
func (n *node) ready() []telemetry.Check {
	return []telemetry.Check{
		{Name: "witnesses", Run: func(context.Context) error {
			for _, w := range n.witnesses.list() {
				if (w.Name == oom.WitnessLog || w.Name == oom.WitnessCounter) && w.State == stateOK {
					return nil
				}
			}
			return errors.New("neither the kernel log nor the cgroups' counters can be read: " + n.witnesses.failed())
		}},
		{Name: "ledger", Run: func(context.Context) error {
			if fault := n.ledger.Status().Fault; fault != "" {
				return errors.New(fault)
			}
			return nil
		}},
	}
}
