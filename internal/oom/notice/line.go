package notice

import (
	"bytes"
	"strconv"
	"time"

	"stella/internal/oom"
	"stella/internal/oom/owner"
)

// MaxLine bounds the bytes of a line that [Line] looks at. The longest line that it knows is docker's event in JSON, which has all the labels of a container.
const MaxLine = 64 << 10

// Line reads one line of the log of a runtime, the kubelet or systemd, and reports whether
// it tells of an OOM kill. at is the line's time; where the text has a surer one (with nanoseconds and a
// zone), that one is taken. A line that tells of none costs three searches and allocates nothing.
func Line(text []byte, at time.Time) (oom.Notice, bool) {
	text = text[:min(len(text), MaxLine)]
	if !bytes.Contains(text, word.upper) && !bytes.Contains(text, word.lower) && !bytes.Contains(text, word.oomd) {
		return oom.Notice{}, false
	}
	for _, read := range readers {
		if n, ok := read(text); ok {
			if n.Time.IsZero() {
				n.Time = at
			}
			return n, true
		}
	}
	return oom.Notice{}, false
}

// word has what every line has that tells of a kill.
var word = struct{ upper, lower, oomd []byte }{[]byte("OOM"), []byte("oom"), []byte(" due to memory ")}

// readers read a line each in the words of one program.
var readers = []func([]byte) (oom.Notice, bool){taskOOM, dockerEvent, conmon, systemOOM, unit, oomd}

// taskOOM reads what containerd logs ("TaskOOM event …", whose container is written in two ways: up to
// 1.6, and since) and what ctr prints of its event /tasks/oom.
func taskOOM(text []byte) (oom.Notice, bool) {
	_, rest, ok := bytes.Cut(text, []byte("TaskOOM event "))
	if !ok {
		if _, rest, ok = bytes.Cut(text, []byte("/tasks/oom {")); !ok {
			return oom.Notice{}, false
		}
	}
	for _, key := range []string{"ContainerID:", "container_id:", `container_id":`} {
		if _, value, ok := bytes.Cut(rest, []byte(key)); ok {
			// The value is in quotes, which the log's own quotes escape.
			id, ok := containerID(bytes.TrimLeft(value, ` "\`))
			return runtimeNotice(owner.Containerd, id, stamp(text)), ok
		}
	}
	return oom.Notice{}, false
}

// dockerEvent reads what docker events prints, as text and as JSON.
func dockerEvent(text []byte) (oom.Notice, bool) {
	if before, rest, ok := bytes.Cut(text, []byte(" container oom ")); ok {
		id, ok := containerID(rest)
		n := runtimeNotice(owner.Docker, id, stampAt(before))
		n.Container.Image = attribute(rest, "image=")
		n.Container.Name = attribute(rest, "name=")
		return n, ok
	}
	if !bytes.Contains(text, []byte(`"Action":"oom"`)) {
		return oom.Notice{}, false
	}
	_, rest, _ := bytes.Cut(text, []byte(`"id":"`))
	id, ok := containerID(rest)
	var at time.Time
	if _, rest, found := bytes.Cut(text, []byte(`"timeNano":`)); found {
		if n, err := strconv.ParseInt(string(digits(rest)), 10, 64); err == nil {
			at = time.Unix(0, n)
		}
	}
	return runtimeNotice(owner.Docker, id, at), ok
}

// conmonDigits are the digits of a container's ID in the log of conmon.
const conmonDigits = 20

// conmon reads the log of the monitor of CRI-O's and podman's containers, which names the first
// [conmonDigits] digits of the ID alone.
func conmon(text []byte) (oom.Notice, bool) {
	before, _, ok := bytes.Cut(text, []byte(" <ninfo>: OOM received"))
	if !ok {
		return oom.Notice{}, false
	}
	_, id, ok := cutLast(before, "conmon ")
	if len(id) != conmonDigits || !isHex(id) {
		return oom.Notice{}, false
	}
	return runtimeNotice("", string(id), time.Time{}), ok
}

// systemOOM reads the kubelet's event of a kill for want of memory of the node, in its own log or as kubectl
// prints it. It comes from the kernel log too, with a process and no cgroup.
func systemOOM(text []byte) (oom.Notice, bool) {
	before, rest, ok := bytes.Cut(text, []byte("System OOM encountered"))
	if !ok {
		return oom.Notice{}, false
	}
	if bytes.HasSuffix(before, []byte(`"`)) { // the log quotes the message
		if quoted, err := strconv.QuotedPrefix(string(`"` + string(rest))); err == nil {
			if plain, err := strconv.Unquote(quoted); err == nil {
				rest = []byte(plain)
			}
		}
	}
	n := oom.Notice{Witness: oom.WitnessKubelet, Process: oom.Process{UID: -1}}
	if _, victim, ok := bytes.Cut(rest, []byte("victim process: ")); ok {
		// A process may have called itself "a, pid: 1".
		if comm, pid, ok := cutLast(victim, ", pid: "); ok {
			n.Process.Comm = string(comm[:min(len(comm), maxComm)])
			if n.Process.PID, ok = number(digits(pid)); !ok {
				return oom.Notice{}, false
			}
		}
	}
	return n, true
}

// maxComm bounds the name of a process. The kernel's has 15 bytes; some threads' have more.
const maxComm = 64

// unit reads what systemd says of a unit, in its older words and its newer ones. The unit of a container has its ID in its name.
func unit(text []byte) (oom.Notice, bool) {
	for _, phrase := range unitPhrases {
		before, _, ok := bytes.Cut(text, phrase)
		if !ok {
			continue
		}
		name := string(before[bytes.LastIndexByte(before, ' ')+1:])
		if name == "" {
			return oom.Notice{}, false
		}
		return oom.Notice{Witness: oom.WitnessSystemd, Process: oom.Process{UID: -1}, Container: owner.Parse("/" + name).Owner()}, true
	}
	return oom.Notice{}, false
}

var unitPhrases = [][]byte{
	[]byte(": A process of this unit has been killed by the OOM killer"),
	[]byte(": The kernel OOM killer killed some processes in this unit"),
}

// OOMD is the reason of a notice of systemd-oomd, which kills before the kernel has to.
const OOMD = "systemd-oomd"

// oomd reads what systemd-oomd says: "Killed CGROUP due to memory …", in newer versions "Marked CGROUP for killing due to memory …".
func oomd(text []byte) (oom.Notice, bool) {
	before, rest, ok := bytes.Cut(text, word.oomd)
	if !ok || !bytes.HasPrefix(rest, []byte("pressure for ")) && !bytes.HasPrefix(rest, []byte("used (")) {
		return oom.Notice{}, false
	}
	before = bytes.TrimSuffix(before, []byte(" for killing"))
	verb, cgroup, ok := cutLast(before, " ")
	if !ok {
		return oom.Notice{}, false
	}
	if !bytes.HasSuffix(verb, []byte("Killed")) && !bytes.HasSuffix(verb, []byte("Marked")) || !bytes.HasPrefix(cgroup, []byte("/")) {
		return oom.Notice{}, false
	}
	return oom.Notice{
		Witness: oom.WitnessSystemd, Reason: OOMD, Process: oom.Process{UID: -1},
		Cgroup: string(cgroup), Container: owner.Parse(string(cgroup)).Owner(),
	}, true
}

func runtimeNotice(runtime, id string, at time.Time) oom.Notice {
	return oom.Notice{
		Witness: oom.WitnessRuntime, Time: at, Process: oom.Process{UID: -1},
		Container: oom.Container{ID: id, Runtime: runtime},
	}
}
