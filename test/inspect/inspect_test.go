// Package inspect holds what stella says of a server that leaks against what the server does: a real one, in a memory cgroup, asked by the agent as it is released.
package inspect

import (
	"bufio"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"stella/internal/cgroup"
	"stella/internal/client"
	"stella/internal/explain"
	"stella/internal/oom"
	"stella/internal/oom/tree"
	"stella/internal/testkit"
	"stella/internal/testkit/released"
)

var programs = released.New("stella/cmd/stella", "stella/cmd/stella-agent", "stella/test/inspect/feed")

func TestMain(m *testing.M) { os.Exit(programs.Run(m)) }

const (
	limit = 128 << 20
	// most is used when no more clients come, so that the profile of 95 % is taken before the kill.
	most = limit / 100 * 97
	// buffer is what the server allocates for each client, in the function whose name has to be found.
	buffer  = 256 << 10
	culprit = "main.(*hub).subscribe"
	// patience bounds each wait for what comes within seconds.
	patience = time.Minute
)

// scene is a server in a cgroup, and an agent that may ask it.
type scene struct {
	*testing.T
	dir     string
	group   *cgroup.Group
	cgroup  string
	address string // the server's
	exited  chan struct{}
	agent   *client.Agent
	random  *rand.Rand
}

// A server that leaks what its clients leave behind is explained by the gauge that counts them, with the bytes of each, and by the function that allocates them: before
// it is killed, and afterwards.
func TestLeakingConnections(t *testing.T) {
	testkit.Need(t, testkit.Root, testkit.MemoryCgroup)
	s := &scene{T: t, dir: t.TempDir(), random: rand.New(rand.NewPCG(1, 2))}
	s.serve()
	s.watch()
	s.until("its gauges and the baseline are there", func() bool { return len(s.gauges()) > 0 && len(s.heaps()) > 0 })

	for s.used() < most {
		s.clients(most)
	}
	s.until("the profile of 95 % is there", func() bool { return s.heaps()["95%"] })
	s.explained(s.cgroup)
	s.text()
	s.flame()

	for s.serves() {
		s.clients(limit + 1)
	}
	kill := s.killed()
	if kill.Limit.Cgroup != s.cgroup {
		t.Errorf("the kill is %+v", kill)
	}
	s.explained(kill.ID)
	if got := s.heaps(); len(got) != 3 || !got["baseline"] || !got["80%"] {
		t.Errorf("the profiles are %v", got)
	}
}

// serve starts the server in a cgroup of its own.
func (s *scene) serve() {
	s.Helper()
	group, err := cgroup.New("inspect", cgroup.Limit{Memory: limit})
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		if err := group.Close(); err != nil {
			s.Error(err)
		}
	})
	whole, err := tree.Find("/proc", "/sys/fs/cgroup")
	if err != nil {
		s.Fatal(err)
	}
	rel, err := filepath.Rel(whole.Mount, group.Dir())
	if err != nil {
		s.Fatal(err)
	}
	s.group, s.cgroup = group, filepath.Join(whole.Root, rel)
	cmd := exec.Command(programs.Path(s, "feed"), fmt.Sprintf("--buffer=%d", buffer))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		s.Fatal(err)
	}
	if err := group.Start(cmd); err != nil {
		s.Fatal(err)
	}
	s.exited = make(chan struct{})
	s.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-s.exited
	})
	lines := bufio.NewScanner(out)
	said := lines.Scan()
	s.address = lines.Text()
	go func() {
		defer close(s.exited)
		_ = cmd.Wait()
	}()
	if !said {
		s.Fatal("the server does not say where it listens")
	}
}

// watch starts the agent.
func (s *scene) watch() {
	s.Helper()
	file := filepath.Join(s.dir, "inspect")
	text := fmt.Sprintf("# what it leaks, and where\n%[1]s metrics http://%[2]s/metrics\n%[1]s pprof http://%[2]s\n", s.cgroup, s.address)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		s.Fatal(err)
	}
	log, err := os.Create(filepath.Join(s.dir, "log"))
	if err != nil {
		s.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(programs.Path(s, "stella-agent"), "--state-dir", filepath.Join(s.dir, "state"), "--socket", filepath.Join(s.dir, "s"), "--admin", "",
		"--no-kubernetes", "--no-bpf", "--bpf-dir", filepath.Join(s.dir, "bpf"), "--inspect", file, "--inspect-every", "1s")
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			s.Errorf("the agent ended with %v", err)
		}
		if text, err := os.ReadFile(log.Name()); err == nil && s.Failed() {
			s.Logf("the agent's log:\n%s", text)
		}
	})
	if s.agent, err = client.NewAgent(client.Options{Address: "unix://" + filepath.Join(s.dir, "s"), UserAgent: "test"}); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(s.agent.Close)
	s.until("the agent answers", func() bool {
		_, err := s.agent.Status(s.Context())
		return err == nil
	})
}

// until waits until something is so; nobody tells of it.
func (s *scene) until(what string, ok func() bool) {
	s.Helper()
	for begin := time.Now(); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Since(begin) > patience {
			s.Fatalf("not within %v: %s", patience, what)
		}
	}
}

func (s *scene) gauges() []oom.Gauge {
	s.Helper()
	all, err := s.agent.Gauges(s.Context(), s.cgroup)
	if err != nil {
		s.Fatal(err)
	}
	return all
}

// heaps are the reasons of the profiles that were taken.
func (s *scene) heaps() map[string]bool {
	s.Helper()
	all, err := s.agent.Heaps(s.Context(), s.cgroup)
	if err != nil {
		s.Fatal(err)
	}
	reasons := map[string]bool{}
	for _, h := range all {
		reasons[h.Reason] = true
	}
	return reasons
}

// used is the working set of the server at this moment.
func (s *scene) used() int64 {
	s.Helper()
	stats, err := s.group.Stats()
	if err != nil {
		s.Fatal(err)
	}
	return stats.WorkingSet
}

// serves reports whether the server is there.
func (s *scene) serves() bool {
	select {
	case <-s.exited:
		return false
	default:
		return true
	}
}

// clients come, and vanish: some, or none, as people do. With the same number at each moment the server's memory would grow with time as much as with
// them. None comes when so much memory is used.
func (s *scene) clients(most int64) {
	s.Helper()
	busy := s.random.IntN(3) > 0
	for range 5 {
		for range s.random.IntN(5) {
			if busy && s.used() < most {
				s.visit()
			}
		}
		time.Sleep(100 * time.Millisecond) // the pace of the scene
	}
}

// visit is one client: it asks for events, sees the first byte of the answer, and is gone.
func (s *scene) visit() {
	c, err := net.DialTimeout("tcp", s.address, patience)
	if err != nil {
		return // it was killed
	}
	defer c.Close()
	_, _ = io.WriteString(c, "GET /events HTTP/1.1\r\nHost: feed\r\n\r\n")
	_ = c.SetReadDeadline(time.Now().Add(patience))
	_, _ = c.Read(make([]byte, 1))
}

// killed waits for the kill of the server.
func (s *scene) killed() (found oom.Kill) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	for found.ID == "" && ctx.Err() == nil {
		kills, err := s.agent.Kills(ctx, oom.Filter{})
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			s.Fatal(err)
		}
		for _, k := range kills {
			if k.Cgroup == s.cgroup {
				found = k
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	if found.ID == "" {
		s.Fatal("the kill is not told")
	}
	return found
}

// stella runs the command line.
func (s *scene) stella(args ...string) string {
	s.Helper()
	cmd := exec.Command(programs.Path(s, "stella"), append([]string{"explain", "--agent", "unix://" + filepath.Join(s.dir, "s")}, args...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || stderr.Len() > 0 {
		s.Fatalf("%v: %v, %s", args, err, stderr.String())
	}
	return string(out)
}

// explained asks why, and compares that with what the server does.
func (s *scene) explained(name string) {
	s.Helper()
	var r explain.Report
	text := s.stella(name, "-o", "json")
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		s.Fatal(err)
	}
	first := r.Findings[0]
	if first.Cause != explain.Gauged || first.Confidence < 0.5 || !strings.HasSuffix(first.Summary, "for each sse_connections_active.") {
		s.Fatalf("it is explained as\n%s", text)
	}
	if g := first.Gauge; g == nil || g.Name != "sse_connections_active" || g.PerUnit < buffer*3/4 || g.PerUnit > buffer*5/4 {
		s.Errorf("the gauge is %+v; a client has %d bytes", g, buffer)
	}
	if r.Heap == nil || len(r.Heap.Sites) == 0 || r.Heap.Sites[0].Function != culprit || r.Heap.Sites[0].Share < 0.5 {
		s.Errorf("the heap grew by %+v", r.Heap)
	}
	s.Logf("%s %.0f %%: %s", first.Cause, 100*first.Confidence, first.Summary)
}

// text is what people see.
func (s *scene) text() {
	s.Helper()
	text := s.stella(s.cgroup)
	for _, want := range []string{"\nHeap:", " by " + culprit + " (main.go:", "allocated by " + culprit} {
		if !strings.Contains(text, want) {
			s.Errorf("it does not say %q", want)
		}
	}
	s.Logf("\n%s", text)
}

// flame draws.
func (s *scene) flame() {
	s.Helper()
	name := filepath.Join(s.dir, "heap.svg")
	s.stella(s.cgroup, "--flame", name)
	f, err := os.Open(name)
	if err != nil {
		s.Fatal(err)
	}
	defer f.Close()
	found := false
	for d := xml.NewDecoder(f); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			s.Fatal(err)
		}
		if text, ok := token.(xml.CharData); ok && strings.HasPrefix(string(text), culprit+": ") {
			found = true
		}
	}
	if !found {
		s.Error("the drawing does not have " + culprit)
	}
}
