package kmsg

import (
	"bytes"

	"stella/internal/oom"
)

// maxPath bounds the path of a cgroup (PATH_MAX), and maxConstraint a line with two of them.
const (
	maxPath       = 4096
	maxConstraint = 2*maxPath + 1024
)

// constraint is what the line "oom-kill:" says (since 5.0), or "Task in" before it.
type constraint struct {
	scope         oom.Scope
	limit, victim []byte // paths, empty where they are not known
	pid, uid      int    // of the task that was chosen; 0 and -1 where they are not known
}

// parseConstraint reads
//
//	oom-kill:constraint=C,nodemask=…,cpuset=…,mems_allowed=…,(oom_memcg=L|global_oom),task_memcg=V,task=COMM,pid=P,uid=U
//
// A cgroup's name and a process's may hold any of these keys. What tells the true ones from those is that L is V or
// above it, and that other lines have the same: limit is L as the statistics name it, and k the line "Killed process",
// as far as they are known.
func parseConstraint(text []byte, k *killed, limit []byte) constraint {
	c := constraint{scope: oom.ScopeUnknown, uid: -1}
	text, _ = cutPrefix(text, "oom-kill:constraint=")
	kind, rest, _ := bytes.Cut(text, []byte(","))
	paths, ok := c.cutTask(rest, k)
	c.cutPaths(paths, ok, limit)
	if c.scope == oom.ScopeNode && (string(kind) == "CONSTRAINT_CPUSET" || string(kind) == "CONSTRAINT_MEMORY_POLICY") {
		c.scope = oom.ScopeCpuset
	}
	return c
}

// cutTask takes ",task=COMM,pid=P,uid=U" off the end, and reports whether it was there.
func (c *constraint) cutTask(text []byte, k *killed) (rest []byte, ok bool) {
	i := bytes.LastIndex(text, []byte(",uid="))
	if i < 0 {
		return text, false
	}
	id, end, ok := uid(text[i+len(",uid="):])
	j := bytes.LastIndex(text[:i], []byte(",pid="))
	if !ok || len(end) > 0 || j < 0 {
		return text, false
	}
	pid, end, ok := number(text[j+len(",pid=") : i])
	if !ok || len(end) > 0 || pid > maxPID {
		return text, false
	}
	c.pid, c.uid = int(pid), id
	if k != nil && k.process.PID == c.pid {
		if rest, ok := bytes.CutSuffix(text[:j], k.comm); ok && hasSuffix(rest, ",task=") {
			return rest[:len(rest)-len(",task=")], true
		}
	}
	// Of several "task=" the first that a name's length allows: the name may hold the others.
	from := max(0, j-maxComm-len(",task="))
	t := bytes.Index(text[from:j], []byte(",task="))
	if t < 0 {
		return text[:j], false
	}
	return text[:from+t], true
}

// cutPaths reads the limit and the victim's cgroup. complete says that the victim's path ends with the text;
// a path that was cut is a wrong path. No cpuset's name, which comes first, has a slash.
func (c *constraint) cutPaths(text []byte, complete bool, limit []byte) {
	const global, cgroup, task = ",global_oom,task_memcg=", ",oom_memcg=", ",task_memcg="
	i, j := index(text, global+"/"), index(text, cgroup+"/")
	if i >= 0 && (j < 0 || i < j) {
		c.scope = oom.ScopeNode
		if complete {
			c.victim = text[i+len(global):]
		}
		return
	}
	if j < 0 {
		return
	}
	c.scope = oom.ScopeCgroup
	text = text[j+len(cgroup):]
	for n := 0; n < len(text); n++ {
		victim, ok := cutPrefix(text[n:], task)
		if !ok || !within(text[:n], victim, complete) {
			continue
		}
		known := bytes.Equal(text[:n], limit)
		if c.limit == nil || known {
			c.limit = text[:n]
			if complete {
				c.victim = victim
			}
		}
		if known {
			return
		}
	}
}

// within reports whether the path is the limit's or below it. Of a path that was cut, what is there has to fit.
func within(limit, path []byte, complete bool) bool {
	if !complete && len(path) < len(limit) {
		return bytes.HasPrefix(limit, path)
	}
	rest, ok := bytes.CutPrefix(path, limit)
	return ok && hasPrefix(limit, "/") && (len(rest) == 0 || rest[0] == '/' || string(limit) == "/")
}

// parseTaskIn reads "Task in V killed as a result of limit of L" (until 4.20).
func parseTaskIn(text []byte) (victim, limit []byte, ok bool) {
	text, ok = cutPrefix(text, "Task in ")
	if !ok {
		return nil, nil, false
	}
	const middle = " killed as a result of limit of "
	for i := 0; i < len(text); i++ {
		n := index(text[i:], middle)
		if n < 0 {
			return nil, nil, false
		}
		i += n
		victim, limit = text[:i], text[i+len(middle):]
		if within(limit, victim, true) {
			return victim, limit, true
		}
	}
	return nil, nil, false
}

// parseGroup reads "Tasks in G are going to be killed due to memory.oom.group set".
func parseGroup(text []byte) ([]byte, bool) {
	text, ok := cutPrefix(text, "Tasks in ")
	if !ok || !hasSuffix(text, " are going to be killed due to memory.oom.group set") {
		return nil, false
	}
	return text[:len(text)-len(" are going to be killed due to memory.oom.group set")], true
}

// parseInvoker reads "COMM invoked oom-killer: gfp_mask=…".
func parseInvoker(text []byte) ([]byte, bool) {
	if len(text) == 0 || stageOf(text) != stageNone { // a cgroup may be named like that
		return nil, false
	}
	const invoked = " invoked oom-killer: "
	if index(text, invoked) < 0 { // which is much faster than from the end
		return nil, false
	}
	i := bytes.LastIndex(text, []byte(invoked))
	if i > maxComm || !bytes.Contains(text[i:], []byte("gfp_mask=")) {
		return nil, false
	}
	return text[:i], true
}

// parseRunning reads who runs, of the first lines of a stack: "CPU: 1 UID: 0 PID: 7 Comm: sh Not tainted …", or "Pid: 7, comm: sh Not tainted …".
func parseRunning(text []byte) (pid int, comm []byte, ok bool) {
	key, name := " PID: ", " Comm: "
	if hasPrefix(text, "Pid: ") {
		key, name = "Pid: ", ", comm: "
	} else if !hasPrefix(text, "CPU: ") {
		return 0, nil, false
	}
	rest, ok := after(text, key)
	if !ok {
		return 0, nil, false
	}
	n, rest, ok := number(rest)
	if !ok || n > maxPID || !hasPrefix(rest, name) {
		return 0, nil, false
	}
	comm = rest[len(name):]
	for _, end := range []string{" Not tainted", " Tainted: "} {
		if i := bytes.LastIndex(comm, []byte(end)); i >= 0 {
			comm = comm[:i]
			break
		}
	}
	return int(n), comm, true
}
