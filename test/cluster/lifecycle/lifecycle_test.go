package lifecycle_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stella/test/cluster"
)

// A cluster that is left behind makes the next failure a riddle. So these tests
// end clusters in every way in which one can end, and look for what remains.

// holdEnv makes this binary a program that holds a cluster until it is killed.
const holdEnv = "STELLA_LIFECYCLE_HOLD"

func TestMain(m *testing.M) {
	cluster.Supervise()
	if os.Getenv(holdEnv) != "" {
		hold()
	}
	os.Exit(cluster.Main(m))
}

// hold prints the cluster's directory and waits for the end, which is SIGKILL.
func hold() {
	c, err := cluster.New(context.Background(), cluster.Options{}, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(c.Dir)
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM)
	<-end
}

func TestTenStarts(t *testing.T) {
	cluster.Need(t, cluster.Full)
	var dead *traces // of a cluster whose processes were killed before they could clean up
	for i := range 10 {
		begin := time.Now()
		c := startWithPod(t)
		up := time.Since(begin)
		if dead != nil {
			if left := dead.left(t); len(left) > 0 {
				t.Errorf("start %d did not sweep what the killed cluster left: %s", i, strings.Join(left, "\n"))
			}
			dead = nil
		}
		tr := trace(t, c)
		if i == 5 {
			kill(t, tr.keeper(t), tr.node(t))
			if err := c.Close(); err == nil {
				t.Error("Close said nothing of the keeper that was killed")
			}
			if len(tr.left(t)) == 0 {
				t.Error("nothing is left of a cluster that was killed: this test looks at the wrong things")
			}
			dead = &tr
			continue
		}
		begin = time.Now()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		t.Logf("start %d: a pod ran after %v; %d processes, %d namespaces; gone after %v",
			i, up.Round(time.Millisecond), len(tr.processes), len(tr.namespaces), time.Since(begin).Round(time.Millisecond))
		if left := tr.left(t); len(left) > 0 {
			t.Errorf("start %d left:\n%s", i, strings.Join(left, "\n"))
		}
	}
}

func TestNodeIsKilled(t *testing.T) {
	cluster.Need(t, cluster.Full)
	c := startWithPod(t)
	tr := trace(t, c)
	kill(t, tr.node(t))
	cluster.Eventually(t, time.Minute, func(context.Context) error {
		if errors.Is(syscall.Kill(tr.node(t), 0), syscall.ESRCH) {
			return nil
		}
		return errors.New("the keeper has not waited for the node")
	})
	if err := c.Close(); err == nil {
		t.Error("Close said nothing of the node that was killed")
	}
	gone(t, tr)
}

func TestKeeperIsKilled(t *testing.T) {
	cluster.Need(t, cluster.Full)
	c := startWithPod(t)
	tr := trace(t, c)
	kill(t, tr.keeper(t))
	if err := c.Close(); err == nil {
		t.Error("Close said nothing of the keeper that was killed")
	}
	// The node ends what runs; directory and cgroups are for the next start.
	cluster.Eventually(t, time.Minute, func(context.Context) error {
		for _, what := range tr.left(t) {
			if strings.HasPrefix(what, "process") || strings.HasPrefix(what, "namespace") {
				return errors.New(what)
			}
		}
		return nil
	})
	next, err := cluster.New(t.Context(), cluster.Options{Level: cluster.API}, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	gone(t, tr)
	if err := next.Close(); err != nil {
		t.Error(err)
	}
}

func TestTheTestItselfIsKilled(t *testing.T) {
	cluster.Need(t, cluster.Full)
	test := exec.Command("/proc/self/exe")
	test.Env = append(os.Environ(), holdEnv+"=1")
	test.Stderr = os.Stderr
	out, err := test.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := test.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	tr := trace(t, &cluster.Cluster{Dir: strings.TrimSpace(line)})
	kill(t, test.Process.Pid)
	_ = test.Wait()
	gone(t, tr)
}

func TestClustersDoNotCollide(t *testing.T) {
	cluster.Need(t, cluster.Full)
	levels := []cluster.Level{cluster.Full, cluster.Full, cluster.API}
	clusters := make([]*cluster.Cluster, len(levels))
	errs := make([]error, len(levels))
	var wg sync.WaitGroup
	for i, level := range levels {
		wg.Go(func() { clusters[i], errs[i] = cluster.New(t.Context(), cluster.Options{Level: level}, os.Stderr) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	for i, c := range clusters {
		name := fmt.Sprintf("of-cluster-%d", i)
		c.Apply(t, "default", "{apiVersion: v1, kind: ConfigMap, metadata: {name: "+name+"}}")
	}
	for i, c := range clusters {
		list, err := c.Client.CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range list.Items {
			if m.Name != "kube-root-ca.crt" && m.Name != fmt.Sprintf("of-cluster-%d", i) {
				t.Errorf("cluster %d has %s", i, m.Name)
			}
		}
		tr := trace(t, c)
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		gone(t, tr)
	}
}

// gone waits until nothing of a cluster is left.
func gone(t *testing.T, tr traces) {
	t.Helper()
	cluster.Eventually(t, time.Minute, func(context.Context) error {
		if left := tr.left(t); len(left) > 0 {
			return errors.New(strings.Join(left, "\n"))
		}
		return nil
	})
}

// kill sends SIGKILL to processes of a cluster of this test.
func kill(t *testing.T, pids ...int) {
	t.Helper()
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
}

// startWithPod starts a cluster and a pod in it that would never end.
func startWithPod(t *testing.T) *cluster.Cluster {
	t.Helper()
	c, err := cluster.New(t.Context(), cluster.Options{}, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	c.Apply(t, "default", fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: stubborn}
spec:
  nodeName: %s
  automountServiceAccountToken: false
  containers: [{name: c, image: %s, imagePullPolicy: Never, args: [hold, 16Mi, --ignore-term]}]
`, cluster.NodeName, cluster.Hog))
	cluster.Eventually(t, time.Minute, func(ctx context.Context) error {
		pod, err := c.Client.CoreV1().Pods("default").Get(ctx, "stubborn", metav1.GetOptions{})
		if err == nil && pod.Status.Phase != corev1.PodRunning {
			err = errors.New("the pod does not run yet")
		}
		return err
	})
	return c
}
