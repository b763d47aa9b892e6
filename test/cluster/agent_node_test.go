package cluster_test

import (
	"context"
	"crypto/rand"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"stella/internal/client"
	"stella/test/cluster"
)

const (
	agentManifest  = "../../deploy/kubernetes/agent.yaml"
	agentNamespace = "stella"
)

// deployAgent applies the manifest as people do, and returns a client of the agent and the token of its metrics.
func deployAgent(t *testing.T, c *cluster.Cluster) (agent *client.Agent, token string) {
	t.Helper()
	image := c.Load(t, "stella/cmd/stella-agent")
	bringCgroups(t, c)
	text, err := os.ReadFile(agentManifest)
	if err != nil {
		t.Fatal(err)
	}
	before, daemonSet, ok := cutDaemonSet(string(text))
	if !ok {
		t.Fatalf("%s does not end with a DaemonSet", agentManifest)
	}
	token = rand.Text() + rand.Text()
	c.Apply(t, "", before)
	kubectl(t, c, "", "--namespace", agentNamespace, "create", "secret", "generic", "stella-agent", "--from-literal=token="+token)
	c.Apply(t, "", onThisNode(t, c, daemonSet, image))
	agentReady(t, c)
	agent, err = client.NewAgent(client.Options{Address: "unix://" + c.Path("/run/stella/agent.sock")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(agent.Close)
	return agent, token
}

func cutDaemonSet(manifest string) (before, daemonSet string, ok bool) {
	at := strings.LastIndex(manifest, "\n---\n")
	if at < 0 {
		return "", "", false
	}
	before, daemonSet = manifest[:at], manifest[at:]
	return before, daemonSet, strings.Contains(daemonSet, "\nkind: DaemonSet\n")
}

// onThisNode is the DaemonSet with the test's image, and with the machine's cgroups in place of the part of them that the
// node has: the kernel log names cgroups from the machine's root.
func onThisNode(t *testing.T, c *cluster.Cluster, daemonSet, image string) string {
	t.Helper()
	var set appsv1.DaemonSet
	if err := yaml.UnmarshalStrict([]byte(daemonSet), &set); err != nil {
		t.Fatalf("%s: %v", agentManifest, err)
	}
	spec := &set.Spec.Template.Spec
	container := &spec.Containers[0]
	if container.Image != "stella-agent:VERSION" {
		t.Errorf("%s: the image is %s", agentManifest, container.Image)
	}
	container.Image, container.ImagePullPolicy = image, corev1.PullNever
	spec.Volumes = append(spec.Volumes, corev1.Volume{Name: "cgroups", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: wholeCgroups(c)}}})
	container.VolumeMounts = append(container.VolumeMounts, corev1.VolumeMount{Name: "cgroups", MountPath: "/host" + memoryHierarchy(c)})
	text, err := yaml.Marshal(&set)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func memoryHierarchy(c *cluster.Cluster) string {
	if c.CgroupV2() {
		return "/sys/fs/cgroup"
	}
	return "/sys/fs/cgroup/memory"
}

// wholeCgroups is where the node has the machine's hierarchy, see bringCgroups. On v1 runc takes the
// first hierarchy that it finds, so it stands behind the node's own.
func wholeCgroups(c *cluster.Cluster) string {
	if c.CgroupV2() {
		return "/run/cgroups-of-the-machine"
	}
	return "/sys/fs/cgroup/machine"
}

func agentReady(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			for _, args := range [][]string{{"describe", "pods"}, {"get", "events"}, {"logs", "daemonset/stella-agent"}} {
				out, err := c.Kubectl(context.Background(), append(args, "--namespace", agentNamespace)...).CombinedOutput()
				t.Logf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
			}
		}
	})
	kubectl(t, c, "", "--namespace", agentNamespace, "rollout", "status", "daemonset/stella-agent", "--timeout", settle.String())
}

// bringCgroups mounts the machine's hierarchy with the memory controller on the node. The node's cgroup namespace shows only
// its own part, which a real node has not; no mount of the machine can be seen there, so a copy of one is
// carried over by a thread that enters, and never leaves.
func bringCgroups(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	tree, err := unix.OpenTree(unix.AT_FDCWD, memoryHierarchy(c), unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		t.Fatalf("copy the mount of the cgroups: %v", err)
	}
	defer unix.Close(tree)
	at := wholeCgroups(c)
	if err := os.Mkdir(c.Path(at), 0o755); err != nil {
		t.Fatal(err)
	}
	node, err := os.Open(filepath.Join(filepath.Dir(filepath.Clean(c.Path("/"))), "ns/mnt"))
	if err != nil {
		t.Fatal(err)
	}
	defer node.Close()
	done := make(chan error)
	go onThreadThatEnds(func() {
		err := unix.Unshare(unix.CLONE_FS)
		if err == nil {
			err = unix.Setns(int(node.Fd()), unix.CLONE_NEWNS)
		}
		if err == nil {
			err = unix.MoveMount(tree, "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH)
		}
		done <- err
	})
	if err := <-done; err != nil {
		t.Fatalf("mount the machine's cgroups on the node: %v", err)
	}
}

// onThreadThatEnds calls f on a thread of its own. The main thread is none: it would stay in the node's
// namespaces, and be found there as left behind.
func onThreadThatEnds(f func()) {
	runtime.LockOSThread() // for good: the thread ends with this goroutine
	if unix.Gettid() != unix.Getpid() {
		f()
		return
	}
	defer runtime.UnlockOSThread()
	var other sync.WaitGroup
	other.Go(func() { onThreadThatEnds(f) }) // elsewhere, while this one is taken
	other.Wait()
}
