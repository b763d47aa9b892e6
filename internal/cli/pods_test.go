package cli

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"stella/internal/oom"
)

func kill(c oom.Container, count int64, survived *bool) oom.Kill {
	return oom.Kill{ID: "k", Time: noon.Add(-60 * 1e9), Count: count, Container: c, MainSurvived: survived}
}

func somePods() []podLine {
	return []podLine{
		{Namespace: "kured", Name: "gate-x7k2p", UID: "u1", Node: "n1", Ready: 1, Containers: 1, Status: "Running", Restarts: pointer(int64(1)), Created: noon.Add(-5 * day), Workload: "DaemonSet/gate"},
		{Namespace: "kured", Name: "gate-elsewhere", UID: "u2", Node: "n2", Ready: 1, Containers: 1, Status: "Running", Restarts: pointer(int64(0)), Created: noon.Add(-5 * day)},
		{Namespace: "shop", Name: "web-1", UID: "u3", Node: "n1", Containers: 2, Ready: 1, Status: "CrashLoopBackOff", Restarts: pointer(int64(218)), Created: noon.Add(-14 * day)},
		{Namespace: "shop", Name: "cache-0", UID: "u4", Node: "alias-of-n1", Ready: 1, Containers: 1, Status: "Running", Restarts: pointer(int64(0)), Created: noon.Add(-14 * day)},
	}
}

// What the agent says is joined by UID, else by name; of pods that it cannot know nothing is said.
func TestWithKills(t *testing.T) {
	usage := []oom.Usage{{Container: oom.Container{PodUID: "u4"}}, {Container: oom.Container{Unit: "ssh.service"}}}
	kills := []oom.Kill{
		kill(oom.Container{PodUID: "u1"}, 1, pointer(true)),
		kill(oom.Container{PodUID: "u1"}, 148, pointer(true)),
		kill(oom.Container{Namespace: "shop", Pod: "web-1"}, 1, pointer(false)),
		kill(oom.Container{PodUID: "u3"}, 2, nil),
		kill(oom.Container{PodUID: "u3"}, 3, pointer(true)),
		kill(oom.Container{PodUID: "u0", Namespace: "shop", Pod: "web-1"}, 1, nil), // its predecessor
		kill(oom.Container{Unit: "ssh.service"}, 1, nil),
	}
	lines := withKills(somePods(), "n1", usage, kills)
	for _, tt := range []struct {
		width int
		wide  bool
		want  string
	}{
		{200, false, `
NAMESPACE  NAME            READY  STATUS            RESTARTS  AGE  KILLS  HIDDEN  LAST KILL
kured      gate-x7k2p      1/1    Running           1         5d   149    149     60s
kured      gate-elsewhere  1/1    Running           0         5d   ?      ?       -
shop       web-1           1/2    CrashLoopBackOff  218       14d  6      3+      60s
shop       cache-0         1/1    Running           0         14d  0      0       -
shop       web-1           -      Gone              -         -    1      ?       60s
`},
		{80, false, `
NAMESPACE  NAME            READY  STATUS            RESTARTS  AGE  KILLS  HIDDEN
kured      gate-x7k2p      1/1    Running           1         5d   149    149
kured      gate-elsewhere  1/1    Running           0         5d   ?      ?
shop       web-1           1/2    CrashLoopBackOff  218       14d  6      3+
shop       cache-0         1/1    Running           0         14d  0      0
shop       web-1           -      Gone              -         -    1      ?
`},
		{40, false, `
NAMESPACE  NAME            READY
kured      gate-x7k2p      1/1
kured      gate-elsewhere  1/1
shop       web-1           1/2
shop       cache-0         1/1
shop       web-1           -
`},
	} {
		wantRows(t, "pods", podRows(lines, noon, true, tt.wide), tt.width, tt.want)
	}
	wantRows(t, "one namespace", podRows(lines[:1], noon, false, true), 0, `
NAME        READY  STATUS   RESTARTS  AGE  KILLS  HIDDEN  LAST KILL  NODE  WORKLOAD        UID
gate-x7k2p  1/1    Running  1         5d   149    149     60s        n1    DaemonSet/gate  u1
`)
}

// Without Kubernetes, pods are what containers are in.
func TestAgentPods(t *testing.T) {
	usage := append(someUsage(),
		oom.Usage{Container: oom.Container{PodUID: "u9", ID: "c9"}},
		oom.Usage{Container: oom.Container{PodUID: "u9", ID: "c8"}, Gone: noon},
		oom.Usage{Container: oom.Container{PodUID: "u1", Name: "kaniko", ID: "before"}, Gone: noon},
	)
	want := []podLine{
		{Namespace: "ci", Name: "build-1", UID: "u1", Node: "n1", Ready: 2, Containers: 2, Status: "Running"},
		{Namespace: "shop", Name: "web-1", Ready: 0, Containers: 1, Status: "Ended"},
		{UID: "u9", Ready: 1, Containers: 2, Status: "Running"},
	}
	if diff := cmp.Diff(want, agentPods(usage)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
