package explain

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"stella/internal/explain"
	"stella/internal/oom"
)

// recording is what a scene left.
type recording struct {
	Cause   explain.Cause `json:"cause"`
	Variant int           `json:"variant"`
	Linear  bool          `json:"linear,omitempty"`
	Input   explain.Input `json:"input"`
}

func (r *recording) name() string { return fmt.Sprintf("%s-%02d", r.Cause, r.Variant) }

// recording makes one of what was seen.
func (st *stage) recording() *recording {
	in := explain.Input{Container: st.container(), Samples: st.stretched(st.series), Now: epoch.Add(st.length)}
	for _, t := range st.starts {
		in.Starts = append(in.Starts, st.time(t))
	}
	for name, points := range st.gauges {
		g := explain.Gauge{Name: name}
		for _, p := range points {
			g.Points = append(g.Points, explain.Point{Time: st.time(p.at), Value: p.value})
		}
		in.Gauges = append(in.Gauges, g)
	}
	slices.SortFunc(in.Gauges, func(a, b explain.Gauge) int { return strings.Compare(a.Name, b.Name) })
	in.Kills = st.kills()
	if st.scope == oom.ScopeNode {
		in.Neighbours = st.neighbours(&in)
	}
	return &recording{Cause: st.cause, Variant: st.variant, Linear: st.linear, Input: in}
}

// time is a time of the recording.
func (st *stage) time(t time.Time) time.Time { return epoch.Add(t.Sub(st.began) * stretch) }

// container is one that says nothing of the cause.
func (st *stage) container() oom.Container {
	c := oom.Container{
		ID: strings.Repeat("0", 62) + fmt.Sprintf("%02x", st.variant), Runtime: "containerd", Name: "app", Namespace: "shop", Pod: "app-0",
		Workload: "StatefulSet/app", Image: "shop/app:1", Node: "n1", LimitBytes: st.limit,
	}
	if st.scope == oom.ScopeNode {
		c.Request = st.outer / 2
	}
	return c
}

// stretched are samples with the times of the recording.
func (st *stage) stretched(series []oom.Sample) []oom.Sample {
	all := slices.Clone(series)
	for i := range all {
		s := &all[i]
		s.Time = st.time(s.Time)
		for _, t := range []*time.Duration{&s.CPU, &s.PressureSome, &s.PressureFull} {
			if *t > 0 {
				*t *= stretch
			}
		}
		// The node's memory is no limit of a cgroup.
		if st.scope == oom.ScopeNode && s.Limit == st.outer {
			s.Limit = 0
		}
	}
	slices.SortFunc(all, func(a, b oom.Sample) int { return a.Time.Compare(b.Time) })
	return all
}

// kills are those of this scene, as the ledger has them: that the cgroup and the limit are known also where the kernel left out a header is
// what the agent has its notes for.
func (st *stage) kills() (all []oom.Kill) {
	pids := map[int]bool{}
	for pid, own := range st.pids {
		pids[pid] = own || st.scope == oom.ScopeNode
	}
	for i, k := range st.logged(pids, st.began, time.Now()) {
		survived := !st.mains[k.Process.PID]
		limit := oom.Limit{Scope: oom.ScopeContainer, Cgroup: k.Limit.Cgroup, Bytes: st.limit, Usage: k.Limit.Usage, Failures: k.Limit.Failures}
		if st.outer > 0 {
			limit.Scope, limit.Bytes = st.scope, st.outer
		}
		if st.scope == oom.ScopeNode {
			limit.Cgroup = ""
		}
		kill := oom.Kill{
			ID: fmt.Sprintf("%s-%d", st.name(), i), Time: st.time(k.at), Count: 1, Process: k.Process, Cgroup: k.Cgroup, Limit: limit, Invoker: k.Invoker,
			Memory: k.Memory, Tasks: k.Tasks, TasksLeftOut: k.TasksLeftOut, Container: st.container(), MainSurvived: &survived,
			Witnesses: []oom.Witness{oom.WitnessLog, oom.WitnessCounter, oom.WitnessBPF}, Confidence: oom.Certain,
		}
		if !st.pids[k.Process.PID] { // the neighbour's
			kill.Container, kill.MainSurvived = neighbour, nil
		}
		all = append(all, kill)
	}
	return all
}

// neighbour is what is beside a container on its node.
var neighbour = oom.Container{
	ID: strings.Repeat("f", 64), Runtime: "containerd", Name: "batch", Namespace: "reports", Pod: "batch-0", Workload: "Deployment/batch", Node: "n1",
}

const (
	// neighbourAsks is the part of the node that a neighbour requested.
	neighbourAsks = 8
	// growthOver is what [explain.Neighbour] means by its growth.
	growthOver = 10 * time.Minute
)

// neighbours are what was beside, at the first kill.
func (st *stage) neighbours(in *explain.Input) []explain.Neighbour {
	at := in.Now
	for _, k := range in.Kills {
		if k.Time.Before(at) {
			at = k.Time
		}
	}
	n := explain.Neighbour{Container: neighbour, Request: st.outer / neighbourAsks}
	first := int64(-1)
	for _, s := range st.stretched(st.next) {
		if s.Time.After(at) {
			break
		}
		if n.WorkingSet = s.WorkingSet; first < 0 && !s.Time.Before(at.Add(-growthOver)) {
			first = s.WorkingSet
		}
	}
	n.Growth = n.WorkingSet - max(first, 0)
	return []explain.Neighbour{n}
}

// suffix is that of the files that recordings are kept in.
const suffix = ".json.gz"

// save writes a recording to a directory.
func (r *recording) save(dir string) error {
	f, err := os.Create(filepath.Join(dir, r.name()+suffix))
	if err != nil {
		return err
	}
	z, err := gzip.NewWriterLevel(f, gzip.BestCompression)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	return errors.Join(json.NewEncoder(z).Encode(r), z.Close(), f.Close())
}

// load reads all recordings of a directory.
func load(t testing.TB, dir string) (all []*recording) {
	t.Helper()
	names, err := fs.Glob(os.DirFS(dir), "*"+suffix)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		r, err := read(filepath.Join(dir, name))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all = append(all, r)
	}
	if len(all) == 0 {
		t.Fatalf("%s has no recordings", dir)
	}
	return all
}

func read(name string) (*recording, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	r := &recording{}
	return r, json.NewDecoder(z).Decode(r)
}
