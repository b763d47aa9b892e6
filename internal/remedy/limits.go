package remedy

import (
	"fmt"
	"slices"
)

// resize changes the limit of the container as it runs.
func (p *planner) resize() {
	w, bytes := p.Workload, p.wanted()
	if bytes == 0 {
		return
	}
	if w == nil {
		p.unit(bytes)
		return
	}
	if s, ok := p.resized(w, bytes); ok {
		s.Why = p.whyLimit()
		p.add(s)
	}
}

// resized is the step that gives a container another limit in place; ok is false where that is not possible or not needed.
func (p *planner) resized(w *Workload, bytes int64) (s Step, ok bool) {
	place, ok := w.Pod.container(w.Container)
	if !ok {
		p.note("Pod %s has no container %s any more: nothing can be resized in place.", w.Pod.Metadata.Name, w.Container)
		return s, false
	}
	if phase, _ := w.Pod.text("status", "phase"); phase != "Running" {
		p.note("Pod %s does not run (%s): nothing can be resized in place.", w.Pod.Metadata.Name, phase)
		return s, false
	}
	if _, mirror := w.Pod.Metadata.Annotations["kubernetes.io/config.mirror"]; mirror {
		p.note("Pod %s is a static one: its limit is in a file on the node.", w.Pod.Metadata.Name)
		return s, false
	}
	edits := memory(w.Pod, place, bytes)
	if len(edits) == 0 {
		p.note("Container %s of pod %s has a limit of %s already.", w.Container, w.Pod.Metadata.Name, amount(bytes))
		return s, false
	}
	before := w.Pod.amount(under(place, "resources", "limits", "memory")...)
	target := w.Pod.target()
	target.Below = "resize"
	s = Step{
		Kind: Resize, Target: target, Edits: edits, Want: &Want{w.Container, bytes},
		What: fmt.Sprintf("Resize container %s of pod %s in place: memory limit %s → %s.", w.Container, w.Pod.Metadata.Name, sizeOr(before, "none"), quantity(bytes)),
		Risk: p.resizeRisk(w, place, before, bytes),
		Undo: "The same way back: stella remedy rollback. Less is granted only while no more is in use.",
	}
	p.finish(&s, w.Pod)
	return s, true
}

// resizeRisk says what a resize in place can do.
func (p *planner) resizeRisk(w *Workload, place []string, before, bytes int64) Risk {
	request := w.Pod.amount(under(place, "resources", "requests", "memory")...)
	if request == before { // it goes with the limit
		request = bytes
	}
	switch {
	case w.Allocatable > 0 && request > w.Allocatable:
		return Risk{High, fmt.Sprintf("The node gives pods %s in all: it will not grant a request of %s.", amount(w.Allocatable), amount(request))}
	case w.Allocatable > 0 && bytes > w.Allocatable:
		return Risk{High, fmt.Sprintf("The node gives pods %s in all: with a limit above that, the node itself can run out.", amount(w.Allocatable))}
	case restarts(w.Pod, place):
		return Risk{Medium, "The container's resizePolicy has it started anew for this."}
	case bytes < before:
		return Risk{Medium, "It gets less: it is killed where it needs more than that."}
	}
	return Risk{Low, "Nothing is started anew. It is for this pod alone, until that is replaced; the node may have to wait for memory (Deferred)."}
}

// restarts reports whether a container asks to be started anew when its memory is resized.
func restarts(o *Object, place []string) bool {
	return slices.ContainsFunc(o.list(under(place, "resizePolicy")...), func(item any) bool {
		name, _ := find(item, "resourceName")
		policy, _ := find(item, "restartPolicy")
		return name == "memory" && policy == "RestartContainer"
	})
}

// memory are the edits that give the container at a place a limit. A request that was the same stays the same, as it makes the pod's QoS class.
func memory(o *Object, place []string, bytes int64) []Edit {
	limit := under(place, "resources", "limits", "memory")
	before, request := o.amount(limit...), o.amount(under(place, "resources", "requests", "memory")...)
	if before == bytes {
		return nil
	}
	edits := []Edit{set(o.tree, quantity(bytes), limit...)}
	if request > 0 && (request == before || request > bytes) {
		edits = append(edits, set(o.tree, quantity(bytes), under(place, "resources", "requests", "memory")...))
	}
	return edits
}

// limit changes the limit in the owner's template.
func (p *planner) limit() {
	w, bytes := p.Workload, p.wanted()
	if bytes == 0 || w == nil {
		return
	}
	if w.Owner == nil {
		p.manifest(w, bytes)
		return
	}
	place, ok := w.Owner.container(w.Container)
	if !ok {
		p.note("%s %s has no container %s: another tool adds it to the pods.", w.Owner.Kind, w.Owner.Metadata.Name, w.Container)
		return
	}
	edits := memory(w.Owner, place, bytes)
	if len(edits) == 0 {
		p.note("%s %s has a limit of %s already: new pods get it.", w.Owner.Kind, w.Owner.Metadata.Name, amount(bytes))
		return
	}
	before := w.Owner.amount(under(place, "resources", "limits", "memory")...)
	s := Step{
		Kind: Limit, Target: w.Owner.target(), Edits: edits, Want: &Want{w.Container, bytes}, Why: p.whyLimit(),
		What: fmt.Sprintf("Change the memory limit of container %s in %s %s: %s → %s.", w.Container, w.Owner.Kind, w.Owner.Metadata.Name, sizeOr(before, "none"), quantity(bytes)),
		Risk: rolls(w.Owner),
		Undo: "The same way back: stella remedy rollback, which replaces the pods once more.",
	}
	p.finish(&s, w.Owner)
	p.add(s)
}

// rolls is the risk of a change of an owner's template.
func rolls(owner *Object) Risk {
	switch {
	case owner.Kind == "CronJob":
		return Risk{Low, "It is for the jobs to come; one that runs keeps what it has."}
	case onDelete(owner):
		return Risk{Low, "The owner replaces no pods by itself (OnDelete): each gets it when it is deleted."}
	}
	return Risk{Medium, "The owner replaces its pods, one after the other as its strategy says: what they hold in memory is lost, and a new pod may not fit on its node."}
}

// onDelete reports whether an owner leaves it to people to replace pods.
func onDelete(owner *Object) bool {
	strategy, _ := owner.text("spec", "updateStrategy", "type")
	return strategy == "OnDelete"
}

// manifest leaves a limit to who made the pod.
func (p *planner) manifest(w *Workload, bytes int64) {
	if w.Foreign != "" {
		p.add(Step{
			Kind: Limit, Why: p.whyLimit(),
			What: fmt.Sprintf("Set the memory limit of container %s to %s in %s, which makes the pods.", w.Container, quantity(bytes), w.Foreign),
			Risk: Risk{Medium, "What it replaces when it is changed, its own documentation says."},
		})
		return
	}
	p.note("Nobody makes pod %s anew: put the limit of %s into the manifest that it was made from.", w.Pod.Metadata.Name, quantity(bytes))
}

// finish adds to a step of ours what follows from its edits.
func (p *planner) finish(s *Step, o *Object) {
	if len(s.Commands) == 0 {
		s.Commands = []string{s.Target.patch(s.Edits)}
		if rollout := s.Target.rollout(); rollout != "" && !onDelete(o) {
			s.Commands = append(s.Commands, rollout)
		}
	}
	s.Conflicts = o.conflicts(s.Edits)
	var err error
	if s.Diff, err = o.diff(s.Edits); err != nil {
		p.note("Step %d has no difference to show: %v.", len(p.plan.Steps)+1, err)
	}
}

// unit leaves the limit of a systemd unit to a person.
func (p *planner) unit(bytes int64) {
	c := &p.Report.Container
	if c.Unit == "" {
		if c.Pod != "" {
			p.note("Kubernetes was not asked, or does not have pod %s/%s: no step can be made for it.", c.Namespace, c.Pod)
		} else {
			p.note("It is neither in Kubernetes nor a systemd unit: set the limit of %s where its runtime has it.", quantity(bytes))
		}
		return
	}
	undo := "It had no limit that is known; systemctl revert takes back all that was set for the unit."
	if p.plan.Limit > 0 {
		undo = command("systemctl", "set-property", c.Unit, fmt.Sprintf("MemoryMax=%d", p.plan.Limit))
	}
	p.add(Step{
		Kind: Unit, Why: p.whyLimit(), Undo: undo,
		What:     fmt.Sprintf("Set the memory limit of unit %s to %s.", c.Unit, amount(bytes)),
		Risk:     Risk{Low, "Nothing is started anew; it holds over reboots."},
		Commands: []string{command("systemctl", "set-property", c.Unit, fmt.Sprintf("MemoryMax=%d", bytes))},
	})
}

func sizeOr(bytes int64, none string) string {
	if bytes == 0 {
		return none
	}
	return quantity(bytes)
}
