package analyze

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"stella/internal/oom"
)

// add keeps what a log tells of one kill, until the source is read whole.
func (a *Analysis) add(r oom.Report, pending []*finding) []*finding {
	if len(a.findings)+len(pending) >= MaxKills {
		a.result.Totals.LeftOut++
		return pending
	}
	if a.tasks+len(r.Tasks) > maxTasks {
		r.TasksLeftOut += len(r.Tasks)
		r.Tasks = nil
	}
	a.tasks += len(r.Tasks)
	if n := len(pending); n > 0 && r.Monotonic < pending[n-1].Monotonic {
		a.boot++
	}
	return append(pending, &finding{Report: r, source: a.source, boot: a.boot, witnesses: []oom.Witness{oom.WitnessLog}})
}

// merge adds the findings of one source to those of all, each kill once.
func (a *Analysis) merge(pending []*finding) {
	for _, f := range pending {
		known := a.byPID[f.Process.PID]
		i := slices.IndexFunc(known, func(k *finding) bool { return same(k, f) })
		if i >= 0 {
			a.learnBoot(known[i], f)
			known[i].fold(f)
			continue
		}
		a.findings = append(a.findings, f)
		a.byPID[f.Process.PID] = append(known, f)
	}
}

// learnBoot finds out when a machine was booted, from a kill of which one log has the wall clock and another the time since boot.
func (a *Analysis) learnBoot(k, f *finding) {
	for _, p := range [][2]*finding{{k, f}, {f, k}} {
		if since, at := p[0].Monotonic, p[1].Time; since != 0 && !at.IsZero() {
			a.booted[p[0].boot] = at.Add(-since)
		}
	}
}

// date gives a time to kills of which only the time since boot is known, where that of the boot is.
func (a *Analysis) date() {
	for _, f := range slices.Concat(a.findings, a.invoked) {
		if booted, ok := a.booted[f.boot]; ok && f.Time.IsZero() && f.Monotonic != 0 {
			f.Time = booted.Add(f.Monotonic).Truncate(time.Second)
		}
	}
}

// same reports whether two lines tell of one kill. Within one source they do only where they are the same
// line; in two sources, where the process is the same and the times are not against it. A
// source that has several such kills has them in the order of the other.
func same(k, f *finding) bool {
	if !alike(k.Process, f.Process) || !sameNode(k.Node, f.Node) {
		return false
	}
	if k.Monotonic != 0 && f.Monotonic != 0 {
		return (k.Monotonic - f.Monotonic).Abs() < time.Millisecond
	}
	dated := !k.Time.IsZero() && !f.Time.IsZero()
	if k.source == f.source {
		return dated && k.Time.Equal(f.Time)
	}
	return !dated || sameTime(k.Time, f.Time)
}

// alike reports whether it is the same process, at the same moment: its sizes are then the same. What a line that was cut does not have is not
// compared.
func alike(a, b oom.Process) bool {
	if !strings.HasPrefix(a.Comm, b.Comm) && !strings.HasPrefix(b.Comm, a.Comm) {
		return false
	}
	for _, v := range [][2]int64{{a.Total, b.Total}, {a.Anon, b.Anon}, {a.File, b.File}, {a.Shmem, b.Shmem}} {
		if v[0] != v[1] && v[0] != 0 && v[1] != 0 {
			return false
		}
	}
	return a.PID == b.PID
}

// sameNode compares host names, one of which may lack its domain or be unknown.
func sameNode(a, b string) bool {
	if a == "" || b == "" || a == b {
		return true
	}
	return strings.HasPrefix(a, b+".") || strings.HasPrefix(b, a+".")
}

const (
	// zoneStep and maxZone: zones differ by quarters of an hour, and by 26 hours at most.
	zoneStep = 15 * time.Minute
	maxZone  = 26 * time.Hour
	// drift is by how much the times that two programs give a kernel line may differ. dmesg -T does not see a suspended machine, and is off by more
	// there: then a kill may be found twice.
	drift = 5 * time.Second
)

// sameTime compares wall clocks that may be of different zones.
func sameTime(a, b time.Time) bool {
	d := a.Sub(b)
	return d.Abs() <= maxZone && (d-d.Round(zoneStep)).Abs() <= drift
}

// fold adds what another source tells of the same kill.
func (f *finding) fold(o *finding) {
	best, rest := &f.Report, &o.Report
	if worth(rest) > worth(best) {
		best, rest = rest, best
	}
	best.Time = finer(best.Time, rest.Time)
	best.Monotonic = cmp.Or(best.Monotonic, rest.Monotonic)
	best.Node = cmp.Or(best.Node, rest.Node)
	best.Repeated = max(best.Repeated, rest.Repeated)
	f.Report, f.source = *best, o.source
}

// finer is the time that is known, or is not in whole seconds.
func finer(a, b time.Time) time.Time {
	if a.IsZero() || a.Nanosecond() == 0 && b.Nanosecond() != 0 {
		return b
	}
	return a
}

// worth is larger for a line that tells more.
func worth(r *oom.Report) (n int) {
	for _, told := range []bool{r.Cgroup != "", r.Header, r.Limit.Bytes != 0, len(r.Tasks) > 0, r.Process.Anon != 0, r.Memory != oom.Memory{}} {
		n *= 2
		if told {
			n++
		}
	}
	return n
}

// shift is by how much the times of a source are moved, if a line of it had a time of its own that is surer: the zone
// that was assumed is another one, or the year. A whole number of quarters of an hour is; what
// is left is how long the line took to be written.
func shift(line, own time.Time) time.Duration {
	d := own.Sub(line)
	if whole := d.Round(zoneStep); (d - whole).Abs() <= drift {
		return whole
	}
	return 0
}
