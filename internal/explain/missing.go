package explain

import "stella/internal/oom"

// missing says what would tell more.
func (v *view) missing() []string {
	var out []string
	say := func(so bool, text string) {
		if so {
			out = append(out, text)
		}
	}
	shaped := v.shaped()
	anon := 0
	for _, l := range shaped {
		anon += len(l.points(anonymous.sample))
	}
	log, tasks := false, false
	for i := range v.kills {
		log = log || v.kills[i].Memory != oom.Memory{}
		tasks = tasks || len(v.kills[i].Tasks) > 0
	}
	say(v.samples == 0, "Samples of its memory: let an agent run on its node until the next kill.")
	say(v.samples > 0 && len(shaped) == 0, "More samples: a trend wants some minutes, and at least ten of them in one life.")
	say(len(shaped) > 0 && anon == 0, "Its memory by kind (anon, file, shmem, kernel): memory.stat of its cgroup could not be read.")
	say(len(v.kills) > 0 && !log, "What the kernel logs at a kill: memory by kind. In a burst it logs ten in five seconds only.")
	say(len(v.kills) > 0 && !tasks, "The table of processes at a kill: set vm.oom_dump_tasks to 1.")
	say(len(v.gauges) == 0, "The application's own metrics: annotate the pod with stella/metrics and their port, so that growth is compared with what it counts.")
	say(v.heap == nil && v.grows(), "Heap profiles at two times, where it is a Go program: annotate the pod with stella/pprof and its port, so that what grows is named.")
	say(len(v.starts) == 0, "When its first process was started: without it a peak of each start cannot be told from others.")
	say(len(v.near) == 0 && v.last(oom.ScopeNode) != nil, "The working sets of the other containers of the node, which was full.")
	say(v.limit == 0, "Its limit: there is none, or it could not be read.")
	return out
}
