package gate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"stella/bench/daemon"
	"stella/internal/cgroup"
	"stella/internal/gate"
	"stella/internal/gate/loop"
)

// process is a gate, or what stands beside it.
type process struct {
	t     testing.TB
	cmd   *exec.Cmd
	log   *tail
	out   *bytes.Buffer
	admin string
}

// cycles starts a gate without pauses, and returns when it is ready. group is the memory cgroup that it is to be in, or nil.
func cycles(t testing.TB, o loop.Options, group *cgroup.Group) *process {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	cmd := command(t, "cycles")
	cmd.Stdin = bytes.NewReader(text)
	return launch(t, cmd, group).ready()
}

// gateOf starts a gate as it is released, and returns when it is ready.
func gateOf(t testing.TB, o loop.Options, group *cgroup.Group) *process {
	t.Helper()
	cmd := command(t, "kured-sentinel-gate", flags(o)...)
	cmd.Env = append(os.Environ(), "POD_NAME="+o.PodName)
	return launch(t, cmd, group).ready()
}

// expire starts what removes the gated file when its gate does not renew it.
func expire(t testing.TB, o loop.Options) *process {
	t.Helper()
	return launch(t, command(t, "kured-sentinel-gate", "expire", "--gated-file", o.Gated, "--period", o.Period.String()), nil)
}

// flags are the options as the program has them.
func flags(o loop.Options) []string {
	all := []string{
		"--node", o.Node, "--namespace", o.Namespace, "--raw-file", o.Raw, "--gated-file", o.Gated, "--proc", o.Proc, "--kubeconfig", o.Kubeconfig,
		"--period", o.Period.String(), "--max-iter", strconv.Itoa(o.MaxIter), "--soak", o.Soak.String(), "--delay", o.Delay.String(),
		"--claims=" + strconv.FormatBool(o.Claims), "--budgets=" + strconv.FormatBool(o.Budgets), "--control-plane", strconv.Itoa(o.ControlPlane),
		"--prometheus-url", o.Prometheus, "--alerts-watchdog", o.Watchdog, "--ignore-file", o.IgnoreFile,
		"--kured-daemonset", o.Kured, "--host-root", o.HostRoot, "--admin", o.Admin,
	}
	for _, w := range o.Workloads {
		all = append(all, "--workload", w)
	}
	for _, w := range o.Windows {
		all = append(all, "--window", w)
	}
	return all
}

// launch starts a process, which ends with the test.
func launch(t testing.TB, cmd *exec.Cmd, group *cgroup.Group) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, log: &tail{}, out: new(bytes.Buffer)}
	cmd.Stdout, cmd.Stderr = p.out, p.log
	begin := cmd.Start
	if group != nil {
		begin = func() error { return group.Start(cmd) }
	}
	if err := begin(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.end(syscall.SIGKILL)
		if t.Failed() {
			t.Logf("the end of the log of %s:\n%s", cmd.Path, p.log)
		}
	})
	return p
}

// ready waits until a gate serves its metrics.
func (p *process) ready() *process {
	p.t.Helper()
	line := regexp.MustCompile(`msg=ready .*admin=(\S*)`)
	eventually(p.t, "the gate gets ready", func() bool {
		m := line.FindStringSubmatch(p.log.begin())
		if m != nil {
			p.admin = m[1]
		}
		return m != nil
	})
	return p
}

// end ends the process, if it has not ended, and waits for that.
func (p *process) end(sig syscall.Signal) error {
	if p.cmd.ProcessState != nil {
		return nil
	}
	p.cmd.Process.Signal(sig)
	return p.cmd.Wait()
}

func (p *process) signal(sig syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatal(err)
	}
}

// usage is what the kernel says of it.
func (p *process) usage() daemon.Usage {
	p.t.Helper()
	u, err := daemon.UsageOf(p.cmd.Process.Pid)
	if err != nil {
		p.t.Fatal(err)
	}
	return u
}

// anonymous is how much of its resident memory is of no file, in bytes.
func (p *process) anonymous() float64 {
	p.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "RssAnon:")
	var kib float64
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		p.t.Fatal(err)
	}
	return kib * 1024
}

// metrics are all that it tells Prometheus.
func (p *process) metrics() string {
	p.t.Helper()
	answer, err := http.Get("http://" + p.admin + "/metrics")
	if err != nil {
		p.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(text)
}

// metric is the value of the only series of a name.
func (p *process) metric(name string) float64 {
	p.t.Helper()
	for line := range strings.Lines(p.metrics()) {
		if rest, ok := strings.CutPrefix(line, name+"{"); ok {
			var value float64
			if _, err := fmt.Sscan(rest[strings.LastIndexByte(rest, '}')+1:], &value); err != nil {
				p.t.Fatal(err)
			}
			return value
		}
	}
	return -1
}

// tail keeps the beginning and the end of what is written to it.
type tail struct {
	mu          sync.Mutex
	first, last []byte
}

const maxTail = 8 << 10

func (l *tail) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.first) < maxTail {
		l.first = append(l.first, b...)
	}
	l.last = append(l.last, b...)
	l.last = l.last[max(0, len(l.last)-maxTail):]
	return len(b), nil
}

func (l *tail) begin() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.first)
}

func (l *tail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.last)
}

func command(t testing.TB, name string, args ...string) *exec.Cmd {
	t.Helper()
	return exec.Command(programs.Path(t, name), args...)
}

// checksOf are the names of what was checked, in order.
func checksOf(results []gate.Result) []string {
	var names []string
	for _, r := range results {
		names = append(names, r.Check)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// writeProc writes a file of a process in procfs.
func writeProc(t testing.TB, pid int, name, text string) {
	t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/%s", pid, name), []byte(text), 0); err != nil {
		t.Fatal(err)
	}
}
