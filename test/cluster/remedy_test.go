package cluster_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stella/internal/client"
	"stella/internal/explain"
	"stella/internal/incident"
	"stella/internal/oom"
	"stella/internal/remedy"
	"stella/test/cluster"
	"stella/test/cluster/internal/programs"
)

// window is how long a remedy has to hold here: some more than the ten samples that it takes, at one a second.
const window = "14s"

// How stella ends, as docs/exit-codes.md has it.
const exitOK, exitFailed, exitUsage, exitNotHeld, exitInterrupted = 0, 1, 2, 3, 130

// remedies is a cluster with an agent, and the command line.
type remedies struct {
	*cluster.Cluster
	agent   *client.Agent
	program string
	audit   string
}

// Remedies are planned, tried, approved, made, read back in the API and in both cgroups, and hold, or are taken back.
func TestRemedies(t *testing.T) {
	c := own(t, cluster.Options{Kubelet: map[string]any{"singleProcessOOMKill": true}})
	r := &remedies{Cluster: c, audit: filepath.Join(t.TempDir(), "state", "remedies.jsonl")}
	r.agent, _ = deployAgent(t, c)
	var err error
	if r.program, err = programs.Static(t.Context(), "stella/cmd/stella", t.TempDir()); err != nil {
		t.Fatal(err)
	}
	t.Run("all", func(t *testing.T) {
		t.Run("children", r.children)
		t.Run("resize in place", r.resizes)
		t.Run("Deployment", r.deployment)
		t.Run("does not hold", r.doesNotHold)
		t.Run("the node cannot grant it", r.infeasible)
	})
	r.recorded(t)
}

// stella runs the command line with the rights of the administrator, and returns its standard output; complaint is what has to be on standard error.
func (r *remedies) stella(t *testing.T, want int, complaint string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), r.program, args...)
	cmd.Env = r.environment()
	if args[0] == "remedy" {
		cmd.Args = append(cmd.Args, "--audit-log", r.audit)
	}
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	err := cmd.Run()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		t.Fatal(err)
	}
	if code := cmd.ProcessState.ExitCode(); code != want || !strings.Contains(complaints.String(), complaint) {
		t.Fatalf("stella %s: exit %d, want %d and %q:\n%s%s", strings.Join(args, " "), code, want, complaint, complaints.String(), out.String())
	}
	return out.String()
}

// environment is that of an administrator on the node.
func (r *remedies) environment() []string {
	return append(os.Environ(), "KUBECONFIG="+r.Kubeconfig, "STELLA_AGENT=unix://"+r.Path("/run/stella/agent.sock"))
}

// plan makes a plan for a container and keeps it in a file, when the agent has the container.
func (r *remedies) plan(t *testing.T, name string, args ...string) (file string, p remedy.Plan) {
	t.Helper()
	cluster.Eventually(t, settle, func(ctx context.Context) error {
		usage, err := r.agent.Usage(ctx)
		if err == nil && !slices.ContainsFunc(usage, func(u oom.Usage) bool {
			return u.Container.Namespace+"/"+u.Container.Pod+"/"+u.Container.Name == name
		}) {
			err = fmt.Errorf("the agent does not have %s", name)
		}
		return err
	})
	text := r.stella(t, exitOK, "", append([]string{"remedy", "plan", name, "-o", "json"}, args...)...)
	file = filepath.Join(t.TempDir(), "plan.json")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		t.Fatal(err)
	}
	return file, p
}

// number is that of the first step of a kind, as it is written in a command.
func number(t *testing.T, p *remedy.Plan, kind remedy.Kind) string {
	t.Helper()
	for i := range p.Steps {
		if p.Steps[i].Kind == kind && p.Steps[i].Ours() {
			return fmt.Sprint(p.Steps[i].N)
		}
	}
	t.Fatalf("the plan has no step of kind %s: %+v", kind, p)
	return ""
}

// create makes objects as a person does who declares nothing for later.
func (r *remedies) create(t *testing.T, ns, manifest string) {
	t.Helper()
	kubectl(t, r.Cluster, manifest, "create", "--namespace", ns, "--filename", "-")
}

// only waits for the only pod of a namespace that is not about to end, until it runs.
func (r *remedies) only(t *testing.T, ns string) *corev1.Pod {
	t.Helper()
	var pod *corev1.Pod
	cluster.Eventually(t, settle, func(ctx context.Context) error {
		pods, err := r.Client.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		pods.Items = slices.DeleteFunc(pods.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil })
		if len(pods.Items) != 1 || len(pods.Items[0].Status.ContainerStatuses) != 1 || pods.Items[0].Status.ContainerStatuses[0].State.Running == nil {
			return fmt.Errorf("%d pods, or one that does not run yet", len(pods.Items))
		}
		pod = &pods.Items[0]
		return nil
	})
	return pod
}

func hogs(kind, args string) string {
	return fmt.Sprintf(`
apiVersion: apps/v1
kind: %s
metadata: {name: hog}
spec:
  selector: {matchLabels: {app: hog}}
  template:
    metadata: {labels: {app: hog}}
    spec:
      terminationGracePeriodSeconds: 1
%s`, kind, containers(strings.Fields(args)...))
}

// approved makes a step, and returns what was read back.
func (r *remedies) approved(t *testing.T, want int, complaint string, args ...string) (out struct {
	Reading remedy.Reading
	Verdict *remedy.Verdict
	Back    *remedy.Change `json:"rolled_back"`
}) {
	t.Helper()
	text := r.stella(t, want, complaint, append([]string{"remedy", "apply", "-o", "json", "--approve", "--reason", "the test wants it"}, args...)...)
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return out
}

// children is what happened to a gate of reboots on 2026-05-31: a small limit, a loop that forks heavy children, and a first process that lives on.
func (r *remedies) children(t *testing.T) {
	t.Parallel()
	image := r.Load(t, "stella/test/cluster/testdata/storm")
	ns := r.Namespace(t)
	r.create(t, ns, strings.Replace(strings.Replace(hogs("DaemonSet", ""), cluster.Hog, image, 1), `args: [""]`, `env: [{name: WORKERS, value: "3"}]`, 1))
	pod := r.only(t, ns)
	name := ns + "/" + pod.Name + "/c"
	var report explain.Report
	cluster.Eventually(t, settle, func(ctx context.Context) error {
		kills, err := r.agent.Kills(ctx, oom.Filter{Namespace: ns})
		if err != nil {
			return err
		}
		if len(kills) < 12 {
			return fmt.Errorf("the agent tells of %d kills", len(kills))
		}
		if err := json.Unmarshal([]byte(r.stella(t, exitOK, "", "explain", name, "-o", "json")), &report); err != nil {
			return err
		}
		if report.Findings[0].Cause != explain.Children {
			return fmt.Errorf("explained as %+v", report.Findings)
		}
		return nil
	})
	if status := r.only(t, ns).Status.ContainerStatuses[0]; status.RestartCount != 0 || status.LastTerminationState.Terminated != nil {
		t.Errorf("the status shows the kills: %+v", status)
	}
	cluster.Eventually(t, settle, func(ctx context.Context) error { // kills are told some seconds late
		all, err := r.agent.Incidents(ctx, incident.Filter{Namespace: ns})
		if err == nil && len(all) == 0 {
			err = errors.New("there is no incident")
		}
		return err
	})
	file, p := r.plan(t, name)
	people := p.Steps[len(p.Steps)-1]
	if p.Cause != explain.Children || people.Kind != remedy.Concurrency || people.Ours() || !strings.Contains(people.What, "fewer children") {
		t.Errorf("the plan does not ask for fewer children: %+v", p)
	}
	for _, kind := range []remedy.Kind{remedy.Concurrency, remedy.Limit} { // fewer, and room for as many
		if got := r.approved(t, exitOK, "", file, "--step", number(t, &p, kind)); got.Reading.State != remedy.Yes {
			t.Errorf("read back: %+v", got.Reading)
		}
	}
	pod = r.only(t, ns)
	wantLimits(t, r.Cluster, pod, p.Steps[0].Want.Limit)
	if env := pod.Spec.Containers[0].Env[0]; env.Value != "1" {
		t.Errorf("%+v", env)
	}
	text := r.stella(t, exitOK, "", "remedy", "verify", file, "--window", window, "--watch")
	if !strings.Contains(text, "Verdict: held") || r.only(t, ns).Status.ContainerStatuses[0].RestartCount != 0 {
		t.Error(text)
	}
	t.Logf("the limit is %d MiB now:\n%s", p.Steps[0].Want.Limit>>20, text)
	d, err := r.agent.Incident(t.Context(), p.Incident)
	kinds := map[incident.Kind]int{}
	for _, e := range d.Timeline {
		kinds[e.Kind]++
	}
	if err != nil || d.State != incident.Held || kinds[incident.Planned] != 1 || kinds[incident.Approved] != 2 || kinds[incident.Remedied] != 2 || kinds[incident.Verified] != 1 {
		t.Errorf("the incident is %s, with %v: %v", d.State, kinds, err)
	}
}

// resizes: a limit that is changed while the container runs, over the declaration of somebody else.
func (r *remedies) resizes(t *testing.T) {
	t.Parallel()
	pod := run(t, r.Cluster, corev1.RestartPolicyAlways, "hold", "16Mi")
	pod = running(t, r.Cluster, pod)
	file, p := r.plan(t, pod.Namespace+"/"+pod.Name+"/c", "--limit", "96Mi")
	step := number(t, &p, remedy.Resize)
	// The test applied the pod on the server's side, so that it declares the limit.
	r.stella(t, exitFailed, "test declares spec.containers[c].resources.limits.memory and will take the change back", "remedy", "apply", file, "--step", step)
	text := r.stella(t, exitOK, "", "remedy", "apply", file, "--step", step, "--force-conflicts", "--dry-run=server")
	if !strings.Contains(text, "The server takes it") || !strings.Contains(text, "Nothing was changed") || !strings.Contains(text, "+          memory: 96Mi") {
		t.Error(text)
	}
	r.stella(t, exitUsage, "--approve needs --reason", "remedy", "apply", file, "--step", step, "--approve")
	if got := get(t, r.Cluster, pod).Spec.Containers[0].Resources.Limits.Memory().Value(); got != 64<<20 {
		t.Errorf("a limit of %d was set without an approval", got)
	}
	wantLimits(t, r.Cluster, pod, 64<<20)
	got := r.approved(t, exitOK, "", file, "--step", step, "--force-conflicts")
	var checks []string
	for _, c := range got.Reading.Checks {
		checks = append(checks, c.What+" "+string(c.State))
	}
	if text := strings.Join(checks, ", "); text != "spec yes, status yes, cgroup of the container yes, cgroup of the pod yes" {
		t.Errorf("read back: %s: %+v", text, got.Reading)
	}
	wantLimits(t, r.Cluster, pod, 96<<20)
	if status := get(t, r.Cluster, pod).Status.ContainerStatuses[0]; status.RestartCount != 0 {
		t.Errorf("the container was restarted: %+v", status)
	}
	r.stella(t, exitFailed, "is as the step would make it already", "remedy", "apply", file, "--step", step, "--force-conflicts")
	text = r.stella(t, exitOK, "", "remedy", "verify", p.ID, "--window", window, "--watch")
	if !strings.Contains(text, "Verdict: held") {
		t.Error(text)
	}
	// The command for people does the same, and is refused where its values are not there any more.
	cmd := exec.CommandContext(t.Context(), "sh", "-c", p.Steps[0].Commands[0])
	cmd.Env = append(os.Environ(), "KUBECONFIG="+r.Kubeconfig, "PATH="+r.Programs+":"+os.Getenv("PATH"))
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "error") {
		t.Errorf("%s: %v, %s", p.Steps[0].Commands[0], err, out)
	}
}

// deployment: a patch of the owner, and a plan that has become old.
func (r *remedies) deployment(t *testing.T) {
	t.Parallel()
	ns := r.Namespace(t)
	r.create(t, ns, hogs("Deployment", "hold 16Mi"))
	pod := r.only(t, ns)
	old, oldPlan := r.plan(t, ns+"/"+pod.Name+"/c", "--limit", "128Mi")
	file, p := r.plan(t, ns+"/"+pod.Name+"/c", "--limit", "96Mi")
	step := number(t, &p, remedy.Limit)
	r.stella(t, exitOK, "", "remedy", "apply", file, "--step", step)
	if now := r.only(t, ns); now.UID != pod.UID {
		t.Error("a dry run replaced the pod")
	}
	got := r.approved(t, exitOK, "", file, "--step", step)
	if got.Reading.State != remedy.Yes || !slices.ContainsFunc(got.Reading.Checks, func(c remedy.Check) bool { return c.What == "rollout" && c.State == remedy.Yes }) {
		t.Errorf("read back: %+v", got.Reading)
	}
	wantLimits(t, r.Cluster, r.only(t, ns), 96<<20)
	// Somebody, in this case we, changed what the other plan saw.
	r.stella(t, exitFailed, `spec.template.spec.containers[c].resources.limits.memory is "96Mi", and was "64Mi"; make a new plan`,
		"remedy", "apply", old, "--step", number(t, &oldPlan, remedy.Limit), "--approve", "--reason", "x")
	r.stella(t, exitFailed, "make a new plan", "remedy", "apply", old, "--step", number(t, &oldPlan, remedy.Resize))
	r.interrupted(t, p.ID)
	if text := r.stella(t, exitOK, "", "remedy", "verify", file, "--window", window, "--watch"); !strings.Contains(text, "Verdict: held") {
		t.Error(text)
	}
	// It is taken back only when that was approved, and not where somebody changed it since.
	if text := r.stella(t, exitOK, "", "remedy", "rollback", file); !strings.Contains(text, "Nothing was changed") {
		t.Error(text)
	}
	kubectl(t, r.Cluster, "", "--namespace", ns, "set", "resources", "deployment/hog", "--limits=memory=112Mi")
	r.stella(t, exitFailed, "was changed since", "remedy", "rollback", file, "--approve", "--reason", "x")
}

// interrupted: Ctrl-C while it is watched says how to go on.
func (r *remedies) interrupted(t *testing.T, plan string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), r.program, "remedy", "verify", plan, "--watch", "--audit-log", r.audit)
	cmd.Env = r.environment()
	said, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for lines := bufio.NewScanner(said); lines.Scan(); {
		text.WriteString(lines.Text())
		if strings.Contains(lines.Text(), "watching whether it holds") {
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Error(err)
			}
		}
	}
	_ = cmd.Wait() // its exit code is looked at
	if code := cmd.ProcessState.ExitCode(); code != exitInterrupted || !strings.Contains(text.String(), "stella remedy verify "+plan+" --watch goes on") {
		t.Errorf("exit %d: %s", code, text.String())
	}
}

// doesNotHold: what is needed leaves no room below the new limit either, so that it is taken back as was approved beforehand.
func (r *remedies) doesNotHold(t *testing.T) {
	t.Parallel()
	ns := r.Namespace(t)
	r.create(t, ns, hogs("Deployment", "hold 58Mi"))
	file, p := r.plan(t, ns+"/"+r.only(t, ns).Name+"/c", "--limit", "68Mi")
	got := r.approved(t, exitNotHeld, "did not hold", file, "--step", number(t, &p, remedy.Limit), "--rollback-if-not-held", "--window", window)
	if got.Verdict == nil || got.Verdict.Outcome != remedy.DidNotHold || got.Back == nil {
		t.Errorf("%+v", got)
	}
	d, err := r.Client.AppsV1().Deployments(ns).Get(t.Context(), "hog", metav1.GetOptions{})
	if err != nil || d.Spec.Template.Spec.Containers[0].Resources.Limits.Memory().Value() != 64<<20 {
		t.Errorf("%v, %+v", err, d.Spec.Template.Spec.Containers[0].Resources)
	}
	r.stella(t, exitFailed, "was taken back", "remedy", "verify", file)
}

// infeasible: a resize that the node cannot grant is told as such, and taken back.
func (r *remedies) infeasible(t *testing.T) {
	t.Parallel()
	ns := r.Namespace(t)
	r.create(t, ns, "apiVersion: v1\nkind: Pod\nmetadata: {name: hog}\nspec:\n"+strings.ReplaceAll(containers("hold", "16Mi"), "\n      ", "\n  "))
	pod := r.only(t, ns)
	file, p := r.plan(t, ns+"/"+pod.Name+"/c", "--limit", "900Gi")
	step := number(t, &p, remedy.Resize)
	if risk := p.Steps[0].Risk; risk.Level != remedy.High || !strings.Contains(risk.Text, "will not grant") {
		t.Errorf("the risk is %+v", risk)
	}
	got := r.approved(t, exitFailed, "is not in force; to take it back: stella remedy rollback", file, "--step", step)
	if !slices.ContainsFunc(got.Reading.Checks, func(c remedy.Check) bool { return c.State == remedy.No && strings.Contains(c.Text, "Infeasible") }) {
		t.Errorf("read back: %+v", got.Reading)
	}
	wantLimits(t, r.Cluster, pod, 64<<20)
	r.stella(t, exitOK, "", "remedy", "rollback", file, "--approve", "--reason", "the node is too small")
	if got := get(t, r.Cluster, pod).Spec.Containers[0].Resources.Limits.Memory().Value(); got != 64<<20 {
		t.Errorf("the limit is %d", got)
	}
}

// recorded: the audit log says of each change who approved it, and why.
func (r *remedies) recorded(t *testing.T) {
	text, err := os.ReadFile(r.audit)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	for line := range strings.Lines(string(text)) {
		var e struct{ Kind, Actor, Text string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Errorf("%v: %s", err, line)
		}
		kinds[e.Kind]++
		if e.Kind == "approved" && (!strings.Contains(e.Text, "admin (uid 0 root) approved ") || !strings.Contains(e.Actor, "(uid 0 root)")) {
			t.Errorf("%+v", e)
		}
	}
	if kinds["approved"] != kinds["remedied"]+kinds["rolled_back"] || kinds["remedied"] != 6 || kinds["rolled_back"] != 2 || kinds["verified"] != 3 || kinds["failed"] != 1 {
		t.Errorf("recorded: %v", kinds)
	}
}
