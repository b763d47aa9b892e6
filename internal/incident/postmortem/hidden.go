package postmortem

import (
	"fmt"
	"time"

	"stella/internal/incident"
	"stella/internal/oom"
)

// soon is within what time a pod's status tells of one kill alone: it has room for the last one, and is read some times a minute.
const soon = 10 * time.Second

// hidden says why the kills were hard to see: only what the events show.
func (p *PostMortem) hidden() (all []string) {
	add := func(ids []string, format string, args ...any) {
		if len(ids) > 0 {
			all = append(all, fmt.Sprintf(format, args...)+" ("+links(ids)+")")
		}
	}
	if n, ids := p.survived(); n > 0 {
		add(ids, "At %s of %d the first process lived on: nothing restarted, and neither a restart count nor the status showed it.", countOf(n, "kill"), p.Kills)
	}
	if n, ids := p.close(); n > 0 {
		add(ids, "%s came within %v of the one before: a status that has room for the last one misses those.", countOf(n, "kill"), soon)
	}
	if n, ids := p.of(func(k *oom.Kill) bool { return k.Process.PID == 0 }); n > 0 {
		add(ids, "%s were counted and never logged: no line of the kernel log names a process.", countOf(n, "kill"))
	}
	if n, ids := p.of(func(k *oom.Kill) bool { return k.Cgroup == "" || k.Doubt != "" && k.Process.PID != 0 }); n > 0 {
		add(ids, "Of %s it is not certain in which cgroup it was, or which process.", countOf(n, "kill"))
	}
	var together []string
	for _, k := range p.kills {
		if k.one == nil && k.n > 1 {
			together = append(together, k.ID)
		}
	}
	add(together, "There were so many kills that they are told together.")
	if at, id := p.person(); !p.First.IsZero() && at.Sub(p.First) >= time.Hour {
		add([]string{id}, "From the first kill it took %s until a person did something here.", length(at.Sub(p.First)))
	}
	return all
}

// survived is how many kills the first process lived through, and their events.
func (p *PostMortem) survived() (n int64, ids []string) {
	return p.of(func(k *oom.Kill) bool { return k.MainSurvived != nil && *k.MainSurvived })
}

// of is how many kills are so, and their events; nothing is known of those that are told together.
func (p *PostMortem) of(is func(*oom.Kill) bool) (n int64, ids []string) {
	for _, k := range p.kills {
		if k.one != nil && is(k.one) {
			n += k.n
			ids = append(ids, k.ID)
		}
	}
	return n, ids
}

// close is how many kills came soon after another one.
func (p *PostMortem) close() (n int64, ids []string) {
	for i := 1; i < len(p.kills); i++ {
		if p.kills[i].Time.Sub(p.kills[i-1].Time) < soon {
			n += p.kills[i].n
			ids = append(ids, p.kills[i].ID)
		}
	}
	return n, ids
}

// person is when a person told or did something first, and in which event; zero is never.
func (p *PostMortem) person() (time.Time, string) {
	for i := range p.Timeline {
		switch e := &p.Timeline[i]; e.Kind {
		case incident.Noted, incident.Approved, incident.Ended:
			return e.Time, e.ID
		}
	}
	return time.Time{}, ""
}
