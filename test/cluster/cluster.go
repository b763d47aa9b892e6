// Package cluster starts a real one-node Kubernetes for tests: etcd, API server,
// controller manager and scheduler, a kubelet, containerd and runc, with nothing
// replaced. Pods run; the kernel kills them when they exceed their limits.
//
// A test binary that uses it calls [Main] from TestMain, because the same binary
// is also what supervises the cluster, in processes of its own. [Start] gives all
// tests with equal [Options] the same cluster, so they work in a namespace each
// ([Cluster.Namespace]). When the tests are over, or are killed, the cluster goes
// and leaves nothing; see package internal/supervise for how.
//
// The node shares this machine's kernel and memory, and thereby its version of
// cgroups. What is missing, because tests of memory have no use for it: DNS and a
// kube-proxy, so that of all Services only "kubernetes" has an address that
// answers.
package cluster

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"stella/test/cluster/internal/programs"
	"stella/test/cluster/internal/supervise"
)

// Level is how much of a cluster runs.
type Level = supervise.Level

// The levels, each with what the one before it has.
const (
	// API is etcd and the API server: enough for everything that only talks to
	// Kubernetes. It needs no root and is up in seconds.
	API = supervise.API
	// Node adds containerd and the kubelet: pods that name their node run.
	Node = supervise.Node
	// Full adds the controller manager and the scheduler.
	Full = supervise.Full
)

// NodeName is the name of the node.
const NodeName = supervise.NodeName

// Options say what is wanted of a cluster. The zero value is a [Full] one.
type Options struct {
	Level Level
	// Kubelet is laid over the kubelet's configuration, top-level key by key, for
	// example {"singleProcessOOMKill": true}.
	Kubelet map[string]any
}

// Cluster is a running cluster. It is safe for concurrent use.
type Cluster struct {
	// Kubeconfig is the administrator's. It works on this machine, outside the node.
	Kubeconfig string
	// Config, Client and Dynamic are the administrator's too, without a limit on requests.
	Config  *rest.Config
	Client  kubernetes.Interface
	Dynamic dynamic.Interface

	// Dir is the cluster's directory; the logs of its daemons are in Dir/logs.
	Dir string
	// Programs is the directory with kubectl and the others, of the cluster's version.
	Programs string

	options Options
	nodePID int
	apply   applier

	keeper *exec.Cmd
	stdin  io.Closer
}

// New starts a cluster that belongs to the caller, who must Close it. Tests have
// [Start] for that. What it does for minutes, it says on log.
func New(ctx context.Context, options Options, log io.Writer) (*Cluster, error) {
	if !ready {
		return nil, errors.New("cluster.Main was not called: TestMain must, or main through cluster.Supervise")
	}
	options.Level = cmp.Or(options.Level, Full)
	if !slices.Contains([]Level{API, Node, Full}, options.Level) {
		return nil, fmt.Errorf("there is no level %q of a cluster: say %s, %s or %s", options.Level, API, Node, Full)
	}
	if options.Level != API && os.Geteuid() != 0 {
		return nil, fmt.Errorf("a cluster of level %s has a node, and that needs root; level %s does not", options.Level, API)
	}
	config := supervise.Config{Level: options.Level, Base: os.TempDir(), Kubelet: options.Kubelet}
	var err error
	if config.Programs, err = programs.Kubernetes(ctx, log); err != nil {
		return nil, err
	}
	if options.Level != API {
		scratch, err := os.MkdirTemp("", "stella-image-")
		if err != nil {
			return nil, fmt.Errorf("make an image: %w", err)
		}
		defer os.RemoveAll(scratch)
		if config.PauseImage, err = imageArchive(ctx, hog, scratch); err != nil {
			return nil, err
		}
		config.PauseRef = Hog
	}
	c := &Cluster{options: options, Programs: config.Programs}
	if err := c.start(ctx, config, log); err != nil {
		return nil, err
	}
	if err := c.connect(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// Build builds Kubernetes into the cache if it is not there, which takes minutes
// and is said on log.
func Build(ctx context.Context, log io.Writer) error {
	_, err := programs.Kubernetes(ctx, log)
	return err
}

// Programs builds Kubernetes, the hog and the agent, if need be, and puts them into a
// directory. Where STELLA_TEST_PROGRAMS names it, nothing else is built.
func Programs(ctx context.Context, dir string, log io.Writer) error {
	kubernetes, err := programs.Kubernetes(ctx, log)
	if err != nil {
		return err
	}
	if err := programs.Copy(kubernetes, dir); err != nil {
		return err
	}
	for _, pkg := range append([]string{hog}, guests...) {
		if _, err := programs.Static(ctx, pkg, dir); err != nil {
			return err
		}
	}
	return nil
}

// start runs the keeper until it reports.
func (c *Cluster) start(ctx context.Context, config supervise.Config, log io.Writer) error {
	encoded, err := json.Marshal(config)
	if err != nil {
		return fmt.Errorf("start a cluster: %w", err)
	}
	c.keeper = exec.Command("/proc/self/exe", "keeper", string(encoded))
	c.keeper.Args[0] = supervise.Name
	c.keeper.Stderr = log
	// Ctrl-C is for the test; the keeper hears of it when the test is gone.
	c.keeper.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	stdout, err := c.keeper.StdoutPipe()
	if err != nil {
		return fmt.Errorf("start a cluster: %w", err)
	}
	if c.stdin, err = c.keeper.StdinPipe(); err != nil {
		return fmt.Errorf("start a cluster: %w", err)
	}
	if err := c.keeper.Start(); err != nil {
		return fmt.Errorf("start a cluster: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { c.stdin.Close() })
	defer stop()
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	var report supervise.Report
	if err == nil {
		err = json.Unmarshal(line, &report)
	}
	if err == nil && report.Error != "" {
		err = errors.New(report.Error)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("start a cluster: %w", err), c.Close())
	}
	c.Dir, c.nodePID = report.Dir, report.NodePID
	return nil
}

func (c *Cluster) connect() error {
	var err error
	c.Kubeconfig = filepath.Join(c.Dir, supervise.AdminKubeconfig)
	if c.Config, err = clientcmd.BuildConfigFromFlags("", c.Kubeconfig); err != nil {
		return fmt.Errorf("read the cluster's kubeconfig: %w", err)
	}
	c.Config.QPS = -1 // tests look often, and the server is theirs alone
	if c.Client, err = kubernetes.NewForConfig(c.Config); err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	if c.Dynamic, err = dynamic.NewForConfig(c.Config); err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	return nil
}

// Close ends the cluster and everything that ran in it, and returns when it is
// gone. An error names what could not be removed.
func (c *Cluster) Close() error {
	c.stdin.Close()
	if err := c.keeper.Wait(); err != nil {
		return fmt.Errorf("end the cluster (its own words are above): %w", err)
	}
	return nil
}

// Command prepares a program to run on the node: in its mounts and network, and
// in the cgroup of its daemons, so that it ends with the cluster at the latest.
func (c *Cluster) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", append([]string{"enter", c.Dir, strconv.Itoa(c.nodePID), name}, args...)...)
	cmd.Args[0] = supervise.Name
	return cmd
}

// RestartKubelet kills the kubelet, starts it with other keys laid over its
// configuration than [Options].Kubelet, and returns when it is healthy. Pods stay.
// Not for a cluster that tests share.
func (c *Cluster) RestartKubelet(t testing.TB, kubelet map[string]any) {
	t.Helper()
	if err := supervise.RestartKubelet(t.Context(), c.Dir, kubelet); err != nil {
		t.Fatal(err)
	}
}

// Kubectl prepares kubectl, of the cluster's own version, to run on this machine.
func (c *Cluster) Kubectl(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, filepath.Join(c.Programs, "kubectl"), append([]string{"--kubeconfig", c.Kubeconfig}, args...)...)
}

// Path returns where a file of the node is, seen from this machine.
func (c *Cluster) Path(file string) string {
	return filepath.Join("/proc", strconv.Itoa(c.nodePID), "root", file)
}

// Dial connects to a TCP address inside the node's network: a pod's, or one of
// the node's loopback.
func (c *Cluster) Dial(ctx context.Context, address string) (net.Conn, error) {
	return supervise.Dial(ctx, filepath.Join(c.Dir, supervise.DialSocket), address)
}

// Listen opens a TCP socket of this process at an address of the node, for pods
// and programs there to reach. A socket belongs to the network namespace of the
// thread that made it, and works from any thread afterwards; so one thread goes
// into the node's for as long as that takes.
func (c *Cluster) Listen(address string) (net.Listener, error) {
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("find this process's network: %w", err)
	}
	defer own.Close()
	node, err := os.Open(filepath.Join("/proc", strconv.Itoa(c.nodePID), "ns/net"))
	if err != nil {
		return nil, fmt.Errorf("find the node's network: %w", err)
	}
	defer node.Close()
	runtime.LockOSThread()
	if err := unix.Setns(int(node.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("enter the node's network: %w", err)
	}
	listener, err := net.Listen("tcp", address)
	if back := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); back != nil {
		// The thread stays locked, so that nothing else comes to run on it.
		if err == nil {
			err = listener.Close()
		}
		return nil, errors.Join(err, fmt.Errorf("leave the node's network: %w", back))
	}
	runtime.UnlockOSThread()
	if err != nil {
		return nil, fmt.Errorf("listen on the node: %w", err)
	}
	return listener, nil
}

// Forward leads from an address on this machine's loopback, which it returns, to
// one inside the node's network until the test ends.
func (c *Cluster) Forward(t testing.TB, address string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("lead to %s in the node's network: %v", address, err)
	}
	t.Cleanup(func() { listener.Close() })
	go supervise.Forward(listener, filepath.Join(c.Dir, supervise.DialSocket), address)
	return listener.Addr().String()
}
