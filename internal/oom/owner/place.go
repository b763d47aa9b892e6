package owner

import (
	"cmp"
	"path"
	"strings"

	"stella/internal/oom"
)

// Kind is what a cgroup is.
type Kind string

// The kinds of cgroups.
const (
	KindContainer Kind = "container" // a container's, or one that it made below its own
	KindPod       Kind = "pod"       // a pod's, or one below it that is no container's
	KindQoS       Kind = "qos"       // of all pods of a QoS class
	KindKubepods  Kind = "kubepods"  // of all pods
	KindUnit      Kind = "unit"      // a systemd unit's, or one below it
	KindOther     Kind = "other"
)

// The QoS classes, as the status of a pod has them.
const (
	Guaranteed = "Guaranteed"
	Burstable  = "Burstable"
	BestEffort = "BestEffort"
)

// Place is what the path of a cgroup tells by itself. What it does not tell is empty.
type Place struct {
	Kind Kind
	// Container has 64 hexadecimal digits. Runtime is containerd, cri-o, docker, podman or nerdctl.
	Container, Runtime string
	// PodUID is as the kubelet has it. That of a static pod is not the one in the API, which has it in an annotation.
	PodUID string
	QoS    string
	// Unit is the systemd unit, for what is no container and no pod.
	Unit string
	// ContainerPath, PodPath and UnitPath are the cgroups of each: beginnings of the path.
	ContainerPath, PodPath, UnitPath string
}

// Parse reads the path of a cgroup as the kernel logs it. It never fails: of a path that it does not know, the kind is [KindOther].
func Parse(cgroup string) Place {
	p := parser{Place: Place{Kind: KindOther}}
	for end := 0; end < len(cgroup) && !p.done(); {
		var name string
		name, end = next(cgroup, end)
		// A runtime with the cgroupfs driver below a kubelet with systemd's makes one
		// cgroup for pod and container, slice:prefix:ID.
		if slice, scope, ok := strings.Cut(name, ".slice:"); ok {
			p.take(slice+".slice", "")
			name = strings.ReplaceAll(scope, ":", "-")
		}
		p.take(name, cgroup[:end])
	}
	return p.place()
}

// parser goes down a path.
type parser struct {
	Place
	// pods and class are of the cgroups of all pods, and of those of a class, that were passed.
	pods  Kind
	class string
}

// done says that nothing further down matters: what runs in a pod's container belongs to it, also another runtime's containers.
func (p *parser) done() bool { return p.PodUID != "" && p.Container != "" }

// take reads the name of one cgroup.
func (p *parser) take(name, upTo string) {
	if p.PodUID == "" {
		if uid, class, ok := podOf(name, p.pods); ok {
			p.Place = Place{PodUID: uid, PodPath: upTo, QoS: cmp.Or(class, p.class, Guaranteed)}
			return
		}
	}
	if p.Container == "" {
		if id, runtime, ok := containerOf(name, upTo); ok {
			p.Container, p.Runtime, p.ContainerPath = id, runtime, upTo
			return
		}
	}
	if p.PodUID != "" {
		return
	}
	if kind, class, ok := classOf(name, p.pods); ok {
		p.pods, p.class = kind, class
		return
	}
	p.unit(name, upTo)
}

// place is what the whole path tells.
func (p *parser) place() Place {
	switch {
	case p.Container != "":
		p.Kind = KindContainer
	case p.PodUID != "":
		p.Kind = KindPod
	case p.pods != "":
		p.Kind, p.QoS = p.pods, p.class
	case p.Unit != "":
		p.Kind = KindUnit
	}
	if p.Kind != KindUnit {
		p.Unit, p.UnitPath = "", ""
	}
	return p.Place
}

// next is the component of a path that begins at a position, and where it ends.
func next(cgroup string, from int) (name string, end int) {
	if cgroup[from] == '/' {
		from++
	}
	end = len(cgroup)
	if i := strings.IndexByte(cgroup[from:], '/'); i >= 0 {
		end = from + i
	}
	return cgroup[from:end], end
}

// containerOf reads the name of a container's cgroup: the ID alone, or prefix-ID.scope, prefix-ID.
func containerOf(name, upTo string) (id, runtime string, ok bool) {
	name = strings.TrimSuffix(name, ".scope")
	if len(name) < idDigits {
		return "", "", false
	}
	prefix, id := name[:len(name)-idDigits], name[len(name)-idDigits:]
	if !isHex(id) {
		return "", "", false
	}
	switch prefix {
	case "":
		if path.Base(path.Dir(upTo)) == "docker" {
			runtime = Docker
		}
		return id, runtime, true
	case "cri-containerd-":
		return id, Containerd, true
	case "crio-":
		return id, CRIO, true
	case "docker-":
		return id, Docker, true
	case "libpod-":
		return id, Podman, true
	case "nerdctl-":
		return id, "nerdctl", true
	}
	return "", "", false // crio-conmon-ID: its monitor, outside of the container
}

// The runtimes whose containers the resolver can ask about.
const (
	Containerd = "containerd"
	CRIO       = "cri-o"
	Docker     = "docker"
	Podman     = "podman"
)

// idDigits is the length of the IDs of all runtimes.
const idDigits = 64

// podOf reads the name of a pod's cgroup: podUID, or …kubepods-class-podUID_WITH_UNDERSCORES.slice.
func podOf(name string, above Kind) (uid, qos string, ok bool) {
	if rest, ok := strings.CutPrefix(name, "pod"); ok && !strings.HasSuffix(name, ".slice") {
		// A standalone kubelet lets a static pod choose any UID.
		below := above == KindKubepods || above == KindQoS
		return rest, "", isUID(rest) || below && rest != ""
	}
	slice, ok := strings.CutSuffix(name, ".slice")
	if !ok {
		return "", "", false
	}
	i := strings.LastIndex(slice, "-pod")
	if i < 0 {
		return "", "", false
	}
	all := slice[:i]
	if all, ok = strings.CutSuffix(all, "-burstable"); ok {
		qos = Burstable
	} else if all, ok = strings.CutSuffix(all, "-besteffort"); ok {
		qos = BestEffort
	}
	if all != "kubepods" && !strings.HasSuffix(all, "-kubepods") {
		return "", "", false
	}
	// systemd has "-" for "/", so that the kubelet writes "_" instead.
	uid = strings.ReplaceAll(slice[i+len("-pod"):], "_", "-")
	return uid, qos, uid != ""
}

// classOf reads the names of the cgroups above pods. All pods have no class.
func classOf(name string, above Kind) (kind Kind, class string, ok bool) {
	name, systemd := strings.CutSuffix(name, ".slice")
	if systemd {
		name = name[strings.LastIndexByte(name, '-')+1:]
	}
	switch {
	case name == "kubepods":
		return KindKubepods, "", true
	case name == "burstable" && above == KindKubepods:
		return KindQoS, Burstable, true
	case name == "besteffort" && above == KindKubepods:
		return KindQoS, BestEffort, true
	}
	return "", "", false
}

// unit reads the name of a systemd unit. The outermost service or scope counts, as what it
// makes below is its own; but for a user's manager, whose units are below it. A slice
// counts where there is nothing else.
func (p *parser) unit(name, upTo string) {
	slice := strings.HasSuffix(name, ".slice")
	if !slice && !strings.HasSuffix(name, ".service") && !strings.HasSuffix(name, ".scope") {
		return
	}
	manager := strings.HasPrefix(p.Unit, "user@")
	if p.Unit == "" || strings.HasSuffix(p.Unit, ".slice") || manager && !slice && name != "init.scope" {
		p.Unit, p.UnitPath = name, upTo
	}
}

// isUID reports whether a pod can have this UID: that of the API has 8-4-4-4-12 hexadecimal
// digits, that which the kubelet makes for a static pod 32.
func isUID(s string) bool {
	if len(s) == 32 {
		return isHex(s)
	}
	return len(s) == 36 && s[8] == '-' && s[13] == '-' && s[18] == '-' && s[23] == '-' &&
		isHex(s[:8]) && isHex(s[9:13]) && isHex(s[14:18]) && isHex(s[19:23]) && isHex(s[24:])
}

func isHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// Owner is the place as the ledger has it.
func (p Place) Owner() oom.Container {
	return oom.Container{ID: p.Container, Runtime: p.Runtime, PodUID: p.PodUID, QoS: p.QoS, Unit: p.Unit}
}

// Scope says whose limit fired, from the paths of the victim's cgroup and of the one whose limit it was. The victim's may be empty.
func Scope(victim, limit string) oom.Scope {
	switch {
	case limit == "":
		return oom.ScopeUnknown
	case limit == "/":
		return oom.ScopeNode // the root has no limit but the machine's memory
	case victim == "":
		victim = limit
	case !within(victim, limit):
		return oom.ScopeUnknown // a limit kills only below it: one of the paths is cut
	}
	p := Parse(victim)
	switch {
	case limit == p.ContainerPath:
		return oom.ScopeContainer
	case limit == p.PodPath:
		return oom.ScopePod
	case p.ContainerPath != "" && within(limit, p.ContainerPath), p.PodPath != "" && within(limit, p.PodPath):
		return oom.ScopeCgroup // one that the container made below its own
	case p.UnitPath != "" && within(limit, p.UnitPath) && !strings.HasSuffix(p.Unit, ".slice"):
		return oom.ScopeCgroup
	case limit == victim && (p.Kind == KindOther || p.Kind == KindUnit):
		return oom.ScopeCgroup
	}
	return oom.ScopeParent
}

// within reports whether a cgroup is another one, or below it.
func within(cgroup, top string) bool {
	return strings.HasPrefix(cgroup, top) && (len(cgroup) == len(top) || cgroup[len(top)] == '/' || top == "/")
}
