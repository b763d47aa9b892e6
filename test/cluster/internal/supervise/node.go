package supervise

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"stella/test/cluster/internal/cage"
)

// startWithin bounds a start. It takes seconds on a free machine and minutes on
// an emulated one.
const startWithin = 5 * time.Minute

// The pauses between two looks at something that gives no signal are a fifth of
// the time waited so far: looking costs, most of all on an emulated machine.
const (
	firstPause = 10 * time.Millisecond
	lastPause  = time.Second
)

// runNode is the node: it starts the daemons, says that they are up, and ends
// with everything when standard input does.
func runNode(dir string) error {
	// The daemons die with this thread, see daemons.start.
	runtime.LockOSThread()
	signal.Ignore(os.Interrupt, syscall.SIGTERM) // the keeper's to hear
	if _, err := io.ReadFull(os.Stdin, make([]byte, len(goAhead))); err != nil {
		return fmt.Errorf("wait for the keeper: %w", err)
	}
	ctx := untilEOF(os.Stdin)
	c, err := readConfig(dir)
	if err != nil {
		return err
	}
	n := &node{Config: c, dir: dir, daemons: newDaemons(dir), asked: make(chan request)}
	if c.Level != API {
		if err := n.moveIn(); err != nil {
			return say(os.Stdout, Report{Error: err.Error()})
		}
		defer func() { _ = cage.EmptyOwn() }() // for when there is no keeper left to do it
	}
	defer n.kill()
	if err := n.startAll(ctx); err != nil {
		return say(os.Stdout, Report{Error: err.Error()})
	}
	if err := say(os.Stdout, Report{Dir: dir, NodePID: os.Getpid()}); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-n.ended:
			return err
		case r := <-n.asked:
			r.answer <- n.restartKubelet(ctx, r.kubelet)
		}
	}
}

// node is the state of the process inside.
type node struct {
	Config
	*daemons
	dir    string
	client kubernetes.Interface
	asked  chan request
}

// moveIn makes this process's namespaces a node's.
func (n *node) moveIn() error {
	if err := cage.Furnish(n.dir); err != nil {
		return err
	}
	if err := cage.Wire(); err != nil {
		return err
	}
	if err := cage.EnterLeaf(); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(NodeName)); err != nil {
		return fmt.Errorf("name the node: %w", err)
	}
	listener, err := net.Listen("unix", filepath.Join(n.dir, DialSocket))
	if err != nil {
		return fmt.Errorf("open the way into the node's network: %w", err)
	}
	go serveDial(listener)
	if listener, err = net.Listen("unix", filepath.Join(n.dir, controlSocket)); err != nil {
		return fmt.Errorf("open the way to change the node: %w", err)
	}
	go serveControl(listener, n.asked)
	return nil
}

// startAll starts the daemons in the order in which they need each other, and
// waits for each only where the next one would otherwise back off for seconds.
func (n *node) startAll(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	if err := errors.Join(n.startEtcd(), n.startAPIServer()); err != nil {
		return err
	}
	if n.Level != API {
		if err := n.startContainerd(); err != nil {
			return err
		}
	}
	if err := n.connect(ctx); err != nil || n.Level == API {
		return err
	}
	if n.Level == Full {
		if err := errors.Join(n.startControllers(), n.startScheduler()); err != nil {
			return err
		}
	}
	if err := n.loadPause(ctx); err != nil {
		return err
	}
	if err := n.startKubelet(); err != nil {
		return err
	}
	return n.await(ctx, "the node to be ready", n.ready)
}

// connect waits for the API server and makes a client.
func (n *node) connect(ctx context.Context) error {
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(n.dir, insideKubeconfig))
	if err != nil {
		return fmt.Errorf("read the kubeconfig: %w", err)
	}
	config.QPS = -1 // no limit: it looks often at first
	if n.client, err = kubernetes.NewForConfig(config); err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	return n.await(ctx, "the API server to be ready", func(ctx context.Context) error {
		return n.client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	})
}

// loadPause imports the image of pod sandboxes, once containerd answers.
func (n *node) loadPause(ctx context.Context) error {
	ctr := func(ctx context.Context, args ...string) *exec.Cmd {
		return exec.CommandContext(ctx, "ctr", append([]string{"--address", containerdSocket}, args...)...)
	}
	if err := n.await(ctx, "containerd to take an image", func(ctx context.Context) error {
		return ImportImage(ctx, ctr, n.PauseImage)
	}); err != nil {
		return err
	}
	return n.await(ctx, "containerd to know an image", func(ctx context.Context) error {
		return KnowsImage(ctx, ctr, n.PauseRef)
	})
}

// ImportImage gives an image archive to containerd through its program ctr. Pods
// can have it when [KnowsImage] says so.
func ImportImage(ctx context.Context, ctr func(context.Context, ...string) *exec.Cmd, archive string) error {
	if out, err := ctr(ctx, "--namespace", "k8s.io", "images", "import", archive).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// KnowsImage tells, by nil, that an imported image has come to containerd's part
// for Kubernetes. That hears of images by events and marks those it knows; a pod
// before that is told that the image is absent, or asks a registry that does not
// exist, and backs off for seconds.
func KnowsImage(ctx context.Context, ctr func(context.Context, ...string) *exec.Cmd, ref string) error {
	out, err := ctr(ctx, "--namespace", "k8s.io", "images", "list", "--quiet", `labels."io.cri-containerd.image"==managed`).CombinedOutput()
	if err == nil && !slices.Contains(strings.Fields(string(out)), ref) {
		err = errors.New("it is not marked")
	}
	if err != nil {
		return fmt.Errorf("%s: %w: %s", ref, err, out)
	}
	return nil
}

// ready says what is missing until a pod can be scheduled and started.
func (n *node) ready(ctx context.Context) error {
	node, err := n.client.CoreV1().Nodes().Get(ctx, NodeName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	isReady := false
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			isReady = condition.Status == corev1.ConditionTrue
			err = fmt.Errorf("node condition Ready: %s", condition.Message)
		}
	}
	if !isReady {
		return errors.Join(err, errors.New("not ready"))
	}
	if n.Level != Full {
		return nil
	}
	if len(node.Spec.Taints) > 0 {
		return fmt.Errorf("the node has the taint %s", node.Spec.Taints[0].Key)
	}
	_, err = n.client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
	return err
}

// await calls f until it succeeds, a daemon ends, or the time is up; then the
// last error tells why.
func (n *node) await(ctx context.Context, what string, f func(context.Context) error) error {
	for pause := firstPause; ; pause = min(pause*5/4, lastPause) {
		err := f(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w: %w", what, context.Cause(ctx), err)
		case ended := <-n.ended:
			return ended
		case <-time.After(pause):
		}
	}
}

// enter makes this process a program on the node of a cluster: first the cgroup
// of its daemons, which is outside the node's view, then its namespaces.
func enter(dir, pid string, command []string) error {
	if err := cage.JoinLeaf(dir); err != nil {
		return err
	}
	nsenter, err := exec.LookPath("nsenter")
	if err != nil {
		return fmt.Errorf("enter the node: %w (package util-linux)", err)
	}
	args := append([]string{nsenter, "--target", pid, "--mount", "--net", "--cgroup", "--uts", "--"}, command...)
	return fmt.Errorf("enter the node: %w", unix.Exec(nsenter, args, os.Environ()))
}
