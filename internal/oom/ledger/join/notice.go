package join

import (
	"slices"
	"strings"
	"time"

	"stella/internal/oom"
)

const (
	// noticeTime is how far a runtime's or the API's word may be from the kill: pod status has seconds, and comes late.
	noticeTime = 15 * time.Second
	// maxNotices bounds the notices that wait for their kill, at some 400 bytes each. Each says little: the oldest go.
	maxNotices = 256
	// idPart is the shortest part of a container's ID that is believed: CRI-O's monitor logs 20 of 64 digits.
	idPart = 12
	// notTheKernel is the reason of what systemd-oomd kills, and killed that of the kernel's kills in a pod's status.
	notTheKernel, killed = "systemd-oomd", "OOMKilled"
)

// heard is a notice that waits for its kill.
type heard struct {
	oom.Notice
	heard  time.Time
	cgroup string // where its process was seen
	used   bool   // a kill has it
}

// Notice takes in what another witness says. It confirms kills that the kernel tells of; kills of its own it
// makes only where nothing in the kernel can be heard. Seen is where its process was.
func (j *Joiner) Notice(now time.Time, n oom.Notice, seen Seen) {
	if n.Reason == notTheKernel || n.Witness == oom.WitnessStatus && n.Reason != killed {
		return
	}
	h := heard{Notice: n, heard: now, cgroup: seen.Cgroup}
	if h.Time.IsZero() {
		h.Time = now
	}
	for _, it := range j.open {
		j.corroborate(&h, it)
	}
	if len(j.notices) >= maxNotices {
		j.notices = slices.Delete(j.notices, 0, 1)
	}
	j.notices = append(j.notices, h)
}

// corroborate adds the notice to a kill, if it can mean it.
func (j *Joiner) corroborate(n *heard, it *item) {
	if n.Time.Sub(it.Kill.Time).Abs() > noticeTime || !n.means(&it.Kill) {
		return
	}
	n.used = true
	it.unsaid = it.witness(n.Witness) || it.unsaid
}

// means reports whether a notice names the process, the cgroup, the container or the unit of a kill.
func (n *heard) means(k *oom.Kill) bool {
	a, b := &n.Container, &k.Container
	switch {
	case n.Process.PID != 0:
		return n.Process.PID == k.Process.PID
	case n.Cgroup != "":
		return k.Cgroup != "" && within(k.Cgroup, n.Cgroup)
	case a.ID != "":
		return b.ID != "" && (a.ID == b.ID || len(a.ID) >= idPart && strings.HasPrefix(b.ID, a.ID))
	case a.Pod != "":
		return a.Namespace == b.Namespace && a.Pod == b.Pod && a.Name == b.Name
	case a.Unit != "":
		return a.Unit == b.Unit
	}
	return false
}

// nameVictim gives a counted kill the process that another witness named and no line has.
func (j *Joiner) nameVictim(it *item) bool {
	c := Claim{Since: it.Kill.Since, Time: it.Kill.Time}
	for i := range j.notices {
		n := &j.notices[i]
		if n.used || n.Process.PID == 0 || j.byPID[n.Process.PID] != nil || !c.fits(n.Time, slackBusy) {
			continue
		}
		if n.cgroup != "" && it.Kill.Cgroup != "" && !within(n.cgroup, it.Kill.Cgroup) {
			continue
		}
		n.used = true
		it.Kill.Process, it.Kill.Time = n.Process, n.Time
		it.Kill.Since = time.Time{}
		if it.Kill.Cgroup == "" && n.cgroup != "" {
			it.Kill.Cgroup, it.How, it.Kill.Container = n.cgroup, HowSeen, j.owner(n.cgroup)
		}
		it.witness(n.Witness)
		return true
	}
	return j.nameNoted(it, &c)
}

// nameNoted gives it one that the kernel noted in that cgroup: the one that is nearest to when it was counted. The
// time itself is no reason against it: other kills there can have explained what the counter told then.
func (j *Joiner) nameNoted(it *item, c *Claim) bool {
	var best *oom.Victim
	all := j.noteBook()
	for i := range all {
		v := &all[i]
		switch {
		case v.Cgroup == "" || j.byPID[v.Process.PID] != nil || j.node.old(v.Time, it.heard):
		case it.Kill.Cgroup != "" && it.Kill.Cgroup != v.Cgroup && !(it.Below && within(v.Cgroup, it.Kill.Cgroup)):
		case best == nil || c.apart(v.Time) < c.apart(best.Time):
			best = v
		}
	}
	if best == nil {
		return false
	}
	k := &it.Kill
	k.Process, k.Time, k.Since, k.Limit, k.Tasks = best.Process, best.Time, time.Time{}, best.Limit, nil
	k.Cgroup, it.How, it.Below = best.Cgroup, HowNoted, false
	k.Container = j.owner(k.Cgroup)
	j.scope(it)
	it.witness(oom.WitnessBPF)
	return true
}

// nobodyNoted reports whether the kernel notes victims, and none in that cgroup that is in no kill.
func (j *Joiner) nobodyNoted(cgroup string) bool {
	all := j.noteBook()
	return all != nil && !slices.ContainsFunc(all, func(v oom.Victim) bool {
		return v.Cgroup == cgroup && j.byPID[v.Process.PID] == nil
	})
}

// noteBook is what the kernel noted, read at most once in a [Joiner.Settle].
func (j *Joiner) noteBook() []oom.Victim {
	if !j.notesRead {
		j.notes, j.notesRead = j.o.Victims(), true
	}
	return j.notes
}

// settleNotices makes kills of notices where nothing in the kernel can be heard, and forgets those that have waited.
func (j *Joiner) settleNotices(now time.Time) {
	j.notices = slices.DeleteFunc(j.notices, func(n heard) bool {
		if !j.kernel && !n.used && n.Witness != oom.WitnessTrace && now.Sub(n.heard) >= startTime {
			j.believe(now, &n)
			return true
		}
		return now.Sub(n.heard) >= keepTime
	})
}

// believe makes a kill of a notice alone.
func (j *Joiner) believe(now time.Time, n *heard) {
	for _, it := range j.open {
		j.corroborate(n, it)
	}
	if n.used || j.o.Told(n.Container, n.Time) {
		return
	}
	it := &item{at: n.Time, heard: now, Entry: Entry{Kill: oom.Kill{
		Time: n.Time, Process: n.Process, Cgroup: n.Cgroup, Container: n.Container, Limit: oom.Limit{Scope: oom.ScopeUnknown},
		Confidence: oom.Weak, Doubt: "neither the kernel log nor its counters can be read here: only the " + string(n.Witness) + " says so",
	}}}
	if it.Kill.Container.Node == "" {
		it.Kill.Container.Node = j.o.Node
	}
	if it.Kill.Process.PID == 0 {
		it.Kill.Process.UID = -1
	}
	j.add(it)
	it.witness(n.Witness)
}

// Lost takes in that records of the kernel log were not read.
func (j *Joiner) Lost(now time.Time, l oom.Lost) {
	j.lost += l.Records
	j.lostAt, j.dirty = now, true
}

// Position takes in that all of the kernel log up to a record was told.
func (j *Joiner) Position(seq uint64) {
	j.kernel = true
	if seq > j.position {
		j.position = seq
	}
}

// Known reports the record of the kernel log up to which all was told.
func (j *Joiner) Known() uint64 { return j.position }

// LostRecords is how many records of the kernel log were not read, in this boot.
func (j *Joiner) LostRecords() uint64 { return j.lost }

// Owned takes in whose a cgroup is, for the kills at hand.
func (j *Joiner) Owned(cgroup string, c oom.Container) {
	if c.Node == "" {
		c.Node = j.o.Node
	}
	for _, it := range j.open {
		if it.Kill.Cgroup == cgroup && !Same(&it.Kill.Container, &c) {
			it.Kill.Container, it.unsaid = c, true
		}
	}
}

// Has reports whether a kill is at hand.
func (j *Joiner) Has(n uint64) bool {
	return slices.ContainsFunc(j.open, func(it *item) bool { return it.N == n })
}

// Same reports whether two say the same of a container.
func Same(a, b *oom.Container) bool {
	x, y := *a, *b
	x.GroupKill, y.GroupKill = nil, nil
	return x == y && (a.GroupKill == nil) == (b.GroupKill == nil) && (a.GroupKill == nil || *a.GroupKill == *b.GroupKill)
}
