package analyze

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"stella/internal/oom"
	"stella/internal/oom/owner"
)

// Result joins all that was read. It is called once, at the end.
func (a *Analysis) Result() Result {
	a.pods.workloads()
	a.join()
	r := &a.result
	ids := map[string]int{}
	for _, f := range a.findings {
		k := a.kill(f)
		// Two kills of which nothing but the same is known are told apart by their order.
		if n := ids[k.ID]; n > 0 {
			ids[k.ID]++
			k.ID = fmt.Sprintf("%s-%d", k.ID, n+1)
		} else {
			ids[k.ID] = 1
		}
		switch k.Confidence {
		case oom.Certain:
			r.Totals.Certain++
		case oom.Strong:
			r.Totals.Strong++
		case oom.Weak:
			r.Totals.Weak++
		}
		if f.Process.PID == 0 && f.saw(oom.WitnessLog) {
			r.Totals.Invocations++
		}
		r.Kills = append(r.Kills, k)
	}
	slices.SortStableFunc(r.Kills, func(x, y oom.Kill) int {
		if x.Time.IsZero() != y.Time.IsZero() {
			return cmp.Compare(zeroLast(x.Time), zeroLast(y.Time))
		}
		return x.Time.Compare(y.Time)
	})
	r.Containers = a.containers()
	r.Missing = a.missing()
	return *r
}

func zeroLast(t time.Time) int {
	if t.IsZero() {
		return 1
	}
	return 0
}

// kill is a finding as the ledger would have it.
func (a *Analysis) kill(f *finding) oom.Kill {
	k := oom.Kill{
		ID: f.id(), Time: f.Time, Count: 1, Process: f.Process, Cgroup: f.Cgroup, Limit: f.Limit, Invoker: f.Invoker, Memory: f.Memory,
		Tasks: f.Tasks, TasksLeftOut: f.TasksLeftOut, Group: f.Group, Witnesses: f.order(), Doubt: f.doubt,
	}
	k.Limit.Scope = f.scope()
	a.owner(&k, f)
	switch {
	case f.weak:
		k.Confidence = oom.Weak
	case f.Cgroup != "" && f.Process.PID != 0 && f.doubt == "":
		k.Confidence = oom.Certain
	default:
		k.Confidence = oom.Strong
		if k.Doubt == "" {
			k.Doubt = "the log names no cgroup for this kill: the kernel writes the header with it ten times in five seconds, or the line was cut"
		}
	}
	return k
}

// scope says whose limit fired.
func (f *finding) scope() oom.Scope {
	if f.Limit.Scope != oom.ScopeCgroup {
		return f.Limit.Scope
	}
	if f.Limit.Cgroup == "" {
		return oom.ScopeUnknown
	}
	return owner.Scope(f.Cgroup, f.Limit.Cgroup)
}

// id depends on what every source of a kill has alike, so that it is the same whichever of them are given.
func (f *finding) id() string {
	p := f.Process
	text := fmt.Sprint(p.PID, p.Comm, p.Total, p.Anon, p.File, p.Shmem)
	if p.PID == 0 {
		text = fmt.Sprint(f.whose.ID, f.Invoker, f.Time.UnixNano())
	}
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:4])
}

// witnesses in the order of the constants of package oom.
var witnesses = []oom.Witness{
	oom.WitnessLog, oom.WitnessCounter, oom.WitnessNode, oom.WitnessTrace, oom.WitnessRuntime, oom.WitnessKubelet, oom.WitnessStatus, oom.WitnessSystemd,
}

func (f *finding) order() []oom.Witness {
	slices.SortFunc(f.witnesses, func(x, y oom.Witness) int {
		return cmp.Compare(slices.Index(witnesses, x), slices.Index(witnesses, y))
	})
	return f.witnesses
}

// owner says whose kill it is, from the cgroup's path and the lists of pods.
func (a *Analysis) owner(k *oom.Kill, f *finding) {
	k.Container = f.whose
	c := a.pods.containers[k.Container.ID]
	if pod := a.pods.byUID[k.Container.PodUID]; c == nil && pod != nil {
		id, runtime := k.Container.ID, k.Container.Runtime
		k.Container = *pod // of a container that is gone, only the pod is known
		k.Container.ID, k.Container.Runtime = id, runtime
	}
	if c != nil {
		c.kills++
		if f.saw(oom.WitnessStatus) {
			c.shown++
		}
		id, uid := k.Container.ID, k.Container.PodUID
		k.Container = c.Container
		k.Container.ID, k.Container.PodUID = id, cmp.Or(uid, c.PodUID)
		k.MainSurvived = c.survived(id, f.Time)
	}
	k.Container.Node = cmp.Or(k.Container.Node, f.Node)
	if f.Group != 0 {
		group, survived := true, false
		k.Container.GroupKill, k.MainSurvived = &group, &survived
	}
}

// survived says whether the container's first process lived on after a kill.
func (c *container) survived(id string, at time.Time) *bool {
	if at.IsZero() {
		return nil
	}
	yes, no := true, false
	for _, end := range c.ended {
		if end.ID == "" || id == "" || !strings.HasSuffix(end.ID, id) {
			continue
		}
		if end.Finished.Sub(at) <= near {
			return &no
		}
		return &yes
	}
	if c.ID == id && !c.running.IsZero() && c.running.Before(at) {
		return &yes
	}
	return nil
}

// missing says what would tell more.
func (a *Analysis) missing() []string {
	var all []string
	say := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	t := &a.result.Totals
	half := t.Invocations
	if half > 0 {
		say("%d invocations of the OOM killer have no line \"Killed process\" in these logs, so it is not known which process died. "+
			"A search for \"oom\" leaves that line out: give the whole log, or search for \"Killed process\" too", half)
	}
	if t.Told == 0 && len(a.findings) > half {
		say("no kernel log was given, or it has no kill: what runtimes and the status of pods tell is no proof. Give dmesg, journalctl -k, or /var/log/messages of that time")
	}
	if t.Pods == 0 && slices.ContainsFunc(a.findings, func(f *finding) bool { return f.whose.ID != "" || f.whose.PodUID != "" }) {
		say("no list of pods was given, so containers have no names: add what kubectl get pods -A -o json prints")
	}
	if a.pods.left > 0 {
		say("%d pods beyond the first %d are left out", a.pods.left, maxPods)
	}
	if t.LeftOut > 0 {
		say("%d kills or notices are left out: a result holds %d kills and %d notices. Give the logs in parts", t.LeftOut, MaxKills, maxNotices)
	}
	return all
}
