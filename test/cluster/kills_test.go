package cluster_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stella/internal/testkit"
	"stella/test/cluster"
)

// settle bounds how long a pod may take to get where a test wants it: seconds, or
// minutes in an emulated machine.
const settle = 3 * time.Minute

// What Kubernetes shows of an OOM kill, and what it does not: the rows of
// docs/kubernetes-kills.md. On cgroup v1, and on v2 where the kubelet is told
// singleProcessOOMKill, the kernel kills one process; on v2 as the kubelet sets it
// up otherwise it kills the whole container.
func TestKills(t *testing.T) {
	// The kubelet's default waits 10s before the second restart; it is the same wait.
	short := map[string]any{"maxContainerRestartPeriod": "2s"}
	c := own(t, cluster.Options{Level: cluster.Node, Kubelet: map[string]any{"singleProcessOOMKill": true, "crashLoopBackOff": short}})
	log := followKernelLog(t)
	t.Run("one process", func(t *testing.T) { oneProcess(t, c, log) })
	t.Run("whole container", func(t *testing.T) {
		testkit.Need(t, testkit.CgroupV2) // make test-v2 runs it
		c.RestartKubelet(t, map[string]any{"crashLoopBackOff": short})
		wholeContainer(t, c, log)
	})
}

func oneProcess(t *testing.T, c *cluster.Cluster, log *kernelLog) {
	t.Run("PID 1 over its limit", func(t *testing.T) { firstProcess(t, c, log) })
	t.Run("exit 137 without a kill", func(t *testing.T) { plainExit(t, c, log) })
	t.Run("children are killed and PID 1 lives", func(t *testing.T) { invisible(t, c, log) })
	for _, code := range []int32{0, 1} {
		t.Run(fmt.Sprintf("a child is killed and PID 1 exits %d", code), func(t *testing.T) {
			t.Parallel()
			// Where containerd hears of the exit first, or of no kill at all, the reason is another one. That is so where PID 1 exits at once,
			// and now and then on a busy machine: one of some pods has the right one.
			var reasons []string
			for !slices.Contains(reasons, "OOMKilled") {
				pod := run(t, c, corev1.RestartPolicyNever, "child-exit", fmt.Sprint(code), "200Mi", "--after", "3s")
				end := terminated(t, c, pod)
				reasons = append(reasons, end.Reason)
				if end.ExitCode != code || len(reasons) == 4 {
					t.Fatalf("ended with %d, %q; want %d, OOMKilled", end.ExitCode, reasons, code)
				}
				waitKills(t, log, pod, 1)
			}
		})
	}
}

func wholeContainer(t *testing.T, c *cluster.Cluster, log *kernelLog) {
	t.Run("PID 1 over its limit", func(t *testing.T) { firstProcess(t, c, log) })
	t.Run("exit 137 without a kill", func(t *testing.T) { plainExit(t, c, log) })
	t.Run("a child over the limit takes PID 1 along", func(t *testing.T) {
		t.Parallel()
		pod := run(t, c, corev1.RestartPolicyNever, "child", "200Mi", "--times", "3")
		end := terminated(t, c, pod)
		if end.ExitCode != 137 || end.Reason != "OOMKilled" {
			t.Errorf("ended with %d, %q; want 137, OOMKilled", end.ExitCode, end.Reason)
		}
		waitKills(t, log, pod, 1)
		if lines := log.about(string(pod.UID), "memory.oom.group"); len(lines) != 1 {
			t.Errorf("the kernel log tells of %d group kills, want 1: %q", len(lines), lines)
		}
		// PID 1 and the victim, which is counted once as it is chosen, and again with its
		// group unless its memory is gone by then; on a busy machine PID 1 lives long
		// enough to start another child, which dies with it.
		if n, err := c.PodCgroup(get(t, c, pod)).Kills(); err != nil || n < 2 || n > 4 {
			t.Errorf("the pod's cgroup counts %d kills (%v), want PID 1, the victim once or twice, and a further child at most", n, err)
		} else {
			t.Logf("the pod's cgroup counts %d kills", n)
		}
	})
}

// invisible: three kills, and nothing of it in the API.
func invisible(t *testing.T, c *cluster.Cluster, log *kernelLog) {
	t.Parallel()
	pod := run(t, c, corev1.RestartPolicyAlways, "child", "200Mi", "--times", "3", "--every", "100ms")
	waitKills(t, log, pod, 3)
	waitLine(t, c, pod, "hog: child 3 ended")
	pod = running(t, c, pod)
	g, err := c.ContainerCgroup(pod, "c")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := g.Kills(); err != nil || n != 3 {
		t.Errorf("the container's cgroup counts %d kills (%v), want 3", n, err)
	}
	status := pod.Status.ContainerStatuses[0]
	if status.RestartCount != 0 || status.LastTerminationState.Terminated != nil {
		t.Errorf("the status shows the kills: %+v", status)
	}
}

// firstProcess: 137, OOMKilled, restarts, CrashLoopBackOff. The kubelet says the
// last for moments only, so this watches; and an end whose kill containerd heard of
// too late has the reason Error, so it looks at several.
func firstProcess(t *testing.T, c *cluster.Cluster, log *kernelLog) {
	t.Parallel()
	pod := run(t, c, corev1.RestartPolicyAlways, "hold", "200Mi")
	ctx, cancel := context.WithTimeout(t.Context(), settle)
	defer cancel()
	var backOff, killed bool
	var last corev1.ContainerStatus
	for !backOff || !killed {
		watch, err := c.Client.CoreV1().Pods(pod.Namespace).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + pod.Name})
		if err != nil {
			t.Fatalf("CrashLoopBackOff seen: %v, OOMKilled seen: %v, last: %+v: %v", backOff, killed, last, err)
		}
		for event := range watch.ResultChan() {
			now, ok := event.Object.(*corev1.Pod)
			if !ok || len(now.Status.ContainerStatuses) == 0 {
				continue
			}
			last = now.Status.ContainerStatuses[0]
			backOff = backOff || last.State.Waiting != nil && last.State.Waiting.Reason == "CrashLoopBackOff"
			if end := last.LastTerminationState.Terminated; end != nil {
				killed = killed || end.Reason == "OOMKilled"
				if end.ExitCode != 137 || last.RestartCount == 0 && last.State.Waiting == nil {
					t.Fatalf("ended with %+v; want 137 and a restart", last)
				}
			}
			if backOff && killed {
				break
			}
		}
		watch.Stop()
	}
	if kills := log.about(string(pod.UID), "oom-kill:"); len(kills) < int(last.RestartCount) {
		t.Errorf("%d restarts, and the kernel log has %d kills", last.RestartCount, len(kills))
	}
}

// plainExit: 137 is only a number.
func plainExit(t *testing.T, c *cluster.Cluster, log *kernelLog) {
	t.Parallel()
	pod := run(t, c, corev1.RestartPolicyNever, "exit", "137")
	if end := terminated(t, c, pod); end.ExitCode != 137 || end.Reason != "Error" {
		t.Errorf("ended with %d, %q; want 137, Error", end.ExitCode, end.Reason)
	}
	if err := log.wantKills(string(pod.UID), 0); err != nil {
		t.Error(err)
	}
}

// run starts a pod with one container "c" of hog with 64 MiB, in a namespace of the test's own.
func run(t *testing.T, c *cluster.Cluster, restart corev1.RestartPolicy, args ...string) *corev1.Pod {
	t.Helper()
	namespace := c.Namespace(t)
	c.Apply(t, namespace, fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: hog}
spec:
  nodeName: %s
  restartPolicy: %s
  automountServiceAccountToken: false
  containers:
  - name: c
    image: %s
    imagePullPolicy: Never
    args: ["%s"]
    resources: {limits: {memory: 64Mi}}
`, cluster.NodeName, restart, cluster.Hog, strings.Join(args, `", "`)))
	pod, err := c.Client.CoreV1().Pods(namespace).Get(t.Context(), "hog", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return pod
}

func get(t *testing.T, c *cluster.Cluster, pod *corev1.Pod) *corev1.Pod {
	t.Helper()
	now, err := c.Client.CoreV1().Pods(pod.Namespace).Get(t.Context(), pod.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return now
}

// running waits until the status of the pod's only container says so.
func running(t *testing.T, c *cluster.Cluster, pod *corev1.Pod) *corev1.Pod {
	t.Helper()
	cluster.Eventually(t, settle, func(context.Context) error {
		pod = get(t, c, pod)
		if len(pod.Status.ContainerStatuses) == 0 || pod.Status.ContainerStatuses[0].State.Running == nil {
			return fmt.Errorf("pod %s does not run: %+v", pod.Name, pod.Status)
		}
		return nil
	})
	return pod
}

// terminated waits for the end of the pod's only container.
func terminated(t *testing.T, c *cluster.Cluster, pod *corev1.Pod) *corev1.ContainerStateTerminated {
	t.Helper()
	var end *corev1.ContainerStateTerminated
	cluster.Eventually(t, settle, func(context.Context) error {
		pod = get(t, c, pod)
		if len(pod.Status.ContainerStatuses) == 0 || pod.Status.ContainerStatuses[0].State.Terminated == nil {
			return fmt.Errorf("pod %s has not ended: %+v", pod.Name, pod.Status)
		}
		end = pod.Status.ContainerStatuses[0].State.Terminated
		return nil
	})
	return end
}

func waitKills(t *testing.T, log *kernelLog, pod *corev1.Pod, n int) {
	t.Helper()
	cluster.Eventually(t, settle, func(context.Context) error { return log.wantKills(string(pod.UID), n) })
}

// waitLine waits until the pod has printed a line that begins so.
func waitLine(t *testing.T, c *cluster.Cluster, pod *corev1.Pod, line string) {
	t.Helper()
	cluster.Eventually(t, settle, func(ctx context.Context) error {
		out, err := c.Client.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{}).DoRaw(ctx)
		if err != nil {
			return err
		}
		if !strings.Contains("\n"+string(out), "\n"+line) {
			return fmt.Errorf("no line %q in:\n%s", line, out)
		}
		return nil
	})
}
