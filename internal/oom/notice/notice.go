// Package notice hears what runtimes, the kubelet, systemd and Kubernetes say of OOM kills.
//
// A notice names a container, a unit or a process, and never how many kills: whoever says it
// counts none of them, and says it late, twice, or not at all. So it is no proof; it confirms
// kills that the kernel tells of, and names the rest, weakly. [Line] reads lines of logs, [Tail] follows them. [Containerd] listens to
// containerd's events, [OOMFiles] to CRI-O's and podman's monitor, [NodeEvents] to the
// kubelet, and [Statuses] reads what the API has of pods.
//
// What follows something takes a function state, which is told when that begins to work (nil) and
// when it does not; an error that matches fs.ErrNotExist says that it is not on this
// machine, and is waited for.
//
// Hazards:
//
//   - The text of a log is written by anyone who may write to it, also by containers.
//   - containerd tells of an OOM of a pod's cgroup for each container in it, and so for its
//     sandbox too, which had no process killed.
//   - CRI-O's and podman's monitor says OOM where a limit was hit, also when nobody was killed;
//     its lines have the first 20 digits of a container's ID alone.
//   - systemd-oomd kills before the kernel does: its kills are in no counter of the kernel and
//     have the reason [OOMD].
package notice

import "time"

// reporter tells how a source does, when that is news.
type reporter struct {
	state func(error)
	said  string
}

func (r *reporter) report(err error) {
	now := "well"
	if err != nil {
		now = err.Error()
	}
	if now != r.said {
		r.said = now
		r.state(err)
	}
}

// pause waits, and reports whether to go on.
func pause(done <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-done:
		return false
	case <-timer.C:
		return true
	}
}
