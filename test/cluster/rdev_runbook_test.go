package cluster_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"stella/internal/client"
	"stella/internal/rdev"
	"stella/internal/testkit"
	"stella/test/cluster"
)

// ticks is how many commands run at once: as many as one key may.
const ticks = 8

// runbook is an rdev-api as people deploy it, who has an alert and works through "Memory is high" of docs/rdev.md.
type runbook struct {
	*rdevDeployment
	text string // of docs/rdev.md, with single spaces
	dir  string // where the commands are typed
	// What runs while somebody looks.
	running []rdev.Command
	streams []<-chan heard
	queued  <-chan heard
	cut     rdev.Command
}

// Every command of the runbook does what it says, on a cluster, with commands and streams at work.
func TestRdevRunbook(t *testing.T) {
	testkit.Need(t, testkit.Program("curl"), testkit.Program("openssl"))
	text, err := os.ReadFile("../../docs/rdev.md")
	if err != nil {
		t.Fatal(err)
	}
	b := &runbook{rdevDeployment: deployRdev(t, own(t, cluster.Options{})), text: spaced(string(text)), dir: t.TempDir()}
	b.work(t)
	b.begin(t)
	t.Run("confirm", b.confirm)
	t.Run("cause", b.cause)
	t.Run("heap profile", b.profile)
	t.Run("streams", b.connections)
	t.Run("restart the pod", b.deletePod)
	t.Run("restart all", func(t *testing.T) {
		b.rollsOut(t, "kubectl -n rdev rollout restart deployment/rdev-api")
	})
	t.Run("more memory", b.moreMemory)
	t.Run("age of streams", b.age)
	t.Run("cache", b.cache)
	t.Run("output", b.output)
	t.Run("killed", b.killed)
	t.Run("verify", b.verify)
}

func spaced(s string) string { return strings.Join(strings.Fields(s), " ") }

// asWritten runs a line of the runbook, and fails if there is no such line. with are what is put for its placeholders.
func (b *runbook) asWritten(t *testing.T, line string, with ...string) (stdout, stderr string, err error) {
	t.Helper()
	if !strings.Contains(b.text, spaced(line)) {
		t.Errorf("docs/rdev.md does not have: %s", line)
	}
	line = strings.NewReplacer(with...).Replace(line)
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "sh", "-c", line)
	if strings.HasPrefix(line, "curl ") { // for a pod of the cluster
		cmd = b.Kubectl(t.Context(), "--namespace", b.person, "exec", "person", "--", "sh", "-c", line)
	}
	cmd.Env = append(os.Environ(), "KUBECONFIG="+b.Kubeconfig, "PATH="+b.Programs+":"+os.Getenv("PATH"))
	cmd.Dir, cmd.Stdout, cmd.Stderr = b.dir, &out, &errs
	err = cmd.Run()
	t.Logf("$ %s\n%.2000s%.1000s%v", line, &out, &errs, err)
	return out.String(), errs.String(), err
}

// says runs a line that has to succeed, and returns what it printed.
func (b *runbook) says(t *testing.T, line string, with ...string) string {
	t.Helper()
	out, errs, err := b.asWritten(t, line, with...)
	if err != nil {
		t.Errorf("%s: %v\n%s%s", line, err, out, errs)
	}
	return out
}

// work has commands that end: one whose output is cut, and one that the kernel kills.
func (b *runbook) work(t *testing.T) {
	b.cut = b.command(t, rdev.Request{Shell: "seq 1 1000000", Output: 1 << 20})
	seen := receive(t, b.follow(t.Context(), b.cut))
	if seen.err != nil || seen.end == nil || seen.end.Reason != rdev.ReasonExit || !seen.all(1_000_000) {
		t.Errorf("cut: %+v", seen)
	}
	var text bytes.Buffer
	c, err := b.api.Command(t.Context(), b.cut.Project, b.cut.ID)
	if err == nil {
		err = b.api.Output(t.Context(), c.Project, c.ID, 0, "", &text)
	}
	marker := fmt.Sprintf("\n[rdev: %d records are not kept here]\n", c.Output.Dropped)
	if s := text.String(); err != nil || c.Output.Dropped == 0 || text.Len() > 1<<20+100 || !strings.HasPrefix(s, "1\n2\n") || !strings.HasSuffix(s, "\n1000000\n") || !strings.Contains(s, marker) {
		t.Errorf("%v: %+v, %d bytes, %.20q… without %s", err, c.Output, text.Len(), s, marker)
	}
	end := receive(t, b.follow(t.Context(), b.command(t, rdev.Request{Argv: []string{"hog", "hold", "200Mi"}}))).end
	if end == nil || end.Reason != rdev.ReasonOOM || end.ExitCode != 137 || end.OOM.Limit != 64<<20 {
		t.Errorf("over its pod's memory: %+v", end)
	}
}

// begin has commands that run until somebody ends them, one behind them, and somebody who follows each.
func (b *runbook) begin(t *testing.T) {
	for range ticks {
		c := b.command(t, rdev.Request{Shell: "exec 2>/dev/null; trap 'echo tidied up; exit 0' TERM; while :; do echo tick; sleep 0.2; done"})
		b.running, b.streams = append(b.running, c), append(b.streams, b.follow(t.Context(), c))
	}
	c := b.command(t, rdev.Request{Shell: "echo went on"})
	if c.Status != rdev.Queued {
		t.Errorf("it is not behind others: %+v", c)
	}
	b.queued = b.follow(t.Context(), c)
}

func (b *runbook) confirm(t *testing.T) {
	if _, errs, err := b.asWritten(t, "kubectl -n rdev top pod -l app=rdev-api"); err == nil || errs != "error: Metrics API not available\n" {
		t.Errorf("kubectl top, without metrics-server: %v, %q", err, errs)
	}
	b.wantLimit(t, 512<<20)
	b.noKills(t)
	b.wantRestarts(t, "0", "")
}

func (b *runbook) wantRestarts(t *testing.T, count, reason string) {
	t.Helper()
	if out := b.says(t, "kubectl -n rdev get pods -l app=rdev-api -o jsonpath='{.items[*].status.containerStatuses[*].restartCount}'"); out != count {
		t.Errorf("restarts: %q, want %s", out, count)
	}
	if out := b.says(t, "kubectl -n rdev get pods -l app=rdev-api -o jsonpath='{.items[*].status.containerStatuses[*].lastState.terminated.reason}'"); out != reason {
		t.Errorf("the reason of the last end: %q, want %q", out, reason)
	}
}

// wantLimit reads what stands for kubectl top.
func (b *runbook) wantLimit(t *testing.T, want float64) {
	t.Helper()
	out := b.says(t, "curl -s http://rdev-api:8080/metrics | grep rdev_memory")
	if used, limit := gauge(t, out, "rdev_memory_used_bytes"), gauge(t, out, "rdev_memory_limit_bytes"); limit != want || used < 1<<20 || used > limit {
		t.Errorf("%.0f bytes of %.0f are used, and the limit should be %.0f", used, limit, want)
	}
}

func gauge(t *testing.T, metrics, name string) float64 {
	t.Helper()
	m := regexp.MustCompile(`(?m)^` + name + ` (.*)$`).FindStringSubmatch(metrics)
	if m == nil {
		t.Fatalf("there is no %s in %q", name, metrics)
	}
	v, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// noKills: Kubernetes has no such events, whatever was killed.
func (b *runbook) noKills(t *testing.T) {
	t.Helper()
	out, errs, err := b.asWritten(t, "kubectl -n rdev get events --field-selector reason=OOMKilled")
	if err != nil || out != "" || errs != "No resources found in rdev namespace.\n" {
		t.Errorf("%v, %q, %q", err, out, errs)
	}
}

func (b *runbook) cause(t *testing.T) {
	for name, want := range map[string]float64{"sse_connections_active": ticks + 1, "commands_active": ticks} {
		cluster.Eventually(t, settle, func(context.Context) error {
			out := b.says(t, "curl -s http://rdev-api:8080/metrics | grep "+name)
			if got := gauge(t, out, name); got != want {
				return fmt.Errorf("%s is %v, want %v", name, got, want)
			}
			return nil
		})
	}
	// The same from the container, where nobody else can reach it.
	out := b.says(t, "kubectl -n rdev exec deployment/rdev-api -- curl -s localhost:8080/metrics | grep _active")
	if streams, commands := gauge(t, out, "sse_connections_active"), gauge(t, out, "commands_active"); streams != ticks+1 || commands != ticks {
		t.Errorf("%v streams, %v commands", streams, commands)
	}
}

func (b *runbook) profile(t *testing.T) {
	b.says(t, `kubectl -n rdev exec -it deployment/rdev-api -- \
     curl -o /tmp/heap.prof localhost:8080/debug/pprof/heap`)
	b.says(t, "kubectl -n rdev exec deployment/rdev-api -- curl -s file:///tmp/heap.prof > heap.prof")
	out := b.says(t, "go tool pprof -top heap.prof")
	if !strings.Contains(out, "File: rdev-api\n") || !strings.Contains(out, "Type: inuse_space\n") {
		t.Errorf("no heap profile of rdev-api: %s", out)
	}
}

func (b *runbook) connections(t *testing.T) {
	out := b.says(t, `kubectl -n rdev logs -l app=rdev-api | grep "SSE connection" | tail -50`)
	if n := strings.Count(out, "\n"); n > 10 {
		t.Errorf("%d lines, of which kubectl gives 10 unless told otherwise", n)
	}
	out = b.says(t, `kubectl -n rdev logs -l app=rdev-api --tail=-1 | grep "SSE connection" | tail -50`)
	for _, c := range b.running {
		if opened := `msg="SSE connection opened" id=\d+ key="key ci" command=` + c.ID; len(regexp.MustCompile(opened).FindAllString(out, -1)) != 1 {
			t.Errorf("not once: %s", opened)
		}
	}
	closed := regexp.MustCompile(`msg="SSE connection closed" id=\d+ key="key ci" command=` + b.cut.ID + ` reason=end duration=\S+ lines=[1-9]`)
	if len(closed.FindAllString(out, -1)) != 1 {
		t.Errorf("not once: %s", closed)
	}
}

func (b *runbook) age(t *testing.T) {
	b.rollsOut(t, "kubectl -n rdev set env deployment/rdev-api RDEV_STREAM_AGE=10m")
}

// deletePod: what runs is cancelled and told so, what waits goes on, and who follows it need not care.
func (b *runbook) deletePod(t *testing.T) {
	old := b.pod(t, "")
	b.says(t, "kubectl -n rdev delete pod <pod-name>", "<pod-name>", old.Name)
	for i, stream := range b.streams {
		seen := receive(t, stream)
		if seen.err != nil || seen.end == nil || seen.end.Reason != rdev.ReasonCancelled || seen.lines < 2 || seen.last != "tidied up" {
			t.Errorf("%d: %+v, %+v", i, seen, seen.end)
		}
	}
	if n := b.pod(t, old.Name).Status.ContainerStatuses[0].RestartCount; n != 0 {
		t.Errorf("the new one did not wait for the old one to end, and was started %d times more", n)
	}
	select {
	case seen := <-b.queued:
		if seen.err != nil || seen.end == nil || seen.end.Reason != rdev.ReasonExit || seen.last != "went on" {
			t.Errorf("what waited: %+v, %+v, %v", seen, seen.end, seen.err)
		}
	case <-time.After(settle):
		t.Error("what waited does not go on")
	}
	list, err := b.api.Commands(t.Context(), rdev.Filter{Project: "workshop"})
	if err != nil || len(list.Commands) != ticks+3 {
		t.Errorf("%d commands are known: %v", len(list.Commands), err)
	}
}

// rollsOut runs a line after which there is another pod.
func (b *runbook) rollsOut(t *testing.T, line string) {
	t.Helper()
	old := b.pod(t, "")
	b.says(t, line)
	b.pod(t, old.Name)
}

func (b *runbook) moreMemory(t *testing.T) {
	b.rollsOut(t, `kubectl -n rdev patch deployment rdev-api --type='json' -p='[
     {"op": "replace", "path": "/spec/template/spec/containers/0/resources/limits/memory", "value": "1Gi"}
   ]'`)
	b.wantLimit(t, 1<<30)
}

func (b *runbook) cache(t *testing.T) {
	b.rollsOut(t, "kubectl -n rdev set env deployment/rdev-api CACHE_TTL=15s")
	if log := kubectl(t, b.Cluster, "", "--namespace", "rdev", "logs", "deployment/rdev-api"); !strings.Contains(log, " cache_ttl=15s") {
		t.Errorf("the service does not have the new time: %s", log)
	}
}

// output: lines with how much is printed are there where somebody asks for them.
func (b *runbook) output(t *testing.T) {
	const count = `kubectl -n rdev logs -l app=rdev-api --tail=-1 | grep "output line" | wc -l`
	print := func() {
		t.Helper()
		if seen := receive(t, b.follow(t.Context(), b.command(t, rdev.Request{Shell: "seq 1 100000"}))); seen.err != nil || !seen.all(100_000) {
			t.Errorf("%+v", seen)
		}
	}
	print()
	if n := strings.TrimSpace(b.says(t, count)); n != "0" {
		t.Errorf("%s lines, though nobody asked for them", n)
	}
	b.rollsOut(t, "kubectl -n rdev set env deployment/rdev-api RDEV_LOG_LEVEL=debug")
	print()
	n, err := strconv.Atoi(strings.TrimSpace(b.says(t, count)))
	if err != nil || n < 1 || n > 100 {
		t.Errorf("%d lines for 100000, %v: want a sample", n, err)
	}
	if n, err = strconv.Atoi(strings.TrimSpace(b.says(t, `kubectl -n rdev logs -l app=rdev-api | grep "output line" | wc -l`))); err != nil || n > 10 {
		t.Errorf("%d lines, of which kubectl gives 10 unless told otherwise: %v", n, err)
	}
}

// killed: a process that ends without a word, as the kernel ends it for want of memory, is counted by Kubernetes, and started again.
func (b *runbook) killed(t *testing.T) {
	pod := b.pod(t, "")
	c := b.command(t, rdev.Request{Shell: "echo ready; sleep 1000"})
	stream := b.follow(t.Context(), c)
	cluster.Eventually(t, settle, func(ctx context.Context) (err error) {
		if c, err = b.api.Command(ctx, c.Project, c.ID); err == nil && c.Output.Lines == 0 {
			err = fmt.Errorf("it does not run: %+v", c)
		}
		return err
	})
	_, id, _ := strings.Cut(pod.Status.ContainerStatuses[0].ContainerID, "://")
	if out, err := b.Cluster.Command(t.Context(), "ctr", "--namespace", "k8s.io", "tasks", "kill", "--signal", "SIGKILL", id).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	seen := receive(t, stream)
	if seen.err != nil || seen.end == nil || seen.end.Reason != rdev.ReasonLost || seen.last != "ready" {
		t.Errorf("%+v, %+v", seen, seen.end)
	}
	b.wantRestarts(t, "1", "Error") // OOMKilled where the kernel did it
	cluster.Eventually(t, settle, func(ctx context.Context) error {
		look := b.command(t, rdev.Request{Shell: "cat /proc/[0-9]*/comm; true"})
		receive(t, b.follow(ctx, look))
		var names bytes.Buffer
		err := b.api.Output(ctx, look.Project, look.ID, 0, "", &names)
		if err == nil && strings.Contains(names.String(), "sleep\n") {
			err = fmt.Errorf("what it left behind still runs: %q", &names)
		}
		return err
	})
}

func (b *runbook) verify(t *testing.T) {
	b.noKills(t)
	const since = "kubectl -n rdev get events --field-selector reason=OOMKilled --since=5m"
	if _, errs, err := b.asWritten(t, since); err == nil || !strings.Contains(errs, "unknown flag: --since") {
		t.Errorf("%s: %v, %q", since, err, errs)
	}
	b.wantLimit(t, 1<<30)
	cluster.Eventually(t, settle, func(context.Context) error {
		if out := b.says(t, "curl -s http://rdev-api:8080/ready"); out != "ok\n" && out != "ok" {
			return fmt.Errorf("/ready: %q", out)
		}
		return nil
	})
}

// heard is what a stream told until its end.
type heard struct {
	lines, dropped int64
	last           string
	end            *rdev.End
	err            error
}

// all reports whether it was told of all lines. Where the machine has no time for the program in the middle of a line, that is two records.
func (h *heard) all(lines int64) bool {
	const halves = 20
	return h.lines+h.dropped >= lines && h.lines+h.dropped <= lines+halves
}

// follow hears a stream to its end. A client gives up after some time without a server: on a machine that is busy, that is
// shorter than a restart, and who followed comes back.
func (b *runbook) follow(ctx context.Context, c rdev.Command) <-chan heard {
	out := make(chan heard, 1)
	go func() {
		var seen heard
		var from client.From
		for until := time.Now().Add(settle); ; {
			seen.err = b.api.Follow(ctx, c.Project, c.ID, from, func(e client.OutputEvent) error {
				from.After = e.Seq
				switch {
				case e.Output != nil:
					seen.lines++
					seen.last = e.Output.Text
				case e.Gap != nil:
					seen.dropped += int64(e.Gap.Dropped)
				}
				seen.end = e.End
				return nil
			})
			if seen.err == nil || ctx.Err() != nil || time.Now().After(until) {
				break
			}
		}
		out <- seen
	}()
	return out
}

func (b *runbook) command(t *testing.T, r rdev.Request) rdev.Command {
	t.Helper()
	c, err := b.api.Run(t.Context(), "workshop", r)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
