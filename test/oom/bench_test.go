package oom

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"stella/bench/daemon"
	"stella/bench/machine"
	"stella/internal/cgroup"
	"stella/internal/client"
	"stella/internal/testkit"
)

var (
	bench        = flag.Bool("bench-oom", false, "measure, and print docs/oom-figures.md's tables")
	benchKills   = flag.Int("bench-kills", 2000, "`N` kills of which the latency is measured")
	benchLog     = flag.Int64("bench-log", 1<<30, "`BYTES` of kernel log to analyse")
	benchCgroups = flag.Int("bench-cgroups", 500, "`N` cgroups that the agent samples")
	benchFor     = flag.Duration("bench-for", 10*time.Minute, "measure the agent's footprint so `LONG`, each time")
)

// TestBench makes the figures of docs/oom-figures.md with the programs as they are released. It measures, and does
// not judge: how quick a machine is that others use, too, no test can know. make bench-oom runs it.
func TestBench(t *testing.T) {
	if !*bench {
		t.Skip("a measurement: make bench-oom")
	}
	testkit.Need(t, testkit.Root, testkit.MemoryCgroup)
	p := build(t)
	fmt.Printf("%s. %v\n", time.Now().Format(time.DateOnly), machine.Describe())
	t.Run("latency", p.latency)
	t.Run("analyze", p.analyze)
	t.Run("footprint", p.footprint)
}

// programs is a directory with stella and stella-agent as they are shipped.
type programs string

func build(t *testing.T) programs {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", dir+string(filepath.Separator), "stella/cmd/stella", "stella/cmd/stella-agent")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build stella and stella-agent: %v: %s", err, out)
	}
	return programs(dir)
}

// inOwnMounts runs a program that has a bpf file system at $1 for itself, so that what it keeps in the kernel goes with it.
const inOwnMounts = `mkdir -p "$1" && mount -t bpf none "$1" && shift && exec "$@"`

// asNode runs a program in a mount namespace whose machine, at $1, has no other cgroups than those below $2: what else
// there is on this machine, others decide.
const asNode = `mount -t tmpfs none "$1" && mkdir -p "$1/proc" "$1/dev" "$1/sys/fs/cgroup/memory" "$1/sys/fs/bpf" &&
mount --rbind /proc "$1/proc" && mount --rbind /dev "$1/dev" && mount --bind "$2" "$1/sys/fs/cgroup/memory" &&
mount -t bpf none "$1/sys/fs/bpf" && shift 2 && exec "$@"`

// released is a stella-agent with a state of its own, alone in a cgroup.
type released struct {
	*client.Agent
	group *cgroup.Group
	pid   int
	admin string // HOST:PORT
}

// agent starts a stella-agent, and waits until it is ready. It ends with the test. Alone, it is shown no other cgroups than
// those of this test.
func (p programs) agent(t *testing.T, alone bool) *released {
	t.Helper()
	dir := t.TempDir()
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	g, err := cgroup.New("stella-bench-agent", cgroup.Limit{Memory: 64 * mib})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	a := &released{group: g}
	if a.admin, err = daemon.FreePort(t.Context()); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	args := []string{filepath.Join(string(p), "stella-agent"), "--no-kubernetes", "--state-dir", filepath.Join(dir, "state"), "--socket", socket, "--admin", a.admin}
	root := filepath.Join(dir, "node")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	if alone {
		args = append(append([]string{asNode, "sh", root, filepath.Dir(g.Dir())}, args...), "--root", root)
	} else {
		args = append(append([]string{inOwnMounts, "sh", root}, args...), "--bpf-dir", root)
	}
	cmd := exec.Command("unshare", append([]string{"--mount", "sh", "-c"}, args...)...)
	cmd.Stderr = log
	if err := g.Start(cmd); err != nil {
		t.Fatal(err)
	}
	a.pid = cmd.Process.Pid
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			text, _ := os.ReadFile(log.Name())
			t.Errorf("stella-agent ended with %v:\n%s", err, text)
		}
	})
	if a.Agent, err = client.NewAgent(client.Options{Address: "unix://" + socket, UserAgent: "stella-bench"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	for begin := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		if _, err := a.Status(t.Context()); err == nil {
			return a
		} else if time.Since(begin) > patience {
			t.Fatalf("the agent does not answer: %v", err)
		}
	}
}

// get asks the agent's admin listener.
func (a *released) get(ctx context.Context, path string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+a.admin+path, nil)
	if err != nil {
		return nil, err
	}
	return http.DefaultClient.Do(r)
}

// table is one in Markdown; its first row is the head.
type table [][]string

func (t *table) add(cells ...string) { *t = append(*t, cells) }

func (t table) String() string {
	var b strings.Builder
	for i, row := range t {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			b.WriteString("|" + strings.Repeat("---|", len(row)) + "\n")
		}
	}
	return b.String()
}
