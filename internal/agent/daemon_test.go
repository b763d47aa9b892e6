package agent

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"stella/internal/client"
	"stella/internal/oom"
	"stella/internal/oom/tree/treetest"
	"stella/internal/testkit"
)

func TestMain(m *testing.M) {
	treetest.Hog()
	os.Exit(m.Run())
}

const mib = 1 << 20

// patience is how long a test waits for what comes within seconds on an idle machine.
const patience = time.Minute

// daemon is an agent of this machine in this process, with its state and socket in a directory of the test.
type daemon struct {
	*testing.T
	*client.Agent
	log    *words
	socket string
	admin  string
	stop   func() error
	// mayFail says that it may end with an error.
	mayFail bool
}

// start starts one. What o leaves empty is the test's own.
func start(t *testing.T, o Options) *daemon {
	t.Helper()
	testkit.Need(t, testkit.Root, testkit.MemoryCgroup)
	dir := t.TempDir()
	if o.StateDir == "" {
		o.StateDir = filepath.Join(dir, "state")
	}
	d := &daemon{T: t, log: new(words)}
	o.Version, o.Node, o.Socket, o.Admin, o.NoKubernetes = "test", "n1", filepath.Join(dir, "s"), "127.0.0.1:0", true
	o.NoBPF, o.BPFDir = true, filepath.Join(dir, "bpf") // the machine's own is not this test's
	d.socket = o.Socket
	o.Log = slog.New(slog.NewTextHandler(d.log, nil))
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- Run(ctx, o, func() { close(ready) }) }()
	d.stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() {
		if err := d.stop(); err != nil && !d.mayFail {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the agent's log:\n%s", d.log)
		}
	})
	select {
	case <-ready:
	case err := <-ended:
		ended <- err
		t.Fatalf("it ended: %v", err)
	}
	d.admin = "http://" + regexp.MustCompile(`admin=(\S+)`).FindStringSubmatch(d.log.String())[1]
	var err error
	if d.Agent, err = client.NewAgent(client.Options{Address: "unix://" + o.Socket, UserAgent: "test"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Agent.Close)
	return d
}

// sees waits until a cgroup is watched.
func (d *daemon) sees(cgroup string) {
	d.Helper()
	for begin := time.Now(); ; time.Sleep(10 * time.Millisecond) { // nobody is told of it
		all, err := d.Usage(d.Context())
		if err != nil {
			d.Fatal(err)
		}
		if slices.ContainsFunc(all, func(u oom.Usage) bool { return u.Cgroup == cgroup }) {
			return
		}
		if time.Since(begin) > patience {
			d.Fatalf("%q is not seen within %v", cgroup, patience)
		}
	}
}

// killed waits for the kill of a process in a cgroup. What is certain must be so; where others kill by the hundred
// at the same time, it may not be certain who it was, and the ledger says so.
func (d *daemon) killed(cgroup string, pid int) (found oom.Kill) {
	d.Helper()
	ctx, cancel := context.WithTimeout(d.Context(), patience)
	defer cancel()
	err := d.Watch(ctx, unknown, func(e oom.KillEvent) error {
		if e.Kill.Cgroup == cgroup && e.Kill.Limit.Cgroup != "" {
			found = e.Kill
			return errFound
		}
		return nil
	})
	if !errors.Is(err, errFound) {
		d.Fatalf("no kill in %q was told: %v", cgroup, err)
	}
	if found.Process.PID != pid && (found.Confidence == oom.Certain || found.Doubt == "") {
		d.Errorf("pid %d was killed; the ledger has %+v", pid, found)
	}
	return found
}

var errFound = errors.New("found")

// until waits until the agent says of itself what it should.
func (d *daemon) until(what string, ok func(oom.AgentStatus) bool) oom.AgentStatus {
	d.Helper()
	for begin := time.Now(); ; time.Sleep(10 * time.Millisecond) { // nobody is told of it
		s, err := d.Status(d.Context())
		if err != nil {
			d.Fatal(err)
		}
		if ok(s) {
			return s
		}
		if time.Since(begin) > patience {
			d.Fatalf("not within %v: %s: %+v", patience, what, s)
		}
	}
}

// witness is how one witness does.
func (d *daemon) witness(name oom.Witness) oom.WitnessReport {
	d.Helper()
	s := d.until(string(name)+" is mentioned", func(s oom.AgentStatus) bool { return find(s, name).State != "" })
	return find(s, name)
}

func find(s oom.AgentStatus, name oom.Witness) oom.WitnessReport {
	for _, w := range s.Witnesses {
		if w.Name == name {
			return w
		}
	}
	return oom.WitnessReport{}
}

// get is what the listener for metrics and health answers, and the status.
func (d *daemon) get(path string) (int, string) {
	d.Helper()
	answer, text := ask(d.T, http.MethodGet, d.admin+path)
	return answer.StatusCode, text
}

// words is what was logged.
type words struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (w *words) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(b)
}

func (w *words) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// contains fails unless the text has all of the parts.
func contains(t *testing.T, what, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%s does not have %q:\n%s", what, part, text)
		}
	}
}
