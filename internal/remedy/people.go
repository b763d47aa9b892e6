package remedy

// What only people can do. docs/causes.md says the same of each cause, and why.

// leave adds a step that is left to a person.
func (p *planner) leave(kind Kind, what, risk string, commands ...string) {
	p.add(Step{Kind: kind, What: what, Risk: Risk{Low, risk}, Commands: commands})
}

const onlyLooks = "It only looks."

func (p *planner) startLess() {
	p.leave(FindOut, "Start with less at once: warm caches later, and one after the other.", "It is a change of the program; a limit for the start alone is then not needed.")
}

func (p *planner) whatHappened() {
	p.leave(FindOut, "Find out what happened at the minute of the rise: a request, a job, a deploy. A limit that fits the rise helps only if that is wanted.", onlyLooks, p.explain()...)
}

func (p *planner) smallerInput() {
	p.leave(FindOut, "Bound the size of what is taken, work on it as a stream, or have workers of their own with a higher limit for what is large.", "It is a change of the program.")
}

func (p *planner) findLeak() {
	commands := p.explain()
	if w := p.Workload; w != nil {
		t := w.Pod.target()
		commands = append(commands, t.kubectl("port-forward", "pod/"+t.Name, "6060:6060"),
			"curl -so heap1 http://127.0.0.1:6060/debug/pprof/heap; sleep 600; curl -so heap2 http://127.0.0.1:6060/debug/pprof/heap",
			"go tool pprof -top -sample_index=inuse_space -diff_base heap1 heap2")
	}
	p.leave(FindOut, "Take heap profiles at two times and compare them: what grew is what leaks. The commands are for a Go program that serves pprof at port 6060.", onlyLooks, commands...)
}

func (p *planner) boundGauge() {
	p.leave(FindOut, "Find out why there are so many of what the program counts (connections that nobody closes), and bound it; or size the limit for the number that is wanted: --limit SIZE.", onlyLooks, p.explain()...)
}

func (p *planner) cleanUp() {
	p.leave(FindOut, "Clean up what is written to tmpfs and /dev/shm, or use a disk for it.", "It is a change of the program. Who deletes files by hand has to know that nobody needs them.")
}

func (p *planner) smallerWrites() {
	p.leave(FindOut, "Write in smaller pieces with fsync, read with POSIX_FADV_DONTNEED, and unlock what need not be locked.", "It is a change of the program.")
}

func (p *planner) countObjects() {
	p.leave(FindOut, "Count open files, pipes, inotify watches, threads and mappings, and bound them.", onlyLooks, "stella top processes")
}

func (p *planner) boundConnections() {
	p.leave(FindOut, "Bound the connections and their buffers, close what is idle, and read faster.", "It is a change of the program.")
}

func (p *planner) lookAbove() {
	p.note("The limit of the container alone changes nothing: the one that fired is above it.")
	var commands []string
	if w := p.Workload; w != nil {
		t := w.Pod.target()
		commands = []string{t.kubectl("get", "pod", t.Name, "--output", "jsonpath={.spec.resources}{range .spec.containers[*]}{\"\\n\"}{.name}: {.resources}{end}{\"\\n\"}")}
	}
	p.leave(FindOut, "Look at what else is below the limit that fired, and give that less, or the limit more.", onlyLooks, append(commands, "stella top containers")...)
}

func (p *planner) whoKilled() {
	var commands []string
	if w := p.Workload; w != nil {
		t := w.Pod.target()
		commands = []string{t.kubectl("get", "events", "--field-selector", "involvedObject.name="+t.Name), t.kubectl("describe", "pod", t.Name)}
	}
	p.leave(FindOut, "Nothing was killed for want of memory. Look for who sent the signal: a probe that failed, a drain, a deadline.", onlyLooks, commands...)
}

// explain is the command that shows the evidence.
func (p *planner) explain() []string {
	switch c := &p.Report.Container; {
	case c.Pod != "" && c.Name != "":
		return []string{command("stella", "explain", c.Namespace+"/"+c.Pod+"/"+c.Name)}
	case p.Cgroup != "":
		return []string{command("stella", "explain", p.Cgroup)}
	}
	return nil
}
