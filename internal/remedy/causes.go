package remedy

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"
)

const (
	// gain is by how much a stop-gap raises a limit.
	gain = 1.5
	// culpritRoom is what a culprit's limit leaves above what it uses.
	culpritRoom = 1.25
	// restartedAt is the annotation of kubectl rollout restart.
	restartedAt = "kubectl.kubernetes.io/restartedAt"
)

// stopgap gains time for what grows without an end, and says that it is no more than that.
func (p *planner) stopgap() {
	w, now := p.Workload, p.plan.Limit
	if w == nil || now == 0 {
		return
	}
	bytes := p.Limit
	why := "It cures nothing: what grows without an end fills any limit."
	if f := p.Report.Forecast; bytes == 0 {
		if f == nil || f.PerHour <= 0 {
			return // nobody knows what it would gain
		}
		const step = 16 << 20 // an amount that people would write
		bytes = int64(math.Ceil(gain*float64(now)/step)) * step
		why += fmt.Sprintf(" At %s an hour it gains %s.", amount(f.PerHour), hours(float64(bytes-now)/float64(f.PerHour)))
	}
	if w.Allocatable > 0 && bytes > w.Allocatable {
		p.note("There is no stop-gap: the node gives pods %s in all.", amount(w.Allocatable))
		return
	}
	if s, ok := p.resized(w, bytes); ok {
		s.Stopgap, s.Why = true, p.why()+" "+why
		s.What = "As a stop-gap, until it is restarted and repaired: " + s.What
		p.add(s)
	}
}

// sized sets the limit that a person wants for as much as the program is to count; without one there is only a stop-gap.
func (p *planner) sized() {
	if p.Limit == 0 {
		p.stopgap()
		return
	}
	p.resize()
	p.limit()
}

func hours(h float64) string {
	if h > 1000 {
		return "more than a month"
	}
	return time.Duration(h * float64(time.Hour)).Round(time.Minute).String()
}

// restart replaces the pods: what has leaked is gone, until the next time.
func (p *planner) restart() {
	w := p.Workload
	if w == nil {
		return
	}
	why := p.why() + " A restart gives back what has leaked, until the next time."
	if w.Owner == nil || w.Owner.Kind == "CronJob" || onDelete(w.Owner) {
		t := w.Pod.target()
		p.add(Step{
			Kind: Restart, Stopgap: true, Why: why, What: fmt.Sprintf("Delete pod %s, so that its owner makes another.", t.Name),
			Risk: Risk{Medium, "What it holds in memory is lost. A pod that nobody owns does not come back."}, Undo: "It cannot be taken back.",
			Commands: []string{t.kubectl("delete", "pod", t.Name)},
		})
		return
	}
	t := w.Owner.target()
	s := Step{
		Kind: Restart, Stopgap: true, Target: t, Want: &Want{Container: w.Container}, Why: why,
		What:  fmt.Sprintf("Replace the pods of %s %s, one after the other.", t.Kind, t.Name),
		Risk:  Risk{Medium, "What the pods hold in memory is lost, and their connections break."},
		Undo:  "It cannot be taken back.",
		Edits: []Edit{set(w.Owner.tree, p.Now.UTC().Format(time.RFC3339), under(w.Owner.template(), "metadata", "annotations", restartedAt)...)},
	}
	s.Commands = []string{t.kubectl("rollout", "restart", t.resource()), t.rollout()}
	p.finish(&s, w.Owner)
	s.Conflicts = nil // an annotation that nobody else writes
	p.add(s)
}

// autoscale proposes more pods for more to do.
func (p *planner) autoscale() {
	w := p.Workload
	if w == nil || w.Owner == nil || w.Owner.Kind != "Deployment" && w.Owner.Kind != "StatefulSet" || p.plan.Limit == 0 {
		return
	}
	t, replicas := w.Owner.target(), 1
	if value, ok := at[json.Number](w.Owner.tree, []string{"spec", "replicas"}); ok {
		if n, err := strconv.Atoi(value.String()); err == nil {
			replicas = n
		}
	}
	least := max(replicas, 1)
	manifest := fmt.Sprintf(`apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: %q}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: %s, name: %q}
  minReplicas: %d
  maxReplicas: %d
  metrics:
  - type: Resource
    resource: {name: memory, target: {type: AverageValue, averageValue: %q}}
`, t.Name, t.Kind, t.Name, least, 2*least, quantity(p.plan.Limit/10*7>>20<<20))
	p.add(Step{
		Kind: Autoscale, What: fmt.Sprintf("Share what it counts among more pods: from %d to %d, at 70 %% of the limit each.", least, 2*least),
		Risk:     Risk{Medium, "It needs metrics-server, takes spec.replicas over, and helps only if there really is more to do: what leaks, leaks in each pod. Connections stay where they are."},
		Undo:     t.kubectl("delete", "horizontalpodautoscaler", t.Name),
		Commands: []string{t.kubectl("apply", "--filename", "-") + " <<'EOF'\n" + manifest + "EOF"},
	})
}

// volumeSize bounds the volumes in memory that have no size.
func (p *planner) volumeSize() {
	w := p.Workload
	if w == nil || w.Owner == nil || p.plan.Limit == 0 {
		return
	}
	o := w.Owner
	place, ok := o.container(w.Container)
	if !ok {
		return
	}
	half := max(p.plan.Limit/2>>20<<20, 1<<20)
	for _, mount := range o.list(under(place, "volumeMounts")...) {
		name, _ := at[string](mount, []string{"name"})
		volume, ok := o.named(name, under(o.template(), "spec", "volumes")...)
		if medium, _ := o.text(under(volume, "emptyDir", "medium")...); !ok || medium != "Memory" || o.amount(under(volume, "emptyDir", "sizeLimit")...) > 0 {
			continue
		}
		s := Step{
			Kind: VolumeSize, Target: o.target(), Want: &Want{Container: w.Container}, Edits: []Edit{set(o.tree, quantity(half), under(volume, "emptyDir", "sizeLimit")...)},
			What: fmt.Sprintf("Give volume %s, which is in memory, a size of %s: half of the limit.", name, quantity(half)),
			Risk: Risk{Medium, "Who writes more gets \"no space left on device\". The pods are replaced, and what is in the volume is lost."},
			Undo: "The same way back: stella remedy rollback, which replaces the pods once more.",
		}
		p.finish(&s, o)
		p.add(s)
	}
}

// culprit bounds who took the node's memory. The victim needs nothing.
func (p *planner) culprit() {
	p.note("%s did nothing wrong: no step is for it.", p.plan.Subject.Name)
	c := p.Culprit
	if c == nil {
		p.add(Step{
			Kind: FindOut, What: "Find out who took the node's memory, and give it a limit and a request that are true.",
			Risk: Risk{Low, "It only looks."}, Commands: []string{"stella top containers", "stella top node"},
		})
		return
	}
	if c.Owner == nil {
		p.note("Pod %s/%s took the memory; nobody whom we know makes it, so a limit has to go into its manifest.", c.Pod.Metadata.Namespace, c.Pod.Metadata.Name)
		return
	}
	place, ok := c.Owner.container(c.Container)
	if !ok {
		return
	}
	const step = 16 << 20
	limit := int64(math.Ceil(culpritRoom*float64(p.CulpritUse.WorkingSet)/step)) * step
	request := int64(math.Ceil(float64(p.CulpritUse.WorkingSet)/step)) * step
	s := Step{
		Kind: Limit, Target: c.Owner.target(), Want: &Want{c.Container, limit},
		What: fmt.Sprintf("Give container %s of %s %s, which took the memory, a limit of %s and a request of %s.", c.Container, c.Owner.Kind, c.Owner.Metadata.Name, quantity(limit), quantity(request)),
		Risk: Risk{High, "It uses " + amount(p.CulpritUse.WorkingSet) + " now: if it needs more, it will be killed in place of others. With a true request it may not fit on this node. Its pods are replaced."},
		Undo: "The same way back: stella remedy rollback, which replaces the pods once more.",
	}
	s.Edits = both(c.Owner, place, request, limit)
	p.finish(&s, c.Owner)
	p.add(s)
}

// both are the edits that set a request and a limit. Objects that are missing are made once.
func both(o *Object, place []string, request, limit int64) []Edit {
	resources := under(place, "resources")
	value, ok := at[map[string]any](o.tree, resources)
	_, requests := value["requests"]
	_, limits := value["limits"]
	if !ok || !requests && !limits {
		amounts := map[string]any{"limits": map[string]any{"memory": quantity(limit)}, "requests": map[string]any{"memory": quantity(request)}}
		for key, other := range value {
			amounts[key] = other
		}
		return []Edit{set(o.tree, amounts, resources...)}
	}
	return []Edit{
		set(o.tree, quantity(limit), under(resources, "limits", "memory")...),
		set(o.tree, quantity(request), under(resources, "requests", "memory")...),
	}
}

// fewerChildren says how many there were, and for how many there is room.
func (p *planner) fewerChildren() {
	most, largest, comm, id := 0, int64(0), "", ""
	for i := range p.Kills {
		k := &p.Kills[i]
		n := 0
		for _, t := range k.Tasks {
			if t.Comm == k.Process.Comm {
				n++
			}
		}
		if n > most || id == "" {
			most, comm, id = max(n, 1), k.Process.Comm, k.ID
		}
		largest = max(largest, k.Process.Resident())
	}
	what := "Have fewer children at the same time, or none: a library in place of a command; or end the loop now and then, so that it begins anew."
	if id != "" && largest > 0 && p.plan.Limit > 0 {
		what += fmt.Sprintf(" At a kill there were %d named %s; the largest victim had %s, so the present limit of %s has room for %d.",
			most, comm, amount(largest), amount(p.plan.Limit), p.plan.Limit*8/10/largest)
	}
	s := Step{Kind: Concurrency, What: what, Risk: Risk{Low, "It is a change of the program, which its people have to make."}}
	if id != "" {
		s.Commands = []string{command("stella", "oom", "show", id)}
	}
	p.add(s)
}
