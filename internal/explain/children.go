package explain

import (
	"math"

	"stella/internal/oom"
)

const (
	// stormKills is how many kills of processes of one name are no single accident.
	stormKills = 3
	// stormTasks is how many processes of one name at a kill are many, and stormShare the share of what was used that they have together.
	stormTasks, stormShare = 3, 0.5
	// swing is by how many processes their number changes at least, and by which factor.
	swingTimes, swingLeast = 1.5, 3
	// shortLived is in how few samples a process is seen that lives for a short time, and longLived in how many one that does not.
	shortLived, longLived = 5, 40
)

// children claims many short processes that are too large together.
func (v *view) children() *claim {
	if len(v.own) == 0 {
		return nil
	}
	c := newClaim(Children, "Many short processes are too large together.")
	counts, comm := v.victims()
	survived, ended := 0, 0
	for i := range v.own {
		if s := v.own[i].MainSurvived; s != nil && *s {
			survived++
		} else if s != nil {
			ended++
		}
	}
	last := &v.own[len(v.own)-1]
	switch {
	case survived > ended:
		c.pro(sign, killFact(last, "The first process lived on after %d of %d kills: the victims were its children, and no restart shows it.", survived, len(v.own)))
	case ended > survived:
		c.con(hint, killFact(last, "The first process died in %d of %d kills.", ended, len(v.own)))
	}
	if counts[comm] >= stormKills && v.differentPIDs(comm) {
		c.pro(hint+hint/2, fact("%d processes named %s were killed, each another one.", counts[comm], comm))
	}
	v.manyTasks(c)
	v.manyPIDs(c)
	v.lifetimes(c, comm)
	if len(c.forIt) == 0 {
		return nil
	}
	return c
}

// differentPIDs reports whether the victims of that name were different processes, as far as it is known.
func (v *view) differentPIDs(comm string) bool {
	pids := map[int]bool{}
	for i := range v.own {
		if v.own[i].Process.Comm == comm {
			pids[v.own[i].Process.PID] = true
		}
	}
	return len(pids) >= stormKills || comm == ""
}

// manyTasks looks at the processes that the kernel told of at a kill: the kill with the most of one name counts.
func (v *view) manyTasks(c *claim) {
	var best *oom.Kill
	most, together := 0, 0.0
	for i := range v.own {
		k := &v.own[i]
		n, sum := 0, 0.0
		for _, t := range k.Tasks {
			if t.Comm == k.Process.Comm {
				n++
				sum += min(resident(t), maxBytes)
			}
		}
		if n > most {
			best, most, together = k, n, sum
		}
	}
	if best == nil {
		return
	}
	used := math.Max(float64(atKill(best)), 1)
	switch {
	case most >= stormTasks && together >= stormShare*used && min(resident(best.Process), maxBytes) < stormShare*used:
		c.pro(sign+hint/2, killFact(best, "At the kill %d processes were named %s, with %s of %s together.", most, best.Process.Comm, size(together), size(used)))
	case most == 1 && len(v.own) < stormKills && resident(best.Process) >= stormShare*used:
		c.con(sign, killFact(best, "One process, %s, had %s of %s by itself.", best.Process.Comm, size(min(resident(best.Process), maxBytes)), size(used)))
	}
}

// manyPIDs looks at the number of processes.
func (v *view) manyPIDs(c *claim) {
	var counts []float64
	for i := range v.lives {
		counts = append(counts, values(v.lives[i].points(func(s *oom.Sample) float64 { return float64(s.PIDs) }))...)
	}
	if len(counts) < fewest {
		return
	}
	low, high := quantile(counts, lowQuantile), quantile(counts, 0.99)
	switch {
	case high >= low+swingLeast && high >= swingTimes*low:
		c.pro(hint+hint/2, fact("The number of processes and threads went from %.0f to %.0f.", low, high))
	case high <= low+1:
		c.con(hint, fact("The number of processes and threads hardly changed: %.0f to %.0f.", low, high))
	}
}

// lifetimes looks for how long processes were seen that have the name of those that are killed.
func (v *view) lifetimes(c *claim, comm string) {
	short, long := 0, 0
	all := v.processes()
	for _, p := range all {
		if p.Comm == comm && p.n <= shortLived {
			short++
		}
	}
	for i := range v.own {
		if p := all[v.own[i].Process.PID]; p != nil && p.n >= longLived {
			long++
		}
	}
	switch {
	case v.samples < longLived:
	case long*2 >= len(v.own):
		c.con(sign, fact("%d of %d victims had been there for %d samples and more: they were not short.", long, len(v.own), longLived))
	case short >= fewest/2:
		c.pro(hint, fact("%d processes named %s were seen, each in a few samples only.", short, comm))
	}
}
