package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"stella/internal/oom"
)

// The words of pods are those of kubectl get pods.
func TestClusterPodLine(t *testing.T) {
	const two = `"spec":{"nodeName":"n1","containers":[{},{}]}`
	for _, tt := range []struct{ pod, want string }{
		{`{` + two + `,"status":{"phase":"Pending"}}`, "0/2 Pending 0"},
		{`{` + two + `,"status":{"phase":"Pending","conditions":[{"type":"PodScheduled","status":"False","reason":"SchedulingGated"}]}}`, "0/2 SchedulingGated 0"},
		{`{` + two + `,"status":{"phase":"Failed","reason":"Evicted"}}`, "0/2 Evicted 0"},
		{`{` + two + `,"status":{"phase":"Running","containerStatuses":[{"ready":true,"restartCount":1,"state":{"running":{}}},{"ready":true,"restartCount":2,"state":{"running":{"startedAt":"2026-11-21T12:00:00Z"}}}]}}`, "2/2 Running 3"},
		{`{` + two + `,"status":{"phase":"Running","containerStatuses":[{"ready":true,"state":{"running":{}}},{"restartCount":218,"state":{"terminated":{"reason":"OOMKilled","exitCode":137}}}]}}`, "1/2 OOMKilled 218"},
		{`{` + two + `,"status":{"phase":"Running","containerStatuses":[{"restartCount":7,"state":{"waiting":{"reason":"CrashLoopBackOff"}}},{"state":{"terminated":{"exitCode":3}}}]}}`, "0/2 CrashLoopBackOff 7"},
		{`{` + two + `,"status":{"phase":"Running","containerStatuses":[{"state":{"terminated":{"signal":9}}}]}}`, "0/2 Signal:9 0"},
		{`{` + two + `,"status":{"phase":"Running","containerStatuses":[{"state":{"terminated":{"reason":"Completed"}}},{"ready":true,"state":{"running":{}}}]}}`, "1/2 NotReady 0"},
		{`{` + two + `,"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}],"containerStatuses":[{"state":{"terminated":{"reason":"Completed"}}},{"ready":true,"state":{"running":{}}}]}}`, "1/2 Running 0"},
		{`{"metadata":{"deletionTimestamp":"2026-11-21T12:00:00Z"},` + two + `,"status":{"phase":"Running"}}`, "0/2 Terminating 0"},
		{`{"metadata":{"deletionTimestamp":"2026-11-21T12:00:00Z"},` + two + `,"status":{"phase":"Running","reason":"NodeLost"}}`, "0/2 Unknown 0"},
		{`{"metadata":{"deletionTimestamp":"2026-11-21T12:00:00Z"},` + two + `,"status":{"phase":"Succeeded"}}`, "0/2 Succeeded 0"},
		{`{"spec":{"initContainers":[{"name":"a"},{"name":"b"}],"containers":[{}]},"status":{"phase":"Pending","initContainerStatuses":[{"name":"a","restartCount":4,"state":{"terminated":{"exitCode":0,"reason":"Completed"}}},{"name":"b","state":{"waiting":{"reason":"PodInitializing"}}}],"containerStatuses":[{"state":{"waiting":{"reason":"PodInitializing"}}}]}}`, "0/1 Init:1/2 4"},
		{`{"spec":{"initContainers":[{"name":"a"}],"containers":[{}]},"status":{"phase":"Pending","initContainerStatuses":[{"name":"a","restartCount":2,"state":{"terminated":{"exitCode":1,"reason":"Error"}}}]}}`, "0/1 Init:Error 2"},
		{`{"spec":{"initContainers":[{"name":"a","restartPolicy":"Always"}],"containers":[{}]},"status":{"phase":"Running","initContainerStatuses":[{"name":"a","ready":true,"started":true,"restartCount":5,"state":{"running":{}}}],"containerStatuses":[{"ready":true,"restartCount":1,"state":{"running":{}}}]}}`, "2/2 Running 6"},
	} {
		var p clusterPod
		if err := json.Unmarshal([]byte(tt.pod), &p); err != nil {
			t.Fatal(err)
		}
		l := p.line()
		if got := fmt.Sprintf("%d/%d %s %d", l.Ready, l.Containers, l.Status, *l.Restarts); got != tt.want {
			t.Errorf("%s is %q; want %q", tt.pod, got, tt.want)
		}
	}
}

// fakeCluster answers lists of pods, and is where KUBECONFIG says.
func fakeCluster(t *testing.T, answer http.HandlerFunc) *[]string {
	t.Helper()
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.RequestURI())
		answer(w, r)
	}))
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "config")
	text := "current-context: c\ncontexts: [{name: c, context: {cluster: k, namespace: kured}}]\nclusters: [{name: k, cluster: {server: " + server.URL + "}}]\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", file)
	return &asked
}

func noCluster(t *testing.T) {
	t.Helper()
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
}

const gatePods = `{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"5"},"items":[
{"metadata":{"name":"gate-x7k2p","namespace":"kured","uid":"u1","creationTimestamp":"2026-11-20T12:00:00Z"},
 "spec":{"nodeName":"n1","containers":[{}]},
 "status":{"phase":"Running","containerStatuses":[{"ready":true,"restartCount":1,"state":{"running":{}}}]}},
{"metadata":{"name":"gate-far","namespace":"kured","uid":"u2","creationTimestamp":"2026-11-20T12:00:00Z"},
 "spec":{"nodeName":"n2","containers":[{}]},"status":{"phase":"Running"}}]}`

func sendPods(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprint(w, gatePods)
}

// An agent with 149 kills that no restart shows, and one in a pod that is gone.
func gateAgent(t *testing.T) *fakeService {
	t.Helper()
	return newFakeAgent(t, map[string]any{
		"GET /v1/status":     oom.AgentStatus{Node: "n1"},
		"GET /v1/containers": []oom.Usage{{Container: oom.Container{PodUID: "u1", Pod: "gate-x7k2p", Namespace: "kured", Name: "gate", Workload: "DaemonSet/gate"}}},
		"GET /v1/kills": []oom.Kill{
			kill(oom.Container{PodUID: "u1"}, 149, pointer(true)),
			kill(oom.Container{PodUID: "u0", Namespace: "kured", Pod: "gate-old"}, 1, pointer(false)),
			kill(oom.Container{PodUID: "u7", Namespace: "shop", Pod: "web"}, 1, pointer(false)),
			kill(oom.Container{PodUID: "u8"}, 1, nil),
		},
	})
}

// table is a table without what depends on the clock and on widths.
func table(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		b.WriteString(strings.Join(strings.Fields(line), " ") + "\n")
	}
	return b.String()
}

func TestPodsOfKubernetes(t *testing.T) {
	asked := fakeCluster(t, sendPods)
	f := gateAgent(t)
	got := f.runAgent(t, "pods")
	lines := strings.Split(table(got.stdout), "\n")
	for i, want := range []string{"NAME READY STATUS RESTARTS AGE KILLS HIDDEN LAST KILL", "gate-far 0/1 Running 0 ", "gate-old - Gone - - 1 0 ", "gate-x7k2p 1/1 Running 1 ", ""} {
		if i >= len(lines) || !strings.HasPrefix(lines[i], want) {
			t.Fatalf("line %d of %q; want %q", i, lines, want)
		}
	}
	if !strings.Contains(lines[3], " 149 149 ") || !strings.HasSuffix(lines[1], " ? ? -") || got.stderr != "" || got.code != ExitOK {
		t.Errorf("exit %d, %q, %q", got.code, got.stderr, got.stdout)
	}
	if want := "/api/v1/namespaces/kured/pods?limit=500"; len(*asked) != 1 || (*asked)[0] != want {
		t.Errorf("asked %q; want %q", *asked, want)
	}
	got = f.runAgent(t, "pods", "-A", "-o", "json")
	var all []podLine
	if err := json.Unmarshal([]byte(got.stdout), &all); err != nil || len(all) != 5 || all[0].UID != "u8" || all[4].Name != "web" || all[1].Kills != nil || all[3].Kills.Hidden != 149 || all[3].Workload != "DaemonSet/gate" {
		t.Errorf("%v: all namespaces are %s", err, got.stdout)
	}
	f.runAgent(t, "pods", "-n", "kured", "gate-x7k2p", "-o", "yaml")
	if want := "/api/v1/namespaces/kured/pods?fieldSelector=metadata.name%3Dgate-x7k2p&limit=500"; (*asked)[2] != want {
		t.Errorf("asked %q; want %q", (*asked)[2], want)
	}
	f.runAgent(t, "pods", "-n", "kured", "zz").want(t, ExitFailed, "", "stella: there is no pod \"zz\" in namespace kured\n")
}

// Where one of the two does not answer, what the other knows is shown, and what is missing is said.
func TestPodsOfOneSide(t *testing.T) {
	fakeCluster(t, sendPods)
	got := runWith(t.Context(), t, nil, "pods", "--agent", "unix:///nonexistent/s")
	if !strings.Contains(table(got.stdout), " ? ? -\n") || !strings.Contains(got.stderr, "warning: kills are not known: no stella-agent at unix:///nonexistent/s") || got.code != ExitOK {
		t.Errorf("without an agent: exit %d, %q, %q", got.code, got.stderr, got.stdout)
	}
	fakeCluster(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "on fire", http.StatusInternalServerError) })
	got = gateAgent(t).runAgent(t, "pods", "-n", "kured")
	if !strings.Contains(table(got.stdout), "gate-x7k2p 1/1 Running - - 149 149") || !strings.Contains(got.stderr, "warning: Kubernetes was not read") || got.code != ExitOK {
		t.Errorf("without Kubernetes: exit %d, %q, %q", got.code, got.stderr, got.stdout)
	}
	got = runWith(t.Context(), t, nil, "pods", "--agent", "unix:///nonexistent/s")
	if got.stdout != "" || !strings.Contains(got.stderr, "and nobody else knows pods: no stella-agent") || got.code != ExitFailed {
		t.Errorf("without both: exit %d, %q, %q", got.code, got.stderr, got.stdout)
	}
}

func TestPodsWithoutKubernetes(t *testing.T) {
	noCluster(t)
	got := gateAgent(t).runAgent(t, "pods")
	if lines := strings.Split(table(got.stdout), "\n"); len(lines) != 6 || !strings.HasPrefix(lines[3], "kured gate-x7k2p 1/1 Running - - 149 149") || got.stderr != "" || got.code != ExitOK {
		t.Errorf("exit %d, %q, %q", got.code, got.stderr, got.stdout)
	}
	got = runWith(t.Context(), t, nil, "pods", "--agent", "unix:///nonexistent/s")
	if got.code != ExitFailed || !strings.HasPrefix(got.stderr, "stella: no stella-agent at unix:///nonexistent/s: the socket does not exist; start one") {
		t.Errorf("exit %d, %q", got.code, got.stderr)
	}
	f := newFakeAgent(t, map[string]any{"GET /v1/containers": []oom.Usage{}, "GET /v1/kills": []oom.Kill{}})
	f.runAgent(t, "pods", "-n", "x").want(t, ExitOK, "", "stella: there are no pods in namespace x\n")
	f.runAgent(t, "pods", "-o", "json", "-q").want(t, ExitOK, "[]\n", "")
	for _, tt := range []struct{ args, want string }{
		{"pods a b", `takes the name of one pod, but got "b" as well`},
		{"pods -n a -A", "--namespace and --all-namespaces contradict each other"},
		{"pods --last x", "write a length of time as"},
	} {
		if got := f.runAgent(t, strings.Fields(tt.args)...); got.code != ExitUsage || !strings.Contains(got.stderr, tt.want) {
			t.Errorf("%s: exit %d, %q; want exit 2 and %q", tt.args, got.code, got.stderr, tt.want)
		}
	}
}
