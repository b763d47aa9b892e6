package oom

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"stella/internal/cgroup"
	"stella/internal/client"
	"stella/internal/oom"
	"stella/internal/oom/tree"
	"stella/internal/oom/victims"
	"stella/internal/testkit"
)

const mib = 1 << 20

// rig is an agent, and cgroups in which processes die.
type rig struct {
	*testing.T
	dir   string
	tree  tree.Hierarchy
	agent *exec.Cmd
	asks  *client.Agent
	// notes is a bpf file system of its own, in which the agent keeps its program; empty is that it has none.
	notes string
	// below are the paths of the cgroups that this test made.
	below []string
	// began is when its storm did; zero is that there is none.
	began time.Time
	// made is when its first cgroup was, and restarted that the agent was started after that: then it does not know since when they are there.
	made      time.Time
	restarted bool
}

// newRig makes a rig whose agent does not run yet.
func newRig(t *testing.T) *rig {
	t.Helper()
	testkit.Need(t, testkit.Root, testkit.MemoryCgroup)
	h, err := tree.Find("/proc", "/sys/fs/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{T: t, dir: t.TempDir(), tree: h}
	r.asks, err = client.NewAgent(client.Options{Address: "unix://" + r.socket(), UserAgent: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.asks.Close)
	return r
}

// takeNotes lets the kernel take notes for the agent, and for nobody else.
func (r *rig) takeNotes() {
	r.Helper()
	testkit.Need(r.T, testkit.Capability{Name: "bpf", Probe: r.notesHere})
}

// notesHere is takeNotes where the kernel can.
func (r *rig) notesHere() error {
	dir := r.TempDir()
	if err := unix.Mount("none", dir, "bpf", 0, "mode=0700"); err != nil {
		return testkit.Missing(err.Error())
	}
	r.Cleanup(func() { // with all that is pinned there
		if err := unix.Unmount(dir, 0); err != nil {
			r.Error(err)
		}
	})
	v, err := victims.Open(victims.Options{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if errors.Is(err, victims.ErrNotHere) {
		return testkit.Missing(err.Error())
	}
	if err != nil {
		return err
	}
	r.notes = dir
	return v.Close()
}

func (r *rig) socket() string { return filepath.Join(r.dir, "s") }

// start starts the agent, and waits until it answers.
func (r *rig) start() {
	r.Helper()
	r.restarted = r.restarted || len(r.below) > 0
	log, err := os.OpenFile(filepath.Join(r.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		r.Fatal(err)
	}
	defer log.Close()
	r.agent = as(context.Background(), "agent", filepath.Join(r.dir, "state"), r.socket(), r.notes)
	r.agent.Stderr = log
	if err := r.agent.Start(); err != nil {
		r.Fatal(err)
	}
	r.Cleanup(r.stop)
	r.Cleanup(func() {
		if text, err := os.ReadFile(log.Name()); err == nil && r.Failed() {
			r.Logf("the agent's log:\n%s", text)
		}
	})
	for begin := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		if _, err := r.asks.Status(r.Context()); err == nil {
			return
		} else if time.Since(begin) > patience {
			r.Fatalf("the agent does not answer: %v", err)
		}
	}
}

// stop ends the agent as a service manager does; kill does it with -9.
func (r *rig) stop() { r.end(syscall.SIGTERM) }
func (r *rig) kill() { r.end(syscall.SIGKILL) }

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

// group makes a cgroup with a limit, for one test.
func (r *rig) group(name string, limit cgroup.Limit) *cgroup.Group {
	r.Helper()
	if r.made.IsZero() {
		r.made = time.Now()
	}
	g, err := cgroup.New(name, limit)
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() {
		if err := g.Close(); err != nil {
			r.Error(err)
		}
	})
	r.below = append(r.below, r.path(g.Dir()))
	return g
}

// path is the path of a cgroup's directory, as the kernel logs it.
func (r *rig) path(dir string) string {
	rel, err := filepath.Rel(r.tree.Mount, dir)
	if err != nil {
		r.Fatal(err)
	}
	return filepath.Join(r.tree.Root, rel)
}

// nest makes a cgroup below another, with a limit in bytes, 0 for none; it goes with the one above.
func (r *rig) nest(dir, name string, limit int64) string {
	r.Helper()
	if r.tree.Version == 2 {
		r.write(filepath.Join(dir, "cgroup.subtree_control"), "+memory")
	}
	below := filepath.Join(dir, name)
	if err := os.Mkdir(below, 0o755); err != nil {
		r.Fatal(err)
	}
	if limit > 0 {
		file := map[int]string{1: "memory.limit_in_bytes", 2: "memory.max"}[r.tree.Version]
		r.write(filepath.Join(below, file), strconv.FormatInt(limit, 10))
	}
	return below
}

func (r *rig) write(file, text string) {
	r.Helper()
	if err := os.WriteFile(file, []byte(text), 0); err != nil {
		r.Fatal(err)
	}
}

// truth is a kill that happened.
type truth struct {
	pid    int
	cgroup string // the victim's
	limit  string // the path of the cgroup whose limit fired
	bytes  int64
}

// eater is a process that dies in a cgroup; it returns its pid when it has.
func (r *rig) eater(g *cgroup.Group, size int) int {
	r.Helper()
	pid, err := dies(r.Context(), g, size)
	if err != nil {
		r.Fatal(err)
	}
	return pid
}

// dies is eater for any goroutine.
func dies(ctx context.Context, g *cgroup.Group, size int) (int, error) {
	cmd := as(ctx, "eater", "anon", strconv.Itoa(size))
	if err := g.Start(cmd); err != nil {
		return 0, err
	}
	pid := cmd.Process.Pid
	if err := cmd.Wait(); !killed(err) {
		return 0, fmt.Errorf("eater %d was not killed: %w", pid, err)
	}
	return pid, nil
}

// family is a parent in a cgroup, and the pids of its eaters that were killed.
type family struct {
	cmd   *exec.Cmd
	stdin io.Closer
	dead  []int
}

// parent starts a parent in a group and waits until all of its eaters are dead. It lives until the
// test ends.
func (r *rig) parent(g *cgroup.Group, args ...string) *family {
	r.Helper()
	return r.raise(g.Start, as(r.Context(), "parent", args...))
}

// parentIn is parent in a cgroup that has a directory and no more.
func (r *rig) parentIn(dir string, args ...string) *family {
	r.Helper()
	return r.raise((*exec.Cmd).Start, as(r.Context(), "inside", append([]string{dir, "parent"}, args...)...))
}

func (r *rig) raise(start func(*exec.Cmd) error, cmd *exec.Cmd) *family {
	r.Helper()
	f := &family{cmd: cmd}
	in, err := f.cmd.StdinPipe()
	if err != nil {
		r.Fatal(err)
	}
	out, err := f.cmd.StdoutPipe()
	if err != nil {
		r.Fatal(err)
	}
	f.cmd.Stderr = os.Stderr
	if err := start(f.cmd); err != nil {
		r.Fatal(err)
	}
	f.stdin = in
	r.Cleanup(func() {
		in.Close()
		_ = f.cmd.Wait()
	})
	for lines := bufio.NewScanner(out); lines.Scan(); {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		switch word {
		case "done":
			return f
		case "killed":
			pid, err := strconv.Atoi(rest)
			if err != nil {
				r.Fatal(err)
			}
			f.dead = append(f.dead, pid)
		default:
			r.Errorf("the parent says %q", lines.Text())
		}
	}
	return f
}

// kills are those in this test's cgroups, or of its processes.
func (r *rig) kills(want []truth) []oom.Kill {
	r.Helper()
	all, err := r.asks.Kills(r.Context(), oom.Filter{})
	if err != nil {
		r.Fatal(err)
	}
	var ours []oom.Kill
	for _, k := range all {
		if r.ours(&k, want) {
			ours = append(ours, k)
		}
	}
	return ours
}

// bornDoubt is by how much later than a kill a cgroup has to be there for the agent to know that it was not in it.
const bornDoubt = 5 * time.Second

// ours reports whether a kill is one of this test's. A line of the storm before, of which the kernel noted nothing, can be placed in one of this one's cgroups, with a
// doubt, where the agent does not know that they came later: it is not.
func (r *rig) ours(k *oom.Kill, want []truth) bool {
	unknown := r.restarted || k.Time.After(r.made.Add(-bornDoubt))
	if unknown && k.Confidence != oom.Certain && k.Time.Before(r.began) && !slices.ContainsFunc(want, func(w truth) bool { return w.pid == k.Process.PID }) {
		return false
	}
	for _, path := range r.below {
		if k.Cgroup == path || strings.HasPrefix(k.Cgroup, path+"/") {
			return true
		}
	}
	for _, w := range want {
		if k.Process.PID == w.pid && k.Process.PID != 0 {
			return true
		}
	}
	return false
}

// expect waits until the ledger has settled, and compares it with what happened.
func (r *rig) expect(want []truth) []oom.Kill {
	r.Helper()
	var diff string
	var got []oom.Kill
	begin := time.Now()
	for ; time.Since(begin) < patience; time.Sleep(100 * time.Millisecond) {
		got = r.kills(want)
		if diff = compare(want, got); diff == "" {
			break
		}
	}
	if diff != "" {
		r.Errorf("after %v: %s", time.Since(begin).Round(time.Millisecond), diff)
		return got
	}
	// And so it stays: what comes late must not make a second one of a kill.
	time.Sleep(settle)
	got = r.kills(want)
	if diff := compare(want, got); diff != "" {
		r.Errorf("it was right, and then: %s", diff)
	}
	return got
}

// settle is longer than the ledger waits for witnesses that come late.
const settle = 3 * time.Second

// compare says how kills differ from what happened: nothing missing, doubled or else wrong.
func compare(want []truth, got []oom.Kill) string {
	var b strings.Builder
	left := map[int]truth{}
	for _, w := range want {
		left[w.pid] = w
	}
	for _, k := range got {
		w, ok := left[k.Process.PID]
		switch {
		case !ok:
			fmt.Fprintf(&b, "too many: %+v\n", k)
			continue
		case k.Count != 1:
			fmt.Fprintf(&b, "pid %d counts %d\n", w.pid, k.Count)
		case k.Cgroup != w.cgroup:
			fmt.Fprintf(&b, "pid %d: cgroup %q, want %q (%s)\n", w.pid, k.Cgroup, w.cgroup, k.Doubt)
		case k.Limit.Cgroup != w.limit || k.Limit.Bytes != w.bytes:
			fmt.Fprintf(&b, "pid %d: limit %d of %q, want %d of %q\n", w.pid, k.Limit.Bytes, k.Limit.Cgroup, w.bytes, w.limit)
		}
		delete(left, w.pid)
	}
	for _, w := range left {
		fmt.Fprintf(&b, "missing: %+v\n", w)
	}
	return b.String()
}

// pause is between two looks at what comes in milliseconds.
func pause() { time.Sleep(100 * time.Millisecond) }
