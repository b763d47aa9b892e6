package cli

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"stella/internal/bytesize"
	"stella/internal/oom"
)

const (
	// curveWidth is how many columns the memory before a kill has, at most; curveSpan is how far back it goes.
	curveWidth = 40
	curveSpan  = 15 * time.Minute
	// shownTasks are the processes of the task table that a person looks at.
	shownTasks = 10
)

func (p *killPrinter) timeText() string {
	k := p.kill
	text := momentText(k.Time, p.now)
	if k.Count > 1 || !k.Since.IsZero() {
		text = fmt.Sprintf("%s between %s and %s", countOf(k.Count, "kill"), timeText(k.Since), text)
	}
	return text
}

// killedText is the victim and its memory.
func killedText(k *oom.Kill) string {
	v := &k.Process
	if v.PID == 0 {
		return "not known: a counter rose, and no line of the kernel log explains it"
	}
	text := fmt.Sprintf("%s, process %d", v.Comm, v.PID)
	if v.UID >= 0 {
		text += fmt.Sprintf(" of user %d", v.UID)
	}
	if v.Resident() > 0 {
		text += fmt.Sprintf(", %s resident (%s anon, %s file, %s shmem)", bytesize.Text(v.Resident()), bytesize.Text(v.Anon), bytesize.Text(v.File), bytesize.Text(v.Shmem))
	}
	if v.PageTables > 0 {
		text += fmt.Sprintf(", %s page tables", bytesize.Text(v.PageTables))
	}
	return text + fmt.Sprintf(", oom_score_adj %d", v.ScoreAdj)
}

// whose says whose process it was.
func (p *killPrinter) whose(f fields) {
	c := &p.kill.Container
	f.line("Container", strings.TrimSpace(c.Name+" "+c.ID))
	pod := podText(c)
	if pod != "" && c.Namespace != "" {
		pod += " in namespace " + c.Namespace
	}
	f.line("Pod", pod)
	workload := c.Workload
	if c.WorkloadGuessed {
		workload += " (guessed from the pod's name)"
	}
	f.line("Workload", workload)
	f.line("Unit", c.Unit)
	f.line("Image", c.Image)
	f.line("Node", c.Node)
	if c.Request > 0 || c.LimitBytes > 0 {
		f.line("Pod asks for", fmt.Sprintf("request %s, limit %s", limitOrNone(c.Request), limitOrNone(c.LimitBytes)))
	}
	if c.GroupKill != nil {
		f.line("A kill takes", map[bool]string{true: "the whole container (memory.oom.group)", false: "one process; the others live on"}[*c.GroupKill])
	}
	cgroup := p.kill.Cgroup
	if cgroup == "" {
		cgroup = "not known"
	}
	f.line("Cgroup", cgroup)
}

// scopeTexts say whose limit fired, as a fact and as what happened.
var scopeTexts = map[oom.Scope]struct{ whose, happened string }{
	oom.ScopeContainer: {"the container's own", "the container reached its limit"},
	oom.ScopePod:       {"the pod's, of all its containers together", "the pod reached its limit"},
	oom.ScopeParent:    {"a parent's: of a QoS class, all pods, or a slice", "a cgroup above it reached its limit"},
	oom.ScopeCgroup:    {"the cgroup's own", "its cgroup reached its limit"},
	oom.ScopeNode:      {"none of a cgroup: the node had no memory left", "the node ran out of its memory"},
	oom.ScopeCpuset:    {"none of a cgroup: the NUMA nodes that the process may use had no memory left", "its NUMA nodes ran out of memory"},
	oom.ScopeUnknown:   {"not known", "which limit fired is not known"},
}

// summaryText is the kill in a sentence.
func summaryText(k *oom.Kill) string {
	who, where := victimText(k), cmp.Or(whereText(&k.Container, k.Cgroup), "an unknown cgroup")
	if k.Process.PID == 0 {
		who = countOf(k.Count, "kill") + " of unknown processes"
	}
	text := fmt.Sprintf("%s in %s: %s", who, where, scopeTexts[k.Limit.Scope].happened)
	if k.Limit.Bytes > 0 {
		text += " of " + bytesize.Text(k.Limit.Bytes)
	}
	if hiddenText(k) == "yes" {
		text += "; no restart shows it"
	}
	return text
}

// limit says which limit fired.
func (p *killPrinter) limit(f fields) {
	l := &p.kill.Limit
	text := cmp.Or(scopeTexts[l.Scope].whose, string(l.Scope))
	switch {
	case l.Bytes > 0 && l.Usage > 0:
		text += fmt.Sprintf("; used %s of %s (%s)", bytesize.Text(l.Usage), bytesize.Text(l.Bytes), percent(l.Usage, l.Bytes))
	case l.Bytes > 0:
		text += "; " + bytesize.Text(l.Bytes)
	}
	if l.Failures > 0 {
		text += "; hit " + countOf(l.Failures, "time")
	}
	f.line("Limit that fired", text)
	if l.Cgroup != p.kill.Cgroup {
		f.line("Limit's cgroup", l.Cgroup)
	}
}

// survivalText says whether a restart shows the kill.
func survivalText(k *oom.Kill) string {
	switch {
	case k.MainSurvived == nil && hiddenText(k) == "":
		return ""
	case k.MainSurvived == nil:
		return "not known: nobody saw whether the container's first process lived on"
	case *k.MainSurvived:
		return "none: the container's first process lived on, and while it runs, neither restarts nor the pod's status show this kill"
	}
	return "yes: the container's first process ended with it, so the pod's restarts show it"
}

// curve is the memory before the kill, drawn in one line; empty where too little is known.
func (p *killPrinter) curve() string {
	before := slices.DeleteFunc(slices.Clone(p.before), func(s oom.Sample) bool {
		return s.Time.After(p.kill.Time) || s.Time.Before(p.kill.Time.Add(-curveSpan)) || s.Usage < 0
	})
	if len(before) < 3 {
		return ""
	}
	first, last := before[0], before[len(before)-1]
	span := last.Time.Sub(first.Time)
	columns := make([]int64, min(curveWidth, len(before)))
	for _, s := range before {
		column := int(int64(s.Time.Sub(first.Time)) * int64(len(columns)-1) / max(int64(span), 1))
		columns[column] = max(columns[column], s.Usage)
	}
	top := max(p.kill.Limit.Bytes, slices.Max(columns), 1)
	var b strings.Builder
	for _, n := range columns {
		b.WriteString(cell(min(float64(n)/float64(top), 1-1e-9), false, p.glyphs))
	}
	return fmt.Sprintf("%s  %s to %s in %s", b.String(), bytesize.Text(first.Usage), bytesize.Text(last.Usage), durationText(span))
}

// memory is what was used below the limit, by kind; nil where that was not logged. What
// is part of another kind stands below it.
func (p *killPrinter) memory() *rows {
	m := &p.kill.Memory
	whole := cmp.Or(p.kill.Limit.Usage, p.kill.Limit.Bytes)
	r := newRows(3, "MEMORY", "SIZE", "SHARE", "WHICH IS")
	for _, kind := range []struct {
		name, what string
		bytes      int64
	}{
		{"anon", "heaps and stacks of processes", m.Anon},
		{"file", "page cache: the kernel takes it back when it can", m.File},
		{"shmem", "tmpfs and shared memory: stays until it is deleted", m.Shmem},
		{"kernel", "what the kernel keeps for the processes", m.Kernel},
		{"slab", "of the kernel's: files, directories, network", m.Slab},
		{"page tables", "of the kernel's: grow with processes and address space", m.PageTables},
		{"kernel stack", "of the kernel's: grows with threads", m.Stack},
		{"sock", "buffers of network connections", m.Sock},
		{"swap", "not in memory", m.Swap},
	} {
		if kind.bytes > 0 {
			r.add(kind.name, bytesize.Text(kind.bytes), percent(kind.bytes, whole), kind.what)
		}
	}
	if r.cells == nil {
		return nil
	}
	return r
}

// tasks are the processes that the kernel had to choose from; nil where it did not log them.
func (p *killPrinter) tasks() *rows {
	if len(p.kill.Tasks) == 0 {
		return nil
	}
	r := newRows(1, "PID", "PROCESS", "RSS", "ANON", "FILE", "SHMEM", "ADJ", "KILLED")
	for i := range p.kill.Tasks {
		t := &p.kill.Tasks[i]
		killed := t.PID == p.kill.Process.PID
		if i >= shownTasks && !killed {
			continue
		}
		r.add(fmt.Sprint(t.PID), t.Comm, memoryText(t.Resident()), memoryText(t.Anon), memoryText(t.File), memoryText(t.Shmem), fmt.Sprint(t.ScoreAdj), map[bool]string{true: "yes"}[killed])
	}
	return r
}

// nextCommands are what a person would type next.
func nextCommands(k *oom.Kill, agent string) []string {
	var all []string
	add := func(words ...string) {
		if words[0] == "stella" && agent != "" {
			words = append(words, "--agent", agent)
		}
		for i, w := range words {
			words[i] = shellWord(w)
		}
		all = append(all, strings.Join(words, " "))
	}
	namespace, pod, unit := typable(k.Container.Namespace), typable(k.Container.Pod), typable(k.Container.Unit)
	if pod != "" && namespace != "" {
		add("stella", "oom", "list", "--last", "7d", "-n", namespace, "--pod", pod)
		add("stella", "pods", "-n", namespace, pod)
		add("stella", "top", "containers", "--watch", "-n", namespace)
		add("kubectl", "-n", namespace, "describe", "pod", pod)
	} else {
		add("stella", "oom", "list", "--last", "7d")
		add("stella", "top", "containers", "--watch")
	}
	if unit != "" {
		add("systemctl", "status", unit)
	}
	switch k.Limit.Scope {
	case oom.ScopeNode, oom.ScopeParent, oom.ScopeCpuset:
		add("stella", "top", "node", "--watch")
		add("stella", "top", "processes")
	}
	return all
}

// typable is a name that a command can be offered with; empty for one that a terminal
// or a program would take for something else. Names can come from a kernel log.
func typable(name string) string {
	if name != printable(name) || strings.HasPrefix(name, "-") {
		return ""
	}
	return name
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9@%_+=:,./-]+$`)

// shellWord quotes a word for a POSIX shell.
func shellWord(s string) string {
	if plainWord.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
