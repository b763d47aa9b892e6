package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"stella/internal/bytesize"
	"stella/internal/client"
	"stella/internal/oom"
)

// podUsage is what all containers of a pod use now. Amounts are bytes.
type podUsage struct {
	Namespace  string  `json:"namespace,omitempty"`
	Pod        string  `json:"pod,omitempty"`
	PodUID     string  `json:"pod_uid,omitempty"`
	Workload   string  `json:"workload,omitempty"`
	Node       string  `json:"node,omitempty"`
	Containers int     `json:"containers"`
	Cores      float64 `json:"cores"`
	WorkingSet int64   `json:"working_set"`
	// Limit is that of all containers together; 0 where one has none.
	Limit int64 `json:"limit"`
	// Trend is the change of the working set a minute.
	Trend int64 `json:"trend"`
	// Disk and Inodes are -1 where they are not known.
	Disk     int64     `json:"disk"`
	Inodes   int64     `json:"inodes"`
	Kills    int64     `json:"kills"`
	LastKill time.Time `json:"last_kill,omitzero"`
}

func newTopPods(a *app, f *agentFlags) *cobra.Command {
	c := &top{app: a, agent: f, formats: tableFormats, sorts: []string{"memory", "cpu", "trend"}}
	c.look = func(ctx context.Context, agent *client.Agent) (view, error) {
		usage, err := agent.Usage(ctx)
		if err != nil {
			return view{}, err
		}
		pods := podUsages(usage, c.namespace)
		of := figures[podUsage](func(p *podUsage) (float64, int64, int64) { return p.Cores, p.WorkingSet, p.Trend })
		of.sort(pods, c.sort)
		return view{list(pods), countOf(int64(len(pods)), "pod") + ", " + of.sum(pods), c.table(podUsageRows(pods, time.Now(), c))}, nil
	}
	return c.command(&cobra.Command{
		Use: "pods", Aliases: []string{"pod", "po"},
		Short: "Show the processor and memory use of pods, against their limits",
		Long: `Show the processor and memory use of this node's pods: of all containers of a pod
together. CPU is in thousandths of a core, memory is the working set, both as kubectl
top pod has them. TREND is the growth of memory a minute, FULL IN (-o wide, --watch)
when the limit is reached at that rate, KILLS are all OOM kills that the agent knows of.

` + topHelp,
		Example: `  stella top pods -n catalog
  stella top pods --sort-by trend --watch
  stella top pods -o json | jq '.[] | select(.kills > 0)'`,
	})
}

// podUsages adds up the containers that run, by pod.
func podUsages(usage []oom.Usage, namespace string) []podUsage {
	var pods []podUsage
	index := make(map[string]int)
	for i := range usage {
		u := &usage[i]
		id := cmp.Or(u.Container.PodUID, u.Container.Namespace+"/"+u.Container.Pod)
		if id == "/" || !u.Gone.IsZero() || namespace != "" && u.Container.Namespace != namespace {
			continue
		}
		at, ok := index[id]
		if !ok {
			at = len(pods)
			index[id] = at
			c := &u.Container
			pods = append(pods, podUsage{Namespace: c.Namespace, Pod: c.Pod, PodUID: c.PodUID, Workload: c.Workload, Node: c.Node, Disk: -1, Inodes: -1})
		}
		pods[at].add(u)
	}
	return pods
}

// add adds a container.
func (p *podUsage) add(u *oom.Usage) {
	limit := cmp.Or(u.Container.LimitBytes, u.Sample.Limit)
	if p.Containers > 0 && (p.Limit == 0 || limit == 0) {
		p.Limit = 0
	} else {
		p.Limit += limit
	}
	p.Containers++
	p.Cores += u.Cores
	p.WorkingSet += max(u.Sample.WorkingSet, 0)
	p.Trend += u.Trend
	p.Disk = addKnown(p.Disk, u.Disk)
	p.Inodes = addKnown(p.Inodes, u.Inodes)
	p.Kills += u.Kills
	if u.LastKill.After(p.LastKill) {
		p.LastKill = u.LastKill
	}
}

// addKnown adds amounts that are -1 where they are not known.
func addKnown(a, b int64) int64 {
	if a < 0 || b < 0 {
		return max(a, b)
	}
	return a + b
}

// podUsageRows are pods for people.
func podUsageRows(pods []podUsage, now time.Time, c *top) *rows {
	head := []string{"NAMESPACE", "NAME", "CPU", "MEMORY"}
	if !c.wide() {
		head = append(head, "LIMIT", "%")
	}
	head = append(head, "TREND", "KILLS")
	if c.wide() {
		head = append(head, "FULL IN", "LAST KILL", "DISK", "INODES", "WORKLOAD", "NODE")
	}
	r := newRows(1, head...)
	for i := range pods {
		p := &pods[i]
		cells := []string{p.Namespace, cmp.Or(p.Pod, p.PodUID), milliText(p.Cores)}
		cells = append(cells, c.memoryCells(p.WorkingSet, p.Limit)...)
		cells = append(cells, trendText(p.Trend), countText(p.Kills))
		if c.wide() {
			cells = append(cells, untilLimit(p.WorkingSet, p.Limit, p.Trend), since(now, p.LastKill), knownBytes(p.Disk), knownCount(p.Inodes), p.Workload, p.Node)
		}
		r.add(cells...)
	}
	c.paint(r, 3, func(row int) (int64, int64) { return pods[row].WorkingSet, pods[row].Limit })
	return r
}

// memoryCells are memory and its limit: as a bar where that was asked for.
func (c *top) memoryCells(n, limit int64) []string {
	if !c.wide() {
		return []string{knownBytes(n), limitOrNone(limit), share(n, limit)}
	}
	if n < 0 {
		return []string{""}
	}
	return []string{memoryBar(n, limit, c.app.console.glyphs())}
}

// paint colours memory that comes near its limit, on a terminal.
func (c *top) paint(r *rows, memory int, of func(row int) (n, limit int64)) {
	if !c.app.resultColor() {
		return
	}
	r.paint = func(row, column int, text string) string {
		n, limit := of(row)
		if column != memory || limit <= 0 {
			return text
		}
		return heat(n, limit, text)
	}
}

// untilLimit is in how long a limit is reached; empty without one, or where that is not soon.
func untilLimit(n, limit, trend int64) string {
	if limit <= 0 || n < 0 {
		return ""
	}
	return untilText(limit-n, trend)
}

// figures are what things are sorted by.
type figures[T any] func(*T) (cores float64, memory, trend int64)

// sort puts the largest first, by what --sort-by names.
func (of figures[T]) sort(all []T, by string) {
	slices.SortStableFunc(all, func(a, b T) int {
		aCores, aMemory, aTrend := of(&a)
		bCores, bMemory, bTrend := of(&b)
		memory := cmp.Compare(bMemory, aMemory)
		switch by {
		case "cpu":
			return cmp.Or(cmp.Compare(bCores, aCores), memory)
		case "trend":
			return cmp.Or(cmp.Compare(bTrend, aTrend), memory)
		}
		return memory
	})
}

// sum is what all things use, in a line.
func (of figures[T]) sum(all []T) string {
	var cores float64
	var memory int64
	for i := range all {
		c, m, _ := of(&all[i])
		cores, memory = cores+c, memory+max(m, 0)
	}
	return fmt.Sprintf("%.2f cores, %s", cores, bytesize.Text(memory))
}
