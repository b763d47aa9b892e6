package notice_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"stella/internal/oom"
	"stella/internal/oom/notice"
)

const (
	first  = "0527c6dd14e504ab8c406806e0ce182aec604a0dbeeefc4e94e1ee3550dda3db"
	second = "9192cb33411ff69d015a3577db136757f5b145064a1703efea3d0e12e8a64987"
	uid    = "c1adfb0f-74e8-4d5a-9a1c-0f8c2cf1d1a0"
)

var at = time.Date(2026, 5, 31, 8, 21, 0, 0, time.UTC)

func TestLine(t *testing.T) {
	runtime := func(name, id string, at time.Time) oom.Notice {
		return oom.Notice{Witness: oom.WitnessRuntime, Time: at, Process: oom.Process{UID: -1}, Container: oom.Container{ID: id, Runtime: name}}
	}
	kubelet := func(comm string, pid int) oom.Notice {
		return oom.Notice{Witness: oom.WitnessKubelet, Time: at, Process: oom.Process{PID: pid, Comm: comm, UID: -1}}
	}
	systemd := func(c oom.Container) oom.Notice {
		return oom.Notice{Witness: oom.WitnessSystemd, Time: at, Process: oom.Process{UID: -1}, Container: c}
	}
	oomd := func(cgroup string, c oom.Container) oom.Notice {
		n := systemd(c)
		n.Cgroup, n.Reason = cgroup, notice.OOMD
		return n
	}
	day := func(value string) time.Time {
		at, err := time.Parse(time.RFC3339Nano, value)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	named := runtime("docker", second, day("2026-05-31T10:21:41.5+02:00"))
	named.Container.Image, named.Container.Name = "reg.example:5000/a/b:1", "web"
	for name, c := range map[string]struct {
		line string
		want oom.Notice
	}{
		"containerd 1.4 to 1.6, in syslog": {
			`Mar 15 09:22:41 node03 containerd: time="2022-03-15T09:22:41.553168162+09:00" level=info msg="TaskOOM event &TaskOOM{ContainerID:` + first + `,XXX_unrecognized:[],}"`,
			runtime("containerd", first, day("2022-03-15T09:22:41.553168162+09:00")),
		},
		"containerd since 1.7": {
			`time="2025-05-19T18:14:43.578084676Z" level=info msg="TaskOOM event container_id:\"` + second + `\""`,
			runtime("containerd", second, day("2025-05-19T18:14:43.578084676Z")),
		},
		"containerd since 1.7, as JSON": {
			`{"level":"info","msg":"TaskOOM event container_id:\"` + second + `\"","time":"2025-05-19T18:14:43.578084676Z"}`,
			runtime("containerd", second, day("2025-05-19T18:14:43.578084676Z")),
		},
		"containerd, without its own time": {`TaskOOM event container_id:"` + second + `"`, runtime("containerd", second, at)},
		"ctr events":                       {`2026-05-31 08:21:00.1 +0000 UTC k8s.io /tasks/oom {"container_id":"` + first + `"}`, runtime("containerd", first, at)},
		"docker events":                    {`2026-05-31T10:21:41.500000000+02:00 container oom ` + second + ` (image=reg.example:5000/a/b:1, name=web)`, named},
		"docker events as JSON": {
			`{"status":"oom","id":"` + second + `","from":"a","Type":"container","Action":"oom","Actor":{"ID":"` + second + `"},"time":1780215701,"timeNano":1780215701500000001}`,
			runtime("docker", second, time.Unix(1780215701, 500000001)),
		},
		"conmon":                   {`May 31 08:21:00 node conmon[812]: conmon ` + first[:20] + ` <ninfo>: OOM received`, runtime("", first[:20], at)},
		"the kubelet, klog":        {`I0531 08:21:00.0 812 event.go:389] "Event occurred" object="n" fieldPath="" kind="Node" apiVersion="" type="Warning" reason="SystemOOM" message="System OOM encountered, victim process: VM Thread, pid: 4711"`, kubelet("VM Thread", 4711)},
		"the kubelet, a hard name": {`message="System OOM encountered, victim process: a\"b, pid: 1, pid: 4711" x="y, pid: 3"`, kubelet(`a"b, pid: 1`, 4711)},
		"kubectl get events":       {`53m  Warning  SystemOOM  node/n  System OOM encountered, victim process: nginx, pid: 9295`, kubelet("nginx", 9295)},
		"the kubelet, no process":  {`System OOM encountered`, kubelet("", 0)},
		"systemd":                  {`systemd[1]: nginx.service: A process of this unit has been killed by the OOM killer.`, systemd(oom.Container{Unit: "nginx.service"})},
		"systemd, newer words":     {`worker.service: The kernel OOM killer killed some processes in this unit.`, systemd(oom.Container{Unit: "worker.service"})},
		"systemd, a container": {
			`May 31 08:21:00 n systemd[1]: cri-containerd-` + first + `.scope: A process of this unit has been killed by the OOM killer.`,
			systemd(oom.Container{ID: first, Runtime: "containerd"}),
		},
		"systemd, a pod": {
			`systemd[1]: kubepods-burstable-pod` + strings.ReplaceAll(uid, "-", "_") + `.slice: A process of this unit has been killed by the OOM killer.`,
			systemd(oom.Container{PodUID: uid, QoS: "Burstable"}),
		},
		"systemd-oomd": {
			`n systemd-oomd[939]: Killed /user.slice/user-1000.slice/user@1000.service/app.slice/a.service due to memory pressure for /user.slice/user-1000.slice being 82.36% > 80.00% for > 20s with reclaim activity`,
			oomd("/user.slice/user-1000.slice/user@1000.service/app.slice/a.service", oom.Container{Unit: "a.service"}),
		},
		"systemd-oomd, swap": {
			`Marked /system.slice/docker-` + second + `.scope for killing due to memory used (60776927232) / total (66940563456) and swap used (61069553664) / total (67830013952) being more than 90.00%`,
			oomd("/system.slice/docker-"+second+".scope", oom.Container{ID: second, Runtime: "docker"}),
		},
	} {
		got, ok := notice.Line([]byte(c.line), at)
		if diff := cmp.Diff(c.want, got); !ok || diff != "" {
			t.Errorf("%s: %v; want - got +:\n%s", name, ok, diff)
		}
		if !hasWord(c.line) {
			t.Errorf("%s: none of the words is in %q", name, c.line)
		}
	}
}

// Lines that are near, and tell of no kill.
func TestOtherLines(t *testing.T) {
	for _, line := range []string{
		"",
		"OOM",
		`level=info msg="TaskOOM event &TaskOOM{ContainerID:short,XXX_unrecognized:[],}"`,
		`level=info msg="TaskExit event container_id:\"` + first + `\""`,
		"2026-05-31T10:21:41Z container die " + second + " (exitCode=137, image=oom, name=web)",
		"2026-05-31T10:21:41Z container oom short (image=a)",
		`{"Type":"container","Action":"die","id":"` + second + `","exitCode":"137","oom":"false"}`,
		"System OOM encountered, victim process: a, pid: 99999999999999999999",
		"System OOM encountered, victim process: a, pid: x",
		"systemd[1]: nginx.service: Main process exited, code=killed, status=9/KILL",
		"systemd[1]: nginx.service: Failed with result 'oom-kill'.",
		"systemd-oomd[939]: Considered 21 cgroups for killing, top candidates were:",
		"app: slow due to memory pressure for requests",
		"app: Killed my job due to memory used (by me)",
		"conmon 0527c6dd <ninfo>: OOM received",
		`"Killing container with a grace period" pod="a/oom" exitCode=137 reason="OOMKilled"`,
	} {
		if n, ok := notice.Line([]byte(line), at); ok {
			t.Errorf("%q: %+v", line, n)
		}
	}
}

func TestLineIsBounded(t *testing.T) {
	comm := strings.Repeat("x", 4096)
	n, ok := notice.Line([]byte("System OOM encountered, victim process: "+comm+", pid: 4194304"), at)
	if !ok || len(n.Process.Comm) != 64 || n.Process.PID != 4194304 {
		t.Errorf("%v, %+v", ok, n)
	}
	far := append(bytes.Repeat([]byte("x"), notice.MaxLine), []byte("System OOM encountered")...)
	if _, ok := notice.Line(far, at); ok {
		t.Error("the end of a huge line was read")
	}
}

func TestOtherLinesAllocateNothing(t *testing.T) {
	line := []byte(`May 31 08:21:00 node containerd[812]: time="2026-05-31T08:21:00Z" level=info msg="RemoveContainer for \"room\" returns successfully"`)
	if n := testing.AllocsPerRun(100, func() { notice.Line(line, at) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkOtherLine(b *testing.B) {
	line := []byte(`May 31 08:21:00 node containerd[812]: time="2026-05-31T08:21:00Z" level=info msg="RemoveContainer for \"` + first + `\" returns successfully"`)
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		notice.Line(line, at)
	}
}

func FuzzLine(f *testing.F) {
	f.Add([]byte(`time="2025-05-19T18:14:43.578084676Z" level=info msg="TaskOOM event container_id:\"` + second + `\""`))
	f.Add([]byte(`message="System OOM encountered, victim process: a\"b, pid: 1, pid: 4711"`))
	f.Add([]byte(`2026-05-31T10:21:41Z container oom ` + second + ` (image=a, name=web)`))
	f.Add([]byte(`Marked /a.service for killing due to memory used (6) / total (6)`))
	f.Add([]byte(`conmon ` + first[:20] + ` <ninfo>: OOM received`))
	f.Fuzz(func(t *testing.T, line []byte) {
		n, ok := notice.Line(line, at)
		if !ok {
			if diff := cmp.Diff(oom.Notice{}, n); diff != "" {
				t.Fatalf("not ok, but %s", diff)
			}
			return
		}
		if !hasWord(string(line)) {
			t.Fatalf("%q has none of the words", line)
		}
		// A notice is of something.
		id := n.Container.ID
		if n.Witness == "" || n.Time.IsZero() || n.Process.PID < 0 || id != "" && len(id) != 64 && len(id) != 20 {
			t.Fatalf("%q: %+v", line, n)
		}
		if n.Witness == oom.WitnessRuntime && id == "" || n.Witness == oom.WitnessSystemd && n.Cgroup == "" && n.Container == (oom.Container{}) {
			t.Fatalf("%q: %+v is of nothing", line, n)
		}
	})
}
