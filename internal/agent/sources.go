package agent

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"stella/internal/kube"
	"stella/internal/oom"
	"stella/internal/oom/notice"
	"stella/internal/oom/owner"
)

// sources are the places where one witness may be: it is well where one of them is.
type sources struct {
	name      oom.Witness
	witnesses *witnesses

	mu    sync.Mutex
	state map[string]error // by place
}

// newSources are places of which nothing is known yet.
func newSources(name oom.Witness, w *witnesses, places []string) *sources {
	s := &sources{name: name, witnesses: w, state: map[string]error{}}
	for _, place := range places {
		s.state[place] = fs.ErrNotExist
	}
	return s
}

// at takes the state of one place: nil is well, fs.ErrNotExist that it is not here.
func (s *sources) at(place string) func(error) {
	return func(err error) { s.set(place, err) }
}

func (s *sources) set(place string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state[place] = err
	var well, failed []string
	for _, place := range slices.Sorted(maps.Keys(s.state)) {
		switch err := s.state[place]; {
		case err == nil:
			well = append(well, place)
		case !errors.Is(err, fs.ErrNotExist):
			failed = append(failed, err.Error())
		}
	}
	switch {
	case len(failed) > 0:
		s.witnesses.set(s.name, stateFailed, strings.Join(failed, "; "))
	case len(well) > 0:
		s.witnesses.set(s.name, stateOK, strings.Join(well, ", "))
	default:
		s.witnesses.set(s.name, stateOff, "not on this machine: "+strings.Join(slices.Sorted(maps.Keys(s.state)), ", "))
	}
}

// followRuntimes hears the runtimes, and the logs that are files.
func (n *node) followRuntimes(ctx context.Context, work *errgroup.Group) {
	type follow func(ctx context.Context, place string, tell func(oom.Notice), state func(error)) error
	start := func(s *sources, places []string, f follow) {
		for _, place := range places {
			work.Go(func() error { return ended(ctx, f(ctx, place, n.ledger.Notice, s.at(place))) })
		}
	}
	sockets, bundles, logs := n.places(notice.Sockets), n.places(notice.BundleDirs), n.places(notice.LogFiles)
	runtimes := newSources(oom.WitnessRuntime, n.witnesses, slices.Concat(sockets, bundles))
	start(runtimes, sockets, notice.Containerd)
	start(runtimes, bundles, notice.OOMFiles)
	start(newSources(oom.WitnessKubelet, n.witnesses, logs), logs, notice.Tail)
}

// places are paths of the machine.
func (n *node) places(paths []string) []string {
	all := make([]string, len(paths))
	for i, path := range paths {
		all[i] = n.below(path)
	}
	return all
}

// followKubernetes hears the API about the pods and events of this node.
func (n *node) followKubernetes(ctx context.Context, work *errgroup.Group) {
	if n.kube == nil {
		n.witnesses.set(oom.WitnessStatus, stateOff, "no Kubernetes is named, and this runs in no pod")
		return
	}
	podsPlace, eventsPlace := "pods of "+n.kube.Server(), "events of "+n.kube.Server()
	api := newSources(oom.WitnessStatus, n.witnesses, []string{podsPlace, eventsPlace})
	pods, events := api.at(podsPlace), api.at(eventsPlace)
	pods(nil) // until the server says otherwise
	var told notice.Statuses
	work.Go(func() error {
		return ended(ctx, kube.Watch(ctx, n.kube, owner.PodsOn(n.o.Node), func(e kube.Event[kube.Pod]) error {
			n.owners.Pod(e)
			if n.inspect != nil {
				n.inspect.Pod(e)
			}
			if e.Change == kube.Put {
				for _, notice := range told.Pod(e.Object) {
					n.ledger.Notice(notice)
				}
			}
			return nil
		}, pods))
	})
	work.Go(func() error {
		return ended(ctx, notice.NodeEvents(ctx, n.kube, n.o.Node, n.ledger.Notice, events))
	})
}
