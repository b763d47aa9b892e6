package analyze_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"stella/internal/oom"
	"stella/internal/oom/analyze"
)

// Containers of the logs in this file.
var (
	one   = strings.Repeat("1", 64)
	two   = strings.Repeat("2", 64)
	three = strings.Repeat("3", 64)
)

const poduid = "2248ded0-3302-4293-a066-d705f56ef1ae"

func taskOOM(id string, seconds float64) string {
	at := time.Date(2024, 5, 1, 12, 0, 0, int(seconds*1e9), time.UTC)
	return fmt.Sprintf(`time="%s" level=info msg="TaskOOM event container_id:\"%s\""`+"\n", at.Format(time.RFC3339Nano), id)
}

// kernel is a line of the kernel, seconds after noon, on host n.
func kernel(seconds float64, format string, args ...any) string {
	at := time.Date(2024, 5, 1, 12, 0, 0, int(seconds*1e9), time.UTC)
	return at.Format("2006-01-02T15:04:05.000000Z07:00") + " n kernel: " + fmt.Sprintf(format, args...) + "\n"
}

func header(seconds float64, limit, victim string, pid int) string {
	return kernel(seconds, "a invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0") +
		kernel(seconds, "memory: usage 1024kB, limit 1024kB, failcnt 1") +
		kernel(seconds, "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=%s,task_memcg=%s,task=a,pid=%d,uid=0", limit, victim, pid)
}

func table(seconds float64, pids ...int) string {
	s := kernel(seconds, "Tasks state (memory values in pages):") + kernel(seconds, "[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name")
	for _, pid := range pids {
		s += kernel(seconds, "[%7d]     0 %5d    10000     1000    40960        0             0 a task", pid, pid)
	}
	return s
}

func killed(seconds float64, pid int) string {
	return kernel(seconds, "Memory cgroup out of memory: Killed process %d (a) total-vm:%dkB, anon-rss:512kB, file-rss:4kB, shmem-rss:0kB, UID:0 pgtables:40kB oom_score_adj:0", pid, 1000+pid)
}

func inPod(id string) string { return "/kubepods/burstable/pod" + poduid + "/" + id }

func podList(state string) string {
	return `{"apiVersion":"v1","kind":"List","items":[{"kind":"Pod","metadata":{"name":"p","namespace":"n","uid":"` + poduid + `"},
	 "spec":{"containers":[{"name":"c"},{"name":"d"}]},"status":{"containerStatuses":[` + state + `]}}]}`
}

func TestJoin(t *testing.T) {
	pod := "/kubepods/burstable/pod" + poduid
	running := `{"name":"c","containerID":"containerd://` + one + `","state":{"running":{"startedAt":"2024-05-01T11:00:00Z"}}}`
	ended := func(code int, reason string) string {
		return fmt.Sprintf(`{"name":"c","containerID":"containerd://%s","restartCount":1,"state":{"running":{"startedAt":"2024-05-01T12:00:30Z"}},"lastState":{"terminated":`+
			`{"containerID":"containerd://%s","exitCode":%d,"reason":%q,"startedAt":"2024-05-01T11:00:00Z","finishedAt":"2024-05-01T12:00:02Z"}}}`, two, one, code, reason)
	}
	for name, c := range map[string]struct {
		logs []string
		want []string // comm pid container scope survived confidence witnesses
	}{
		"a kill, and a notice of it": {
			[]string{header(1, inPod(one), inPod(one), 7) + killed(1, 7), taskOOM(one, 1.002)},
			[]string{"a 7 111 container  certain kernel-log runtime"},
		},
		"the notice first, and twice": {
			[]string{taskOOM(one, 1.001) + taskOOM(one, 1.002), header(1, inPod(one), inPod(one), 7) + killed(1, 7)},
			[]string{"a 7 111 container  certain kernel-log runtime"},
		},
		"a notice of another minute": {
			[]string{header(1, inPod(one), inPod(one), 7) + killed(1, 7), taskOOM(one, 61)},
			[]string{"a 7 111 container  certain kernel-log", " 0 111 unknown  weak runtime"},
		},
		"a pod's limit: the sandbox has a notice too": {
			[]string{header(1, pod, inPod(one), 7) + killed(1, 7), taskOOM(one, 1.002) + taskOOM(three, 1.003)},
			[]string{"a 7 111 pod  certain kernel-log runtime"},
		},
		"a container's limit: another container's notice is another kill": {
			[]string{header(1, inPod(one), inPod(one), 7) + killed(1, 7), taskOOM(three, 1.003)},
			[]string{"a 7 111 container  certain kernel-log", " 0 333 unknown  weak runtime"},
		},
		"no header, one notice": {
			[]string{killed(1, 7), taskOOM(two, 1.002)},
			[]string{"a 7 222 unknown  strong kernel-log runtime"},
		},
		"no header, notices of two containers": {
			[]string{killed(1, 7), taskOOM(two, 1.002) + taskOOM(three, 1.002)},
			[]string{"a 7  unknown  strong kernel-log runtime"},
		},
		"no header, notices of a container and its sandbox": {
			[]string{killed(1, 7), taskOOM(one, 1.002) + taskOOM(three, 1.002), podList(running)},
			[]string{"a 7 111 unknown yes strong kernel-log runtime"},
		},
		"no header, and the notice is about a kill that has one": {
			[]string{header(1, inPod(one), inPod(one), 7) + killed(1, 7) + killed(1.1, 8), taskOOM(one, 1.002)},
			[]string{"a 7 111 container  certain kernel-log runtime", "a 8  unknown  strong kernel-log"},
		},
		"a child dies, the container runs on": {
			[]string{header(1, inPod(one), inPod(one), 7) + killed(1, 7), podList(running)},
			[]string{"a 7 111 container yes certain kernel-log"},
		},
		"OOMKilled": {
			[]string{header(1, inPod(one), inPod(one), 7) + killed(1, 7), podList(ended(137, "OOMKilled"))},
			[]string{"a 7 111 container no certain kernel-log pod-status"},
		},
		"OOMKilled with exit code 0": {
			[]string{header(1, inPod(one), inPod(one), 7) + killed(1, 7), podList(ended(0, "OOMKilled"))},
			[]string{"a 7 111 container no certain kernel-log pod-status"},
		},
		"OOMKilled, and a child that died minutes before": {
			[]string{strings.ReplaceAll(header(1, inPod(one), inPod(one), 7)+killed(1, 7), "T12:", "T11:") + header(2, inPod(one), inPod(one), 8) + killed(2, 8), podList(ended(137, "OOMKilled"))},
			[]string{"a 7 111 container yes certain kernel-log", "a 8 111 container no certain kernel-log pod-status"},
		},
		"OOMKilled, and no kernel log": {
			[]string{podList(ended(137, "OOMKilled")), taskOOM(one, 1.5)},
			[]string{" 0 111 unknown no weak runtime pod-status"},
		},
		"two notices, and nothing else": {
			[]string{taskOOM(one, 1.1) + taskOOM(one, 1.2)},
			[]string{" 0 111 unknown  weak runtime", " 0 111 unknown  weak runtime"},
		},
		"an invocation, a notice and a status": {
			[]string{kernel(1, "a invoked oom-killer: gfp_mask=0xd0, order=0, oom_score_adj=0"), taskOOM(one, 1.002), podList(ended(137, "OOMKilled"))},
			[]string{" 0 111 unknown no strong kernel-log runtime pod-status"},
		},
		"a status from before the kill": {
			[]string{header(1, inPod(one), inPod(one), 7) + killed(1, 7), podList(strings.ReplaceAll(running, "T11", "T13"))},
			[]string{"a 7 111 container  certain kernel-log"},
		},
		"137 is no proof": {[]string{podList(ended(137, "Error"))}, nil},
		"SIGKILL by hand beside a kill of another": {
			[]string{header(1, inPod(two), inPod(two), 7) + killed(1, 7), podList(strings.ReplaceAll(ended(137, "Error"), two, three))},
			[]string{"a 7 222 container  certain kernel-log"},
		},
		"an invocation alone": {
			[]string{header(1, inPod(one), inPod(one), 7)},
			[]string{" 0 111 container  weak kernel-log"},
		},
		"an invocation and a notice of its container": {
			[]string{header(1, inPod(one), inPod(one), 7), taskOOM(two, 1.001) + taskOOM(one, 1.002)},
			[]string{" 0 222 unknown  weak runtime", " 0 111 container  strong kernel-log runtime"},
		},
		"an invocation of a unit, and a notice of a container": {
			[]string{header(1, "/system.slice/x.service", "/system.slice/x.service", 7), taskOOM(two, 1.001)},
			[]string{" 0  cgroup  weak kernel-log", " 0 222 unknown  weak runtime"},
		},
		"a log that was rotated within a report": {
			[]string{kernel(1, "a invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0") +
				kernel(1, "Task in %s killed as a result of limit of %s", inPod(one), inPod(one)) + table(1, 7, 9), killed(1, 7)},
			[]string{"a 7 111 container  certain kernel-log"},
		},
		"a log that was rotated before the table": {
			[]string{kernel(1, "b invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0"), killed(1, 7)},
			[]string{"a 7  unknown  strong kernel-log"},
		},
		"already exiting": {
			[]string{header(1, inPod(one), inPod(one), 7) + kernel(1, "Memory cgroup out of memory: OOM victim 7 (a) is already exiting. Skip killing the task")},
			nil,
		},
		"a group": {
			[]string{header(1, inPod(one), inPod(one), 7) + killed(1, 7) + kernel(1, "Tasks in %s are going to be killed due to memory.oom.group set", inPod(one)) + killed(1, 6) + killed(1, 7)},
			[]string{"a 7 111 container no certain kernel-log", "a 6 111 container no certain kernel-log"},
		},
		"the kubelet's word for a kill of the node": {
			[]string{
				kernel(1, "Out of memory: Killed process 7 (a) total-vm:1kB, anon-rss:1kB, file-rss:0kB, shmem-rss:0kB, UID:0 pgtables:40kB oom_score_adj:0"),
				"2024-05-01T12:00:04Z n kubelet[1]: System OOM encountered, victim process: a, pid: 7\n2024-05-01T12:00:04Z n kubelet[1]: System OOM encountered, victim process: b, pid: 9\n",
			},
			[]string{"a 7  node  strong kernel-log kubelet", "b 9  node  weak kubelet"},
		},
		"systemd's word for a unit": {
			[]string{
				header(1, "/system.slice", "/system.slice/x.service", 7) + killed(1, 7),
				"2024-05-01T12:00:01Z n systemd[1]: x.service: A process of this unit has been killed by the OOM killer.\n2024-05-01T12:00:01Z n systemd[1]: y.service: A process of this unit has been killed by the OOM killer.\n",
			},
			[]string{"a 7  parent  certain kernel-log systemd", " 0  unknown  weak systemd"},
		},
	} {
		r := text(t, analyze.Options{}, c.logs...)
		var got []string
		for i := range r.Kills {
			k := &r.Kills[i]
			b := briefly(k)
			got = append(got, fmt.Sprintf("%s %d %s %s %s %s %s", k.Process.Comm, k.Process.PID, k.Container.ID[:min(3, len(k.Container.ID))], k.Limit.Scope, b.Survived, k.Confidence, b.Witnesses))
			if (k.Confidence == oom.Certain) != (k.Doubt == "") {
				t.Errorf("%s: %s, and the doubt is %q", name, k.Confidence, k.Doubt)
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: - want + got\n%s", name, diff)
		}
	}
}

// systemd-oomd kills before the kernel has to: it is told apart, and is no kill of the kernel.
func TestOthers(t *testing.T) {
	r := text(t, analyze.Options{}, "2024-05-01T12:00:01Z n systemd-oomd[1]: Killed /system.slice/x.service due to memory pressure for /system.slice being 62.11% > 50.00% for > 20s with reclaim activity\n")
	if len(r.Kills) != 0 || len(r.Others) != 1 || r.Others[0].Cgroup != "/system.slice/x.service" {
		t.Errorf("%+v", r)
	}
}
