package cluster_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stella/internal/client"
	"stella/internal/oom"
	"stella/internal/testkit"
	"stella/test/cluster"
)

// quiet is longer than the ledger takes to make a kill of what a counter told and nothing explained: none of it may come.
const quiet = 5 * time.Second

// rows are the cases of one cluster, their agent, and what the kernel says.
type rows struct {
	*cluster.Cluster
	agent *client.Agent
	token string
	log   *kernelLog
	// others are the rules of other tools.
	others *others
	// groups says that the kernel kills whole containers.
	groups bool
}

// The agent of deploy/kubernetes/agent.yaml tells of each row of docs/kubernetes-kills.md how many
// kills it was, of whom, and whose limit fired: what the pod's status shows of it, and what it does not.
func TestAgent(t *testing.T) {
	short := map[string]any{"maxContainerRestartPeriod": "2s"}
	c := own(t, cluster.Options{Kubelet: map[string]any{"singleProcessOOMKill": true, "crashLoopBackOff": short}})
	r := &rows{Cluster: c, log: followKernelLog(t), others: followPods(t, c)}
	r.agent, r.token = deployAgent(t, c)
	t.Run("witnesses", r.witnesses)
	t.Run("one process", func(t *testing.T) {
		t.Run("an application is asked about itself", r.application)
		t.Run("children are killed and PID 1 lives", r.invisible)
		t.Run("PID 1 over its limit", r.firstProcess)
		t.Run("exit 137 without a kill", r.plainExit)
		t.Run("a child is killed and PID 1 exits 0", func(t *testing.T) { r.childExit(t, 0) })
		t.Run("a child is killed and PID 1 exits 1", func(t *testing.T) { r.childExit(t, 1) })
	})
	t.Run("another agent", r.restart)
	t.Run("whole container", func(t *testing.T) {
		testkit.Need(t, testkit.CgroupV2)
		c.RestartKubelet(t, map[string]any{"crashLoopBackOff": short})
		r.groups = true
		r.wholeContainer(t)
	})
	r.others.print(t, r.log)
}

// witnesses: in this manifest the agent reads all that a node has.
func (r *rows) witnesses(t *testing.T) {
	cluster.Eventually(t, settle, func(ctx context.Context) error {
		status, err := r.agent.Status(ctx)
		if err != nil {
			return err
		}
		ok := map[oom.Witness]bool{}
		for _, w := range status.Witnesses {
			ok[w.Name] = w.State == "ok"
		}
		for _, want := range []oom.Witness{oom.WitnessLog, oom.WitnessCounter, oom.WitnessRuntime, oom.WitnessStatus} {
			if !ok[want] {
				return fmt.Errorf("%s is not read: %+v", want, status.Witnesses)
			}
		}
		if status.Node != cluster.NodeName || status.Ledger.Fault != "" {
			return fmt.Errorf("%+v", status)
		}
		for verb, allowed := range map[string]string{"create": "yes", "delete": "no"} { // it makes events of warnings, and changes nothing else
			// The exit code of no is 1.
			out, _ := r.Kubectl(ctx, "auth", "can-i", verb, "events", "--all-namespaces", "--as=system:serviceaccount:"+agentNamespace+":stella-agent").Output()
			if strings.TrimSpace(string(out)) != allowed {
				return fmt.Errorf("whether it may %s events: %s", verb, out)
			}
		}
		t.Logf("the agent has %d MiB resident", status.Resident>>20)
		return nil
	})
}

// invisible: three kills of which the API shows nothing.
func (r *rows) invisible(t *testing.T) {
	t.Parallel()
	ns := r.deployment(t, "child", "200Mi", "--times", "3", "--every", "100ms")
	kills := r.want(t, ns, "Deployment/hog", 3)
	for i, k := range kills {
		if want := fmt.Sprintf("hog.%d", i+1); k.Process.Comm != want {
			t.Errorf("the victim is %q, want %s", k.Process.Comm, want)
		}
		r.survived(t, k, true)
		if !slices.Contains(k.Witnesses, oom.WitnessCounter) {
			t.Errorf("the counter of the container's cgroup does not tell of %s: %v", k.ID, k.Witnesses)
		}
	}
	pod := r.pod(t, ns)
	status := pod.Status.ContainerStatuses[0]
	if status.RestartCount != 0 || status.LastTerminationState.Terminated != nil {
		t.Errorf("the status shows the kills: %+v", status)
	}
	r.wantMetric(t, ns, 3)
	r.unchanged(t, ns, kills)
}

// firstProcess: one kill for each restart, of PID 1.
func (r *rows) firstProcess(t *testing.T) {
	t.Parallel()
	ns := r.deployment(t, "hold", "200Mi")
	r.restarted(t, ns, 2)
	pod := r.stop(t, ns)
	restarts := int(pod.Status.ContainerStatuses[0].RestartCount)
	kills := r.kills(t, ns)
	if len(kills) < restarts || len(kills) > restarts+1 {
		t.Errorf("%d kills, and the container was started again %d times:\n%s", len(kills), restarts, told(kills))
	}
	containers := map[string]bool{}
	for _, k := range kills {
		r.check(t, pod, k, "Deployment/hog")
		r.survived(t, k, false)
		if k.Process.Comm != "hog" || containers[k.Container.ID] {
			t.Errorf("the first process of a container is killed once, and is not %q of %s", k.Process.Comm, k.Container.ID)
		}
		containers[k.Container.ID] = true
	}
	r.sameAsKernel(t, pod, kills)
	r.unchanged(t, ns, kills)
}

// plainExit: 137 is only a number.
func (r *rows) plainExit(t *testing.T) {
	t.Parallel()
	ns := r.deployment(t, "exit", "137")
	r.restarted(t, ns, 1)
	status := r.pod(t, ns).Status.ContainerStatuses[0]
	end := status.LastTerminationState.Terminated
	if end == nil { // the kubelet keeps one that ended, and the next has
		end = status.State.Terminated
	}
	if end == nil || end.ExitCode != 137 {
		t.Errorf("ended with %+v, want 137", status)
	}
	r.unchanged(t, ns, nil)
}

// childExit: one kill, whatever the container makes of it. It outlives the time after which the agent looks.
func (r *rows) childExit(t *testing.T, code int32) {
	t.Parallel()
	ns := r.Namespace(t)
	r.Apply(t, ns, fmt.Sprintf(`
apiVersion: batch/v1
kind: Job
metadata: {name: hog}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
%s`, containers("child-exit", fmt.Sprint(code), "200Mi", "--after", "6s")))
	kills := r.want(t, ns, "Job/hog", 1)
	if kills[0].Process.Comm != "hog.1" {
		t.Errorf("the victim is %q, want hog.1", kills[0].Process.Comm)
	}
	r.survived(t, kills[0], true)
	end := terminated(t, r.Cluster, r.pod(t, ns))
	if end.ExitCode != code {
		t.Errorf("ended with %d, want %d", end.ExitCode, code)
	}
	r.unchanged(t, ns, kills)
}

// wholeContainer: the child that was chosen and PID 1 are killed, each once, though the kernel counts the child twice.
func (r *rows) wholeContainer(t *testing.T) {
	ns := r.deployment(t, "child", "200Mi")
	r.restarted(t, ns, 1)
	pod := r.stop(t, ns)
	kills := r.kills(t, ns)
	comms := map[string][]string{} // by container
	var pids []int
	for _, k := range kills {
		r.check(t, pod, k, "Deployment/hog")
		r.survived(t, k, false)
		if k.Group == 0 {
			t.Errorf("not killed with its group: %+v", k)
		}
		pids = append(pids, k.Process.PID)
		comms[k.Container.ID] = append(comms[k.Container.ID], k.Process.Comm)
	}
	if len(comms) == 0 {
		t.Error("no kill")
	}
	for id, names := range comms {
		// It lives long enough, at times, to start another, which has its parent's name at first.
		if !slices.Contains(names, "hog") || !slices.Contains(names, "hog.1") {
			t.Errorf("of container %s were killed %q, want hog and its child among them", id, names)
		}
	}
	slices.Sort(pids)
	if want := r.log.groupVictims(string(pod.UID)); !slices.Equal(pids, want) {
		t.Errorf("the agent tells of %v, and the kernel log of %v", pids, want)
	}
	r.sameAsKernel(t, pod, kills)
	r.unchanged(t, ns, kills)
}

// restart: an agent that takes over has the same kills.
func (r *rows) restart(t *testing.T) {
	ns := r.deployment(t, "child", "200Mi", "--times", "2", "--every", "100ms")
	before := r.want(t, ns, "Deployment/hog", 2)
	kubectl(t, r.Cluster, "", "--namespace", agentNamespace, "delete", "pods", "--all", "--force", "--grace-period=0")
	agentReady(t, r.Cluster)
	cluster.Eventually(t, settle, func(ctx context.Context) error {
		_, err := r.agent.Status(ctx)
		return err
	})
	r.unchanged(t, ns, before)
}

// deployment starts a Deployment "hog" of one pod in a namespace of its own.
func (r *rows) deployment(t *testing.T, args ...string) string {
	t.Helper()
	ns := r.Namespace(t)
	r.Apply(t, ns, fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: hog}
spec:
  selector: {matchLabels: {app: hog}}
  template:
    metadata: {labels: {app: hog}}
    spec:
      terminationGracePeriodSeconds: 1
%s`, containers(args...)))
	return ns
}

func containers(args ...string) string {
	return fmt.Sprintf(`
      automountServiceAccountToken: false
      containers:
      - name: c
        image: %s
        imagePullPolicy: Never
        args: ["%s"]
        resources: {limits: {memory: 64Mi}}
`, cluster.Hog, strings.Join(args, `", "`))
}

// pod waits for the only pod of a namespace and the status of its container.
func (r *rows) pod(t *testing.T, ns string) *corev1.Pod {
	t.Helper()
	var pod *corev1.Pod
	cluster.Eventually(t, settle, func(ctx context.Context) error {
		pods, err := r.Client.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		if len(pods.Items) != 1 || len(pods.Items[0].Status.ContainerStatuses) != 1 {
			return fmt.Errorf("%d pods, want one with a container", len(pods.Items))
		}
		pod = &pods.Items[0]
		return nil
	})
	return pod
}

// restarted waits until the container was started again so often.
func (r *rows) restarted(t *testing.T, ns string, times int32) {
	t.Helper()
	cluster.Eventually(t, settle, func(context.Context) error {
		if n := r.pod(t, ns).Status.ContainerStatuses[0].RestartCount; n < times {
			return fmt.Errorf("restarted %d times, want %d", n, times)
		}
		return nil
	})
}

// stop ends the Deployment and returns its pod as it was last, once it is gone and the agent has said all.
func (r *rows) stop(t *testing.T, ns string) *corev1.Pod {
	t.Helper()
	pod := r.pod(t, ns)
	watch, err := r.Client.CoreV1().Pods(ns).Watch(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=" + pod.Name, ResourceVersion: pod.ResourceVersion})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	kubectl(t, r.Cluster, "", "--namespace", ns, "scale", "deployment/hog", "--replicas=0")
	for event := range watch.ResultChan() {
		if now, ok := event.Object.(*corev1.Pod); ok {
			pod = now
		}
		if event.Type == "DELETED" {
			break
		}
	}
	time.Sleep(quiet)
	return pod
}

func (r *rows) kills(t *testing.T, ns string) []oom.Kill {
	t.Helper()
	kills, err := r.agent.Kills(t.Context(), oom.Filter{Namespace: ns})
	if err != nil {
		t.Fatal(err)
	}
	return kills
}

// want waits for n kills of a pod that is still there, and for all that is to be known of them.
func (r *rows) want(t *testing.T, ns, workload string, n int) []oom.Kill {
	t.Helper()
	var kills []oom.Kill
	cluster.Eventually(t, settle, func(ctx context.Context) (err error) {
		if kills, err = r.agent.Kills(ctx, oom.Filter{Namespace: ns}); err != nil {
			return err
		}
		unknown := func(k oom.Kill) bool { return k.MainSurvived == nil || k.Container.Workload != workload }
		if len(kills) != n || slices.ContainsFunc(kills, unknown) {
			return fmt.Errorf("the agent tells of %d kills, want %d:\n%s", len(kills), n, told(kills))
		}
		return nil
	})
	pod := r.pod(t, ns)
	for _, k := range kills {
		r.check(t, pod, k, workload)
	}
	r.sameAsKernel(t, pod, kills)
	return kills
}

// check compares what is the same of all kills of a pod.
func (r *rows) check(t *testing.T, pod *corev1.Pod, k oom.Kill, workload string) {
	t.Helper()
	want := oom.Container{
		ID: k.Container.ID, Runtime: "containerd", Name: "c", Namespace: pod.Namespace, Pod: pod.Name, PodUID: string(pod.UID), QoS: "Burstable",
		Workload: workload, Image: cluster.Hog, Node: cluster.NodeName, Request: 64 << 20, LimitBytes: 64 << 20, GroupKill: k.Container.GroupKill,
	}
	if k.Container != want {
		t.Errorf("%s: whose it is: %+v\nwant %+v", k.ID, k.Container, want)
	}
	if r.CgroupV2() && (k.Container.GroupKill == nil || *k.Container.GroupKill != r.groups) {
		t.Errorf("%s: kills take the whole container: %s, want %v", k.ID, said(k.Container.GroupKill), r.groups)
	}
	if len(k.Container.ID) != 64 || !strings.HasSuffix(k.Cgroup, "/pod"+string(pod.UID)+"/"+k.Container.ID) {
		t.Errorf("%s: the cgroup is %s of container %q", k.ID, k.Cgroup, k.Container.ID)
	}
	if k.Count != 1 || k.Process.PID == 0 || k.Unattributed() || k.Confidence == oom.Weak {
		t.Errorf("%s: not one kill of one process: %+v", k.ID, k)
	}
	// The pod's limit is as large as that of its only container, and the sandbox counts too.
	if l := k.Limit; l.Bytes != 64<<20 || l.Scope != oom.ScopePod && l.Scope != oom.ScopeContainer {
		t.Errorf("%s: the limit is %+v, want 64Mi of the container or its pod", k.ID, l)
	}
}

func (r *rows) survived(t *testing.T, k oom.Kill, want bool) {
	t.Helper()
	if k.MainSurvived == nil || *k.MainSurvived != want {
		t.Errorf("%s of %s: that the first process lived on: %s, want %v (%s)", k.ID, k.Process.Comm, said(k.MainSurvived), want, k.Doubt)
	}
}

// said is what the agent says, for people; ? where it does not know.
func said(answer *bool) string {
	if answer == nil {
		return "?"
	}
	return strconv.FormatBool(*answer)
}

// kernelKill is what the line "oom-kill:" tells of a kill in a container.
var kernelKill = regexp.MustCompile(`oom_memcg=([^,]*),task_memcg=([^,]*),task=(.*),pid=([0-9]+),uid=`)

// sameAsKernel compares with the lines of the kernel log. There can be fewer lines than kills: ten in five seconds, of the
// whole machine.
func (r *rows) sameAsKernel(t *testing.T, pod *corev1.Pod, kills []oom.Kill) {
	t.Helper()
	lines := r.log.about(string(pod.UID), "oom-kill:")
	if len(lines) > len(kills) {
		t.Errorf("the agent tells of %d kills, and the kernel log of %d:\n%s", len(kills), len(lines), strings.Join(lines, "\n"))
	}
	for _, line := range lines {
		m := kernelKill.FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("a line unlike others: %s", line)
		}
		scope := oom.ScopeContainer
		if strings.HasSuffix(m[1], "/pod"+string(pod.UID)) {
			scope = oom.ScopePod
		}
		same := func(k oom.Kill) bool {
			return fmt.Sprint(k.Process.PID) == m[4] && k.Process.Comm == m[3] && k.Cgroup == m[2] && k.Limit.Cgroup == m[1] && k.Limit.Scope == scope
		}
		at := slices.IndexFunc(kills, same)
		if at < 0 {
			t.Errorf("the agent does not tell of\n%s\nbut of\n%s", line, told(kills))
			continue
		}
		if k := kills[at]; k.Confidence != oom.Certain || !slices.Contains(k.Witnesses, oom.WitnessLog) {
			t.Errorf("%s: %s by %v, though the kernel names all", k.ID, k.Confidence, k.Witnesses)
		}
	}
	t.Logf("%d lines of the kernel log; the agent's kills:\n%s", len(lines), told(kills))
}

// unchanged waits for what should not come, and compares the kills of a namespace with those before.
func (r *rows) unchanged(t *testing.T, ns string, want []oom.Kill) {
	t.Helper()
	time.Sleep(quiet)
	ids := func(kills []oom.Kill) (all []string) {
		for _, k := range kills {
			all = append(all, fmt.Sprint(k.ID, " ", k.Process.PID, " ", k.Count))
		}
		return all
	}
	if got := r.kills(t, ns); !slices.Equal(ids(got), ids(want)) {
		t.Errorf("the agent now tells of\n%s\nwant\n%s", told(got), told(want))
	}
	r.others.add(t, ns, want)
}

// wantMetric asks as Prometheus does, with the token and without.
func (r *rows) wantMetric(t *testing.T, ns string, kills int) {
	t.Helper()
	pods, err := r.Client.CoreV1().Pods(agentNamespace).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(pods.Items) != 1 {
		t.Fatalf("the agent's pods: %v, %v", pods, err)
	}
	address := "http://" + net.JoinHostPort(pods.Items[0].Status.PodIP, "9322")
	web := &http.Client{Timeout: settle, Transport: &http.Transport{DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
		return r.Dial(ctx, address)
	}}}
	defer web.CloseIdleConnections()
	status, _ := ask(t, web, address+"/metrics", "")
	if status != http.StatusUnauthorized {
		t.Errorf("metrics without the token: %d", status)
	}
	series := regexp.MustCompile(fmt.Sprintf(`(?m)^container_oom_events_total\{container="c",[^}]*namespace="%s",pod="hog-[^"]*"\} %d$`, ns, kills))
	cluster.Eventually(t, settle, func(context.Context) error {
		if status, text := ask(t, web, address+"/metrics", r.token); status != http.StatusOK || !series.MatchString(text) {
			return fmt.Errorf("%d, and no %s in\n%s", status, series, text)
		}
		return nil
	})
}

func ask(t *testing.T, web *http.Client, address, token string) (status int, text string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := web.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	all, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(all)
}

// told are kills for people who read why a test failed.
func told(kills []oom.Kill) string {
	var text strings.Builder
	for _, k := range kills {
		fmt.Fprintf(&text, "%s %s ×%d %s[%d] group %d, %s of %s/%s %s, limit %s %d %s, first process lived on: %s, %s by %v %s\n", k.ID, k.Time.Format(time.TimeOnly), k.Count,
			k.Process.Comm, k.Process.PID, k.Group, k.Container.Workload, k.Container.Pod, k.Container.Name, k.Cgroup, k.Limit.Scope, k.Limit.Bytes, k.Limit.Cgroup,
			said(k.MainSurvived), k.Confidence, k.Witnesses, k.Doubt)
	}
	return text.String()
}
