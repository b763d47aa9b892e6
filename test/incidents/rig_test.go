package incidents

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"stella/internal/cgroup"
	"stella/internal/client"
	"stella/internal/incident"
	"stella/internal/oom"
	"stella/internal/oom/tree"
	"stella/internal/testkit"
)

const (
	limit = 32 << 20
	// patience bounds each wait for what comes within seconds.
	patience = time.Minute
)

// rig is an agent as it is released, and a container whose children can be killed.
type rig struct {
	*testing.T
	dir    string
	id     string // of the container, as it is in the path of its cgroup
	agent  *exec.Cmd
	args   []string // more of the agent's
	asks   *client.Agent
	stdin  io.Writer
	stdout *bufio.Scanner
	cgroup string
	killed int64
}

func newRig(t *testing.T) *rig {
	t.Helper()
	testkit.Need(t, testkit.Root, testkit.MemoryCgroup)
	t.Parallel() // most of the time something is waited for
	r := &rig{T: t, dir: t.TempDir(), id: newID()}
	var err error
	if r.asks, err = client.NewAgent(client.Options{Address: r.address(), UserAgent: "test"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.asks.Close)
	r.contain()
	return r
}

func newID() string {
	var id [32]byte
	_, _ = rand.Read(id[:]) // it never fails
	return hex.EncodeToString(id[:])
}

func (r *rig) address() string { return "unix://" + filepath.Join(r.dir, "s") }

// contain makes the container.
func (r *rig) contain() {
	r.Helper()
	g, err := cgroup.New("test-incidents", cgroup.Limit{Memory: 8 * limit})
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() {
		if err := g.Close(); err != nil {
			r.Error(err)
		}
	})
	h, err := tree.Find("/proc", "/sys/fs/cgroup")
	if err != nil {
		r.Fatal(err)
	}
	dir := filepath.Join(g.Dir(), "docker-"+r.id+".scope")
	files := map[int]string{1: "memory.limit_in_bytes", 2: "memory.max"}
	if h.Version == 2 {
		r.write(filepath.Join(g.Dir(), "cgroup.subtree_control"), "+memory")
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		r.Fatal(err)
	}
	r.write(filepath.Join(dir, files[h.Version]), strconv.Itoa(limit))
	rel, err := filepath.Rel(h.Mount, dir)
	if err != nil {
		r.Fatal(err)
	}
	r.cgroup = filepath.Join(h.Root, rel)
	cmd := as("parent " + dir)
	in, err := cmd.StdinPipe()
	if err != nil {
		r.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		r.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			r.Errorf("the container's first process did not live on: %v", err)
		}
	})
	r.stdin, r.stdout = in, bufio.NewScanner(out)
	if !r.stdout.Scan() {
		r.Fatal("the parent is not there")
	}
}

func (r *rig) write(file, text string) {
	r.Helper()
	if err := os.WriteFile(file, []byte(text), 0); err != nil {
		r.Fatal(err)
	}
}

// kill lets children be killed, one after the other.
func (r *rig) kill(n int) {
	r.Helper()
	for range n {
		if _, err := io.WriteString(r.stdin, "\n"); err != nil {
			r.Fatal(err)
		}
		if !r.stdout.Scan() {
			r.Fatal("the parent ended")
		}
		r.killed++
	}
}

// start starts the agent, and waits until it watches the container.
func (r *rig) start() {
	r.Helper()
	log, err := os.OpenFile(filepath.Join(r.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		r.Fatal(err)
	}
	defer log.Close()
	args := append([]string{"--state-dir", filepath.Join(r.dir, "state"), "--socket", filepath.Join(r.dir, "s"), "--admin", "", "--no-kubernetes", "--no-bpf", "--bpf-dir", filepath.Join(r.dir, "bpf")}, r.args...)
	r.agent = exec.Command(programs.Path(r, "stella-agent"), args...)
	r.agent.Stderr = log
	r.agent.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := r.agent.Start(); err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() {
		r.end(syscall.SIGTERM)
		if text, err := os.ReadFile(log.Name()); err == nil && r.Failed() {
			r.Logf("the agent's log:\n%s", text)
		}
	})
	r.until("the container is watched", func() bool {
		all, _ := r.asks.Usage(r.Context()) // it does not answer yet
		for _, u := range all {
			if u.Cgroup == r.cgroup {
				return true
			}
		}
		return false
	})
}

func (r *rig) end(sig syscall.Signal) {
	if r.agent == nil {
		return
	}
	_ = r.agent.Process.Signal(sig)
	err := r.agent.Wait()
	if sig == syscall.SIGTERM && err != nil {
		r.Errorf("the agent ended with %v", err)
	}
	r.agent = nil
}

// until waits until something is so. Nobody is told of it.
func (r *rig) until(what string, ok func() bool) {
	r.Helper()
	for begin := time.Now(); !ok(); time.Sleep(100 * time.Millisecond) {
		if time.Since(begin) > patience {
			r.Fatalf("not within %v: %s: %+v", patience, what, r.incidents())
		}
	}
}

// incidents are those of the container, the newest first.
func (r *rig) incidents() (ours []incident.Incident) {
	all, err := r.asks.Incidents(r.Context(), incident.Filter{})
	if err != nil {
		return nil
	}
	for _, in := range all {
		if in.Subject.Cgroup == r.cgroup {
			ours = append(ours, in)
		}
	}
	return ours
}

// pids are those that the kills of an incident name, in order.
func pids(t *testing.T, d incident.Details) (all []int) {
	t.Helper()
	defer func() { slices.Sort(all) }()
	for _, e := range d.Timeline {
		if e.Kind != incident.Killed {
			continue
		}
		var k oom.Kill
		if err := json.Unmarshal(e.Data, &k); err != nil {
			t.Fatal(err)
		}
		all = append(all, k.Process.PID)
	}
	return all
}

// stella runs a command, and returns what it says; its exit code has to be code.
func (r *rig) stella(code int, args ...string) string {
	r.Helper()
	var out bytes.Buffer
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, programs.Path(r, "stella"), args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "STELLA_AGENT=" + r.address(), "XDG_RUNTIME_DIR=" + r.dir}
	cmd.Stdout, cmd.Stderr = &out, &out
	_ = cmd.Run()
	if got := cmd.ProcessState.ExitCode(); got != code {
		r.Errorf("stella %v: exit %d, want %d\n%s", args, got, code, out.String())
	}
	return out.String()
}
