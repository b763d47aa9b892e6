package samples

import (
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"stella/internal/oom/tree"
)

// Add begins to watch a cgroup.
func (s *Sampler) Add(cg tree.Cgroup) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.groups[cg.ID] != nil || s.closed {
		return
	}
	if len(s.groups) >= maxGroups {
		s.once(&s.toldGroups, "more cgroups than can be watched: the processes of the others are not known", "most", maxGroups)
		return
	}
	g := &group{Cgroup: cg, wanted: s.wanted(cg.Path)}
	// The kernel keeps what it told of the processes of a cgroup for a second (v1, CGROUP_PIDLIST_DESTROY_DELAY), and for another one at each read of the same
	// open file: read every second it would never tell of a new process.
	g.procs = reopen
	if cg.Version == 2 {
		g.procs = s.open(cg.Dir + "/cgroup.procs")
	}
	s.groups[cg.ID] = g
	s.order = append(s.order, g)
	s.paths[cg.Path] = g
	if g.wanted {
		s.beginContainer(g)
	}
	s.table.mu.Lock()
	defer s.table.mu.Unlock()
	g.home = s.homeOf(g)
	if g.home != g {
		return
	}
	for _, below := range s.order { // told of before
		if below != g && below.home != below && strings.HasPrefix(below.Path, strings.TrimSuffix(g.Path, "/")+"/") {
			below.home = s.homeOf(below)
		}
	}
}

// homeOf is the container that a cgroup is part of.
func (s *Sampler) homeOf(g *group) *group {
	for at := g.Path; ; at = path.Dir(at) {
		if above := s.paths[at]; above != nil && !above.removed && above.wanted {
			return above
		}
		if at == "/" || at == "." {
			return nil
		}
	}
}

// beginContainer gives a container its memory and its descriptors, if there is room.
func (s *Sampler) beginContainer(g *group) {
	if len(s.containers) >= s.most {
		s.once(&s.toldContainers, "more containers than can be sampled: the others wait until one ends", "most", s.most)
		return
	}
	slot := s.arena.take() // there is one: those that ended have theirs beside
	g.container = &container{slot: slot, history: newHistory(s.arena.bytes(slot), s.interval.Milliseconds()), disk: unknownDisk(time.Now().Add(layerWait))}
	s.containers = append(s.containers, g)
	s.openFiles(g)
	s.readAbove(g)
}

// Remove tells that a cgroup is gone. What is known of a container stays for a while.
func (s *Sampler) Remove(cg tree.Cgroup) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.groups[cg.ID]; g != nil {
		s.end(g, time.Now())
	}
}

// end takes a cgroup from those that are there.
func (s *Sampler) end(g *group, now time.Time) {
	delete(s.groups, g.ID)
	s.order = without(s.order, g)
	s.closeFiles(g)
	s.table.mu.Lock()
	g.removed = true
	s.table.mu.Unlock()
	if g.container == nil {
		if s.paths[g.Path] == g {
			delete(s.paths, g.Path)
		}
		return
	}
	g.container.gone = now
	s.containers = without(s.containers, g)
	if s.ended = append(s.ended, g); len(s.ended) > maxGone {
		s.forget(0)
	}
}

// forget drops a container that is gone.
func (s *Sampler) forget(i int) {
	g := s.ended[i]
	s.ended = slices.Delete(s.ended, i, i+1)
	s.arena.give(g.container.slot)
	if s.paths[g.Path] == g {
		delete(s.paths, g.Path)
	}
}

// without removes g from a list whose order matters: a round goes on where it was.
func without(list []*group, g *group) []*group {
	if i := slices.Index(list, g); i >= 0 {
		return slices.Delete(list, i, i+1)
	}
	return list
}

// open opens a file of a cgroup, and keeps it open while there are descriptors for it.
func (s *Sampler) open(path string) int32 {
	fd := open(path, s.kept < s.mostKept)
	switch {
	case fd >= 0:
		s.kept++
	case fd == reopen:
		s.once(&s.toldDescriptors, "the files of further cgroups are opened for each look, which costs more; at most 4,096 are kept open, and half of LimitNOFILE",
			"kept", s.kept)
	}
	return fd
}

func (s *Sampler) closeFiles(g *group) {
	s.close(&g.procs)
	if g.container != nil {
		for i := range g.container.files {
			s.close(&g.container.files[i])
		}
	}
}

func (s *Sampler) close(fd *int32) {
	if *fd >= 0 {
		unix.Close(int(*fd)) // it was only read
		s.kept--
	}
	*fd = absent
}

// once logs a warning the first time.
func (s *Sampler) once(told *bool, text string, args ...any) {
	if !*told {
		s.log.Warn(text, args...)
	}
	*told = true
}

// step is one tick: a sample of each container, then a look at processes.
func (s *Sampler) step(now time.Time) {
	s.tick++
	s.mu.Lock()
	s.expire(now)
	n := len(s.containers)
	s.mu.Unlock()
	for i := n - 1; i >= 0; i-- {
		s.sampleNumber(i, now)
	}
	s.lookAtProcesses(now)
	s.node.look(s.proc, s.tick, now)
}

// sampleNumber samples the i-th container. The lock is free between two of them, so that nobody waits for a
// whole round; one that ends meanwhile moves those behind it, and so the round goes from the end.
func (s *Sampler) sampleNumber(i int, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i >= len(s.containers) {
		return
	}
	g := s.containers[i]
	if g.container.ticked == s.tick {
		return
	}
	g.container.ticked = s.tick
	if (s.tick+g.container.slot)%aboveEvery == 0 {
		s.readAbove(g)
	}
	s.sample(g, now)
}

// expire forgets what is too old, and gives room to containers that wait for it.
func (s *Sampler) expire(now time.Time) {
	for len(s.ended) > 0 && now.Sub(s.ended[0].container.gone) > goneAge {
		s.forget(0)
	}
	if !s.toldContainers || len(s.containers) >= s.most {
		return
	}
	for _, g := range s.order {
		if g.wanted && g.container == nil && len(s.containers) < s.most {
			s.beginContainer(g)
		}
	}
}
