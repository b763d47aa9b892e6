package gate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"stella/internal/gate"
	"stella/internal/gate/loop"
)

// wish and state are those of test/gate/double.
type wish struct {
	Faults   map[string]string
	Fire     []string
	Latency  int
	Rebooted bool
	Down     bool
}

type state struct {
	Requests map[string]int
	Verdicts map[string]string
	Turns    []turn
	Events   []string
}

type turn struct {
	At     time.Time
	Holder string
}

// double is a running one.
type double struct {
	t                               testing.TB
	dir                             string
	Prometheus, Control, Kubeconfig string
}

// start starts a double with a number of gates. It ends with the test.
func start(t testing.TB, gates int, flags ...string) *double {
	t.Helper()
	d := &double{t: t, dir: t.TempDir()}
	for i := range gates {
		if err := os.MkdirAll(filepath.Join(d.dir, fmt.Sprintf("n%d", i)), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	d.proc()
	d.ignore(`alertname=~"Routine.+"`, time.Now().Add(time.Hour))
	cmd := exec.Command(programs.Path(t, "double"), append([]string{"--dir", d.dir, "--gates", fmt.Sprint(gates)}, flags...)...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe() // which ends with this process, and then so does the double
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	if err := json.NewDecoder(out).Decode(d); err != nil {
		t.Fatalf("the double does not get ready: %v", err)
	}
	return d
}

// proc is a procfs of a machine that was booted long ago, in the boot that the double tells of nodes with a gate.
func (d *double) proc() {
	for name, text := range map[string]string{
		"sys/kernel/random/boot_id": "0fc542e4-ea54-48ac-946a-98c44b713180\n",
		"uptime":                    "400000.00 1.00\n",
	} {
		file := filepath.Join(d.dir, "proc", name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			d.t.Fatal(err)
		}
		write(d.t, file, text)
	}
}

// ignore makes one rule the only one.
func (d *double) ignore(matcher string, until time.Time) {
	write(d.t, filepath.Join(d.dir, "rules.yaml"), fmt.Sprintf("ignore:\n  - matchers: ['%s']\n    until: %s\n    reason: they fire all the time\n    by: the test\n", matcher, until.UTC().Format(time.RFC3339)))
}

func (d *double) raw(node int) string {
	return filepath.Join(d.dir, fmt.Sprintf("n%d", node), "reboot-required")
}
func (d *double) gated(node int) string {
	return filepath.Join(d.dir, fmt.Sprintf("n%d", node), "gated-reboot-required")
}

// options are those of a gate with all checks.
func (d *double) options(node int) loop.Options {
	name := fmt.Sprintf("n%d", node)
	return loop.Options{
		Node: name, PodName: "gate-" + name, Namespace: "kube-system", Raw: d.raw(node), Gated: d.gated(node), Proc: filepath.Join(d.dir, "proc"),
		Kubeconfig: d.Kubeconfig, Period: 2 * time.Second, Delay: 4 * time.Second, Soak: 24 * time.Hour, Claims: true, Budgets: true, ControlPlane: 2,
		Workloads: []string{"calico-system/k8s-app=calico-node:3", "shop/app=shop:3", "kube-system/daemonset/kube-proxy:3"}, Windows: []string{"0:00-24:00"},
		Prometheus: d.Prometheus, Watchdog: "Watchdog", IgnoreFile: filepath.Join(d.dir, "rules.yaml"), Kured: "kube-system/kured", HostRoot: "/", Admin: "127.0.0.1:0",
	}
}

// allChecks are what options has.
var allChecks = []string{"hold", "nodes", "soak", "control_plane", "workloads", "claims", "budgets", "alerts", "window", "path", "turn"}

// set makes the cluster what it is told, in place of what it was told before.
func (d *double) set(w wish) {
	d.t.Helper()
	body, err := json.Marshal(w)
	if err != nil {
		d.t.Fatal(err)
	}
	answer, err := http.Post(d.Control+"/set", "application/json", bytes.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		d.t.Fatalf("the double: %s", answer.Status)
	}
}

func (d *double) state() state {
	d.t.Helper()
	answer, err := http.Get(d.Control + "/state")
	if err != nil {
		d.t.Fatal(err)
	}
	defer answer.Body.Close()
	var s state
	if err := json.NewDecoder(answer.Body).Decode(&s); err != nil {
		d.t.Fatal(err)
	}
	return s
}

// requests is how many there were.
func (d *double) requests() int {
	d.t.Helper()
	all := 0
	for _, n := range d.state().Requests {
		all += n
	}
	return all
}

// verdict is the newest one of a node's gate that is about a look which began after a time.
func (d *double) verdict(node int, after time.Time) *gate.Verdict {
	d.t.Helper()
	var v *gate.Verdict
	eventually(d.t, "the gate tells a verdict", func() bool {
		text := d.state().Verdicts[fmt.Sprintf("n%d", node)]
		if text == "" {
			return false
		}
		var err error
		if v, err = gate.ReadVerdict(text); err != nil {
			d.t.Fatal(err)
		}
		return v.Time.After(after)
	})
	return v
}
