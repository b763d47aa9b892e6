package remedy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"stella/internal/kube"
	"stella/internal/oom"
)

// Node is what the agent of a node tells: a [client.Agent] is one.
type Node interface {
	Usage(ctx context.Context) ([]oom.Usage, error)
	Limits(ctx context.Context, cgroup string) ([]oom.CgroupLimit, error)
}

// Reading is what the API and the kernel say after a change.
type Reading struct {
	Time time.Time `json:"time"`
	// State is yes where all is in force, no where something is not or cannot be, and unknown where somebody could not be asked.
	State  State   `json:"state"`
	Checks []Check `json:"checks"`
	// Pods are those that it holds for.
	Pods []string `json:"pods,omitempty"`
	// final says that waiting changes nothing: it was refused.
	final bool
}

const (
	// readEvery is the pause between two readings.
	readEvery = 500 * time.Millisecond
	// maxPodsRead bounds the pods of one owner that are read back.
	maxPodsRead = 500
)

// ReadBack reads what became of a change, again and again until it is in force, or cannot be, or the wait is over. node is nil where no agent can be asked.
// The error says that it could not be read at all; with it comes what was read before.
func (c *Cluster) ReadBack(ctx context.Context, done *Change, node Node, wait time.Duration) (Reading, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	var last Reading
	for {
		r, err := c.read(ctx, done, node)
		switch {
		case err == nil:
			last = r
		case ctx.Err() == nil:
			return last, err
		}
		if err == nil && (r.State == Yes || r.final || r.State == Unknown && node == nil) {
			return r, nil
		}
		select {
		case <-ctx.Done():
			if last.Checks == nil {
				return last, fmt.Errorf("read back %s: nothing could be read within %v: %w", &done.Target, wait, err)
			}
			return last, nil
		case <-time.After(readEvery):
		}
	}
}

// read reads once.
func (c *Cluster) read(ctx context.Context, done *Change, node Node) (Reading, error) {
	r := Reading{Time: time.Now().UTC()}
	t := &done.Target
	object, err := c.Object(ctx, t.Kind, t.Namespace, t.Name)
	if errors.Is(err, kube.ErrNotFound) || err == nil && object.Metadata.UID != t.UID {
		r.add("spec", No, "%s is gone.", t)
		r.final, r.State = true, No
		return r, nil
	}
	if err != nil {
		return r, err
	}
	r.spec(object, done.Edits)
	if t.Kind == "CronJob" {
		r.add("rollout", Yes, "Jobs to come get it; none that runs is changed.")
		r.State = all(r.Checks)
		return r, nil
	}
	if t.Kind != "Pod" {
		r.rollout(object)
	}
	pods, err := c.Pods(ctx, object)
	if err != nil {
		return r, err
	}
	r.pods(ctx, pods, done.Want, node)
	r.State = all(r.Checks)
	return r, nil
}

func (r *Reading) add(what string, state State, format string, args ...any) {
	r.Checks = append(r.Checks, Check{what, state, fmt.Sprintf(format, args...)})
}

// spec asks whether the object still has what was written.
func (r *Reading) spec(o *Object, edits []Edit) {
	for _, e := range edits {
		if text := o.differs(e.Path, e.After); text != "" {
			r.add("spec", No, "Somebody changed it back: %s now.", strings.Replace(text, ", and was ", ", in place of ", 1))
			r.final = true
			return
		}
	}
	r.add("spec", Yes, "%s has what was written.", o.target())
}

// rollout asks whether all pods follow the owner.
func (r *Reading) rollout(o *Object) {
	number := func(parts ...string) int64 {
		n, _ := at[json.Number](o.tree, parts)
		i, _ := n.Int64()
		return i
	}
	if onDelete(o) {
		r.add("rollout", Unknown, "The owner replaces no pods by itself (OnDelete): delete those that are to have it.")
		return
	}
	wanted, updated, available := number("spec", "replicas"), number("status", "updatedReplicas"), number("status", "availableReplicas")
	all := number("status", "replicas")
	if o.Kind == "DaemonSet" {
		wanted, updated, available = number("status", "desiredNumberScheduled"), number("status", "updatedNumberScheduled"), number("status", "numberAvailable")
		all = wanted
	}
	switch {
	case number("status", "observedGeneration") < number("metadata", "generation"):
		r.add("rollout", No, "Its controller has not seen the change yet.")
	case updated < wanted || available < wanted || all > updated:
		r.add("rollout", No, "%d of %d pods are new, %d available, %d in all.", updated, wanted, available, all)
	default:
		r.add("rollout", Yes, "All %d pods are new and available.", wanted)
	}
}

// Pods are those that follow an object: itself, or those that an owner's selector chooses and that are not about to end.
func (c *Cluster) Pods(ctx context.Context, o *Object) ([]*Object, error) {
	if o.Kind == "Pod" {
		return []*Object{o}, nil
	}
	labels, err := o.selector()
	if err != nil {
		return nil, err
	}
	var pods []*Object
	q := kube.Query{Resource: kube.Pods, Namespace: o.Metadata.Namespace, Labels: labels}
	err = kube.List(ctx, c.Client, q, func(text *json.RawMessage) error {
		tree, err := decode(*text)
		if err != nil {
			return err
		}
		if object, ok := tree.(map[string]any); ok {
			object["kind"] = "Pod" // items of a list need not say so
		}
		pod, err := NewObject(encode(tree))
		if err != nil {
			return err
		}
		if _, ends := pod.text("metadata", "deletionTimestamp"); ends {
			return nil
		}
		if len(pods) == maxPodsRead {
			return fmt.Errorf("%s has more than %d pods", o.target(), maxPodsRead)
		}
		pods = append(pods, pod)
		return nil
	})
	return pods, err
}

// selector is the owner's, as the API takes it in a query.
func (o *Object) selector() (string, error) {
	labels, _ := at[map[string]any](o.tree, []string{"spec", "selector", "matchLabels"})
	var parts []string
	for key, value := range labels {
		parts = append(parts, fmt.Sprintf("%s=%v", key, value))
	}
	if len(parts) == 0 || len(o.list("spec", "selector", "matchExpressions")) > 0 {
		return "", fmt.Errorf("%s chooses its pods by other than labels alone: its pods cannot be read back", o.target())
	}
	slices.Sort(parts)
	return strings.Join(parts, ","), nil
}

// pods asks of each pod what its status and the kernel say.
func (r *Reading) pods(ctx context.Context, pods []*Object, want *Want, node Node) {
	if want == nil || want.Limit == 0 {
		for _, p := range pods {
			r.Pods = append(r.Pods, p.Metadata.Name)
		}
		return
	}
	if len(pods) == 0 {
		r.add("pods", Unknown, "It has no pods, so that nothing can be read back.")
		return
	}
	var usage []oom.Usage
	problem := "no agent is asked"
	if node != nil {
		var err error
		if usage, err = node.Usage(ctx); err != nil {
			problem = err.Error()
		} else {
			problem = ""
		}
	}
	for _, p := range pods {
		r.Pods = append(r.Pods, p.Metadata.Name)
		r.status(p, want)
		if problem != "" {
			r.add("cgroups", Unknown, "Pod %s: could not tell what the kernel has: %s.", p.Metadata.Name, problem)
			continue
		}
		r.cgroups(ctx, p, want, node, usage)
	}
}

// status asks what the kubelet says it has given.
func (r *Reading) status(pod *Object, want *Want) {
	name := pod.Metadata.Name
	if seen, ok := at[json.Number](pod.tree, []string{"status", "observedGeneration"}); ok && seen.String() != pod.generation() {
		r.add("status", No, "The kubelet has not seen the change of pod %s yet.", name)
		return
	}
	for _, item := range pod.list("status", "conditions") {
		kind, _ := at[string](item, []string{"type"})
		state, _ := at[string](item, []string{"status"})
		reason, _ := at[string](item, []string{"reason"})
		message, _ := at[string](item, []string{"message"})
		about, ok := at[json.Number](item, []string{"observedGeneration"})
		if state != "True" || kind != "PodResizePending" && kind != "PodResizeInProgress" || ok && about.String() != pod.generation() {
			continue // another condition, or one of a change before
		}
		switch reason {
		case "Infeasible":
			r.add("resize", No, "The node cannot grant it to pod %s: Infeasible: %s", name, message)
			r.final = true
		case "Deferred":
			r.add("resize", No, "The node cannot grant it to pod %s now, and tries again: Deferred: %s", name, message)
		case "Error":
			r.add("resize", No, "The kubelet failed at it for pod %s: %s", name, message)
		default:
			r.add("resize", No, "The kubelet is at it for pod %s.", name)
		}
		return
	}
	for _, field := range []string{"containerStatuses", "initContainerStatuses"} {
		place, ok := pod.named(want.Container, "status", field)
		if !ok {
			continue
		}
		got := pod.amount(under(place, "resources", "limits", "memory")...)
		state := Yes
		if got != want.Limit {
			state = No
		}
		r.add("status", state, "The kubelet has given container %s of pod %s a limit of %s.", want.Container, name, sizeOr(got, "none"))
		return
	}
	r.add("status", No, "Container %s of pod %s has no status yet.", want.Container, name)
}

// generation counts the changes of the object's spec.
func (o *Object) generation() string {
	n, _ := at[json.Number](o.tree, []string{"metadata", "generation"})
	return n.String()
}

// cgroups asks what the kernel has, for the container and for its pod.
func (r *Reading) cgroups(ctx context.Context, pod *Object, want *Want, node Node, usage []oom.Usage) {
	name := pod.Metadata.Name
	at := slices.IndexFunc(usage, func(u oom.Usage) bool {
		return u.Gone.IsZero() && u.Container.PodUID == pod.Metadata.UID && u.Container.Name == want.Container
	})
	if at < 0 {
		on, _ := pod.text("spec", "nodeName")
		r.add("cgroups", Unknown, "The agent that was asked does not have pod %s: ask the one of node %s, with --agent.", name, on)
		return
	}
	chain, err := node.Limits(ctx, usage[at].Cgroup)
	if err != nil {
		r.add("cgroups", Unknown, "Could not tell what the kernel has for pod %s: %v.", name, err)
		return
	}
	if len(chain) < 2 || !strings.Contains(strings.ReplaceAll(path.Base(chain[1].Cgroup), "_", "-"), pod.Metadata.UID) {
		r.add("cgroups", Unknown, "The cgroups of pod %s are not where they are known to be: %v.", name, chain)
		return
	}
	r.limit("container", name, chain[0], want.Limit)
	r.limit("pod", name, chain[1], pod.podLimit())
}

func (r *Reading) limit(whose, pod string, got oom.CgroupLimit, want int64) {
	state := Yes
	if got.Bytes != want {
		state = No
	}
	r.add("cgroup of the "+whose, state, "The kernel has a limit of %s in the cgroup of the %s (pod %s); it has to be %s.", sizeOr(got.Bytes, "none"), whose, pod, sizeOr(want, "none"))
}

// podLimit is the limit that the kubelet gives the pod's cgroup, in bytes: the sum of its containers', or none where one has none (kubelet, pkg/kubelet/cm).
func (o *Object) podLimit() int64 {
	if own := o.amount("spec", "resources", "limits", "memory"); own > 0 {
		return own
	}
	sum := int64(0)
	for i := range o.list("spec", "containers") {
		bytes := o.amount("spec", "containers", fmt.Sprint(i), "resources", "limits", "memory")
		if bytes == 0 {
			return 0
		}
		sum += bytes
	}
	// Of those that run before the others, the ones that stay count with them, and of the rest the largest.
	stay, most := int64(0), int64(0)
	for i, item := range o.list("spec", "initContainers") {
		bytes := o.amount("spec", "initContainers", fmt.Sprint(i), "resources", "limits", "memory")
		policy, _ := find(item, "restartPolicy")
		switch {
		case bytes == 0:
			return 0
		case policy == "Always":
			stay += bytes
		default:
			most = max(most, stay+bytes)
		}
	}
	return max(sum+stay, most) + o.amount("spec", "overhead", "memory")
}
