package supervise

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"stella/test/cluster/internal/cage"
	"stella/test/cluster/internal/pki"
)

// childlessWithin is generous: everything was killed before.
const childlessWithin = 10 * time.Second

// Name is what a process calls itself, as argument 0, to be one of the two, or
// to become a program on the node.
const Name = "stella-cluster"

// Run is the whole life of a supervising process: args are those after Name. It
// returns the exit code.
func Run(args []string) int {
	err := fmt.Errorf("want keeper CONFIG, node DIRECTORY or enter DIRECTORY PID COMMAND, got %q", args)
	switch {
	case len(args) > 3 && args[0] == "enter":
		err = enter(args[1], args[2], args[3:])
	case len(args) == 2 && args[0] == "keeper":
		err = keep(args[1])
	case len(args) == 2 && args[0] == "node":
		err = runNode(args[1])
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", Name, err)
		return 1
	}
	return 0
}

// keep holds a cluster until standard input ends or a signal comes.
func keep(config string) (err error) {
	ctx, stop := signal.NotifyContext(untilEOF(os.Stdin), os.Interrupt, syscall.SIGTERM)
	defer stop()
	up := false
	defer func() {
		if err != nil && !up {
			err = say(os.Stdout, Report{Error: err.Error()})
		}
	}()
	var c Config
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	if swept, err := cage.Sweep(c.Base); err != nil {
		return fmt.Errorf("remove what earlier clusters %v left: %w", swept, err)
	}
	place, err := cage.New(c.Base, c.Level != API)
	if err != nil {
		return err
	}
	var node *nodeProcess
	defer func() {
		node.stop()
		err = errors.Join(err, place.Close(), node.wait())
	}()
	door, err := prepare(c, place.Dir)
	if err != nil {
		return err
	}
	defer door.Close()
	if err := adopt(); err != nil {
		return err
	}
	if node, err = startNode(c, place); err != nil {
		return err
	}
	report, err := node.report(ctx)
	if err != nil {
		return err
	}
	if listener, ok := door.(net.Listener); ok {
		go Forward(listener, filepath.Join(place.Dir, DialSocket), apiInside)
	}
	if err := say(os.Stdout, report); err != nil {
		return err
	}
	up = true
	select {
	case <-ctx.Done():
	case <-node.exited:
	}
	if ended := node.stop(); ended {
		return errors.New("the node ended by itself")
	}
	return nil
}

// prepare writes keys, kubeconfigs and the configuration. It returns what holds
// the API server's address on this machine: at API a reservation of its port, and
// above that a listener that leads into the node.
func prepare(c Config, dir string) (io.Closer, error) {
	if err := os.Mkdir(filepath.Join(dir, Logs), 0o700); err != nil {
		return nil, err
	}
	if c.Level != API {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("open a way to the API server: %w", err)
		}
		return listener, errors.Join(c.write(dir), writeKeys(dir, apiInside, listener.Addr().String()))
	}
	reserved, port, err := reservePort()
	if err != nil {
		return nil, err
	}
	c.Port = port
	outside := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	return reserved, errors.Join(c.write(dir), writeKeys(dir, outside, outside))
}

// reservePort binds a free port of loopback without listening. The API server
// binds it too, both with SO_REUSEPORT; nobody else can meanwhile.
func reservePort() (io.Closer, int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, 0, fmt.Errorf("reserve a port: %w", err)
	}
	socket := os.NewFile(uintptr(fd), "reserved port")
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	}
	if err == nil {
		var bound unix.Sockaddr
		if bound, err = unix.Getsockname(fd); err == nil {
			return socket, bound.(*unix.SockaddrInet4).Port, nil
		}
	}
	return nil, 0, errors.Join(fmt.Errorf("reserve a port: %w", err), socket.Close())
}

// writeKeys makes the authority, the servers' certificates and the kubeconfigs:
// the daemons' for the API server's address inside, the admin's for outside.
func writeKeys(dir, inside, outside string) error {
	ca, err := pki.New(dir)
	if err != nil {
		return err
	}
	servers := map[string][]string{
		"apiserver": {"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost", "127.0.0.1", cage.ServiceIP, cage.NodeIP},
		"kubelet":   {NodeName, cage.NodeIP, "127.0.0.1"},
	}
	for name, names := range servers {
		id, err := ca.Server(names...)
		if err != nil {
			return err
		}
		if err := ca.Write(name, id); err != nil {
			return err
		}
	}
	admin, err := ca.Client("admin", "system:masters")
	if err != nil {
		return err
	}
	return errors.Join(
		ca.ServiceAccountKey(),
		ca.Write("admin", admin),
		ca.Kubeconfig("admin", "https://"+outside, "admin", "system:masters"),
		ca.Kubeconfig("inside", "https://"+inside, "admin", "system:masters"),
		ca.Kubeconfig("kubelet", "https://"+inside, "system:node:"+NodeName, "system:nodes"),
		ca.Kubeconfig("controllers", "https://"+inside, "system:kube-controller-manager"),
		ca.Kubeconfig("scheduler", "https://"+inside, "system:kube-scheduler"),
	)
}

// goAhead is the first byte of the node's standard input: the keeper has left the
// cage again.
const goAhead = "\n"

// nodeProcess is the node, seen from the keeper. The nil one has ended.
type nodeProcess struct {
	cmd   *exec.Cmd
	stdin io.Closer
	out   *bufio.Reader
	// exited is closed when the node has ended, childless when all that it started has too.
	exited, childless chan struct{}
}

// startNode starts the node, at Node and above in namespaces of its own whose
// cgroup root is the cage.
func startNode(c Config, place *cage.Cage) (*nodeProcess, error) {
	n := &nodeProcess{exited: make(chan struct{}), childless: make(chan struct{})}
	n.cmd = exec.Command("/proc/self/exe", "node", place.Dir)
	n.cmd.Args[0] = Name
	n.cmd.Stderr = os.Stderr
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := n.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := n.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	n.stdin, n.out = stdin, bufio.NewReader(stdout)
	if c.Level == API {
		err = n.cmd.Start()
	} else {
		n.cmd.SysProcAttr.Cloneflags = unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS
		err = startInside(n.cmd, place)
	}
	if err != nil {
		return nil, fmt.Errorf("start the node: %w", err)
	}
	if _, err := io.WriteString(stdin, goAhead); err != nil {
		return nil, fmt.Errorf("start the node: %w", err)
	}
	go func() {
		defer close(n.childless)
		reap(n.cmd.Process.Pid, func() { close(n.exited) })
	}()
	return n, nil
}

func startInside(cmd *exec.Cmd, place *cage.Cage) error {
	leave, err := place.Enter()
	if err != nil {
		return err
	}
	if err := errors.Join(cmd.Start(), leave()); err != nil {
		return err
	}
	return place.Watch(cmd.Process.Pid)
}

// report waits for the node's word.
func (n *nodeProcess) report(ctx context.Context) (Report, error) {
	got := make(chan Report, 1)
	go func() {
		var r Report
		line, err := n.out.ReadBytes('\n')
		if err != nil {
			err = errors.New("the node ended before it was up")
		} else {
			err = json.Unmarshal(line, &r)
		}
		if err != nil {
			r.Error = err.Error()
		}
		got <- r
	}()
	select {
	case r := <-got:
		if r.Error != "" {
			return Report{}, errors.New(r.Error)
		}
		return r, nil
	case <-ctx.Done():
		return Report{}, errors.New("nobody waits for the cluster any more")
	}
}

// stop ends the node, and says whether it had ended before. What it started ends
// with it, or with the place.
func (n *nodeProcess) stop() (ended bool) {
	if n == nil {
		return false
	}
	n.stdin.Close()
	select {
	case <-n.exited: // its number may be another's by now
		return true
	default:
	}
	err := unix.Kill(n.cmd.Process.Pid, unix.SIGKILL)
	<-n.exited
	return errors.Is(err, unix.ESRCH)
}

// wait returns when no process that the node started is left, not even as an
// entry in the process table.
func (n *nodeProcess) wait() error {
	if n == nil {
		return nil
	}
	select {
	case <-n.childless:
		return nil
	case <-time.After(childlessWithin):
		return fmt.Errorf("children of the cluster have not ended %v after SIGKILL", childlessWithin)
	}
}

// untilEOF returns a context that ends when r does: a pipe's other end was closed.
func untilEOF(r io.Reader) context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, r)
		cancel()
	}()
	return ctx
}
