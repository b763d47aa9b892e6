package join

import (
	"fmt"
	"time"

	"stella/internal/oom"
)

// scope says what the limit that fired is to the victim.
func (j *Joiner) scope(it *item) {
	k := &it.Kill
	if k.Limit.Cgroup != "" && k.Cgroup != "" {
		k.Limit.Scope = j.o.Scope(k.Cgroup, k.Limit.Cgroup)
	}
}

// limitUnknown reports whether nobody said whose limit fired.
func (it *item) limitUnknown() bool {
	l := &it.Kill.Limit
	return l.Cgroup == "" && l.Scope != oom.ScopeNode && l.Scope != oom.ScopeCpuset
}

// limitFrom takes the limit that fired from what a counter told, unless it is known.
func (j *Joiner) limitFrom(it *item, c *Claim) {
	if it.limitUnknown() && c.LimitCgroup != "" {
		it.Kill.Limit = oom.Limit{Scope: oom.ScopeCgroup, Cgroup: c.LimitCgroup, Bytes: c.Limit}
		j.scope(it)
	}
}

// learn keeps whose limit fired for a kill in the cgroup.
func (d *domain) learn(cgroup string, bytes int64) {
	d.mixed = d.mixed || d.limit.Cgroup != "" && d.limit.Cgroup != cgroup
	d.limit = oom.Limit{Cgroup: cgroup, Bytes: bytes}
}

// limitFromOthers takes the limit from the kill whose group it was in, or from others in its cgroup, if it was the
// same each time.
func (j *Joiner) limitFromOthers(it *item) {
	if !it.limitUnknown() {
		return
	}
	if c := j.byPID[it.Kill.Group]; it.Kill.Group != 0 && c != nil && c != it && !c.limitUnknown() {
		it.Kill.Limit = c.Kill.Limit
		return
	}
	if d := j.domains[it.Kill.Cgroup]; d != nil && d.limit.Cgroup != "" && !d.mixed {
		it.Kill.Limit = d.limit
		j.scope(it)
	}
}

// grade says how sure the kill is, and what is not.
func (j *Joiner) grade(it *item) {
	k := &it.Kill
	if k.Confidence == oom.Weak {
		return
	}
	k.Confidence, k.Doubt = oom.Strong, ""
	switch {
	case k.Process.PID == 0:
		k.Doubt = j.countedDoubt(it)
	case it.How == HowNoted && it.saw(oom.WitnessBPF):
		k.Confidence = oom.Certain // the kernel wrote down who, where, and for which limit
	case !it.saw(oom.WitnessLog):
		k.Doubt = fmt.Sprintf("the kernel log has no line for it%s: that it was this process says the %s", j.lostText(k.Time), k.Witnesses[len(k.Witnesses)-1])
	case it.How == HowNone && !it.Settled:
		k.Doubt = "the kernel log does not name its cgroup; its counter is awaited"
	case it.How == HowNone:
		k.Doubt = "the kernel log does not name its cgroup, as happens with more than ten kills in five seconds, and no counter of a cgroup tells"
	case it.How == HowCount && it.Below:
		k.Doubt = "the kernel log does not name its cgroup; by the counters it was one below this, which is gone"
	case it.How == HowCount && it.Unsure:
		k.Doubt = "the kernel log does not name its cgroup; by the counters so many were killed in each, but which process in which follows from the time alone"
	case it.How == HowCount:
		k.Doubt = "the kernel log does not name its cgroup; this is the only one whose counter rose then"
	case it.How == HowSeen && it.Unsure:
		k.Doubt = "the kernel log does not name its cgroup; this is that of a process with its pid, which was looked for late"
	case it.How == HowGroup && !it.saw(oom.WitnessCounter):
		k.Doubt = "the kernel killed all in this cgroup; the process may have been in one below it"
	default:
		k.Confidence = oom.Certain
	}
}

// countedDoubt says what is not known of a kill that was only counted.
func (j *Joiner) countedDoubt(it *item) string {
	k := &it.Kill
	why := "the kernel log has no line for it" + j.lostText(k.Time)
	switch {
	case k.Cgroup == "":
		return "only the node's counter tells of it: " + why + ", and no cgroup counted it"
	case it.Below:
		return "it was in a cgroup below this, which is gone: " + why
	}
	return "which process it was is not known: " + why
}

// lostAround reports whether records of the log were lost at about that time.
func (j *Joiner) lostAround(at time.Time) bool {
	return !j.lostAt.IsZero() && j.lostAt.Sub(at).Abs() <= time.Minute
}

// lostText says that the log is not whole.
func (j *Joiner) lostText(at time.Time) string {
	if !j.lostAround(at) {
		return ""
	}
	return ", as some of its records were lost"
}
