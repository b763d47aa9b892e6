//go:build linux

package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"stella/internal/cgroup"
	"stella/internal/testkit"
)

const (
	mib = 1 << 20
	// deadline is how long anything may take on a busy machine before a test gives up.
	deadline = 30 * time.Second
	// overhead is what a cgroup may count beyond what hog holds: see the package doc.
	overhead = 3 * mib
)

// binary is hog as it is put into images.
var binary string

func TestMain(m *testing.M) { os.Exit(build(m)) }

func build(m *testing.M) int {
	dir, err := os.MkdirTemp("", "stella-hog-*")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, defaultName)
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build hog: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// process is a hog that runs.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	group  *cgroup.Group // nil where there is no limit
	lines  chan string   // closed when nobody can print any more
	seen   []string      // what came out of lines
	errors strings.Builder
}

// start starts hog in a memory cgroup of its own.
func start(t *testing.T, limit int64, args ...string) *process {
	t.Helper()
	return launch(t, newGroup(t, limit), exec.Command(binary, args...))
}

// free starts hog without a limit.
func free(t *testing.T, args ...string) *process {
	t.Helper()
	return launch(t, nil, exec.Command(binary, args...))
}

// newGroup makes a cgroup, which is removed after the process that is launched in it.
func newGroup(t *testing.T, limit int64) *cgroup.Group {
	t.Helper()
	testkit.Need(t, testkit.MemoryCgroup)
	g, err := cgroup.New("hog", cgroup.Limit{Memory: limit})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

func launch(t *testing.T, g *cgroup.Group, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, group: g, lines: make(chan string, 1024)}
	cmd.Stderr = &p.errors
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	begin := cmd.Start
	if g != nil {
		begin = func() error { return g.Start(cmd) }
	}
	if err := begin(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
	t.Cleanup(p.close)
	return p
}

// close ends what is left. Whatever is in the group goes first: a child that
// outlived its parent would keep the lines open.
func (p *process) close() {
	if p.cmd.ProcessState == nil {
		p.cmd.Process.Kill()
		if p.group != nil {
			p.group.Close() // again, and looked at, by newGroup
		}
		for range p.lines {
		}
		p.cmd.Wait()
	}
	if p.t.Failed() {
		p.t.Logf("%v said on standard error: %s", p.cmd.Args[1:], &p.errors)
	}
}

// line waits for a line that begins so, and returns the rest of it.
func (p *process) line(begins string) (rest string) {
	p.t.Helper()
	for timeout := time.After(deadline); ; {
		select {
		case l, ok := <-p.lines:
			if !ok {
				p.t.Fatalf("%v ended without the line %q, after %q", p.cmd.Args[1:], begins, p.seen)
			}
			p.seen = append(p.seen, l)
			if rest, ok := strings.CutPrefix(l, begins); ok {
				return rest
			}
		case <-timeout:
			p.t.Fatalf("%v: no line %q in %v, after %q", p.cmd.Args[1:], begins, deadline, p.seen)
		}
	}
}

// ends waits for the end and checks how it was.
func (p *process) ends(want string) {
	p.t.Helper()
	for timeout := time.After(deadline); ; {
		select {
		case l, ok := <-p.lines:
			if ok {
				p.seen = append(p.seen, l)
				continue
			}
			p.cmd.Wait()
			if how := ending(p.cmd.ProcessState.Sys().(syscall.WaitStatus)); how != want {
				p.t.Errorf("%v ended: %s, want %s; after %q", p.cmd.Args[1:], how, want, p.seen)
			}
			return
		case <-timeout:
			p.t.Fatalf("%v did not end in %v, after %q", p.cmd.Args[1:], deadline, p.seen)
		}
	}
}

// tell sends a signal.
func (p *process) tell(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("send %v: %v", s, err)
	}
}

// stop tells hog to end, as a container runtime does.
func (p *process) stop() {
	p.t.Helper()
	p.tell(syscall.SIGTERM)
	p.ends("exit status 0")
}

// alive fails the test where the process has ended.
func (p *process) alive() {
	p.t.Helper()
	// A zombie takes signals as well, and holds no memory.
	if p.status("VmRSS") == 0 {
		p.t.Fatalf("%v has ended", p.cmd.Args[1:])
	}
}

// status is a line of /proc/PID/status in KiB; 0 where it is not there.
func (p *process) status(key string) int {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	return field(string(text), key+":")
}

// field is the number behind a key at the beginning of a line; 0 where it is not there.
func field(text, key string) int {
	for line := range strings.Lines(text) {
		if words := strings.Fields(line); len(words) > 1 && words[0] == key {
			n, _ := strconv.Atoi(words[1])
			return n
		}
	}
	return 0
}

func (p *process) stats() cgroup.Stats {
	p.t.Helper()
	s, err := p.group.Stats()
	if err != nil {
		p.t.Fatal(err)
	}
	return s
}

// uses checks what the cgroup counts now, in bytes.
func (p *process) uses(least, most int64) {
	p.t.Helper()
	if s := p.stats(); s.Current < least || s.Current > most {
		p.t.Errorf("%v uses %.1f MiB, want %.1f to %.1f", p.cmd.Args[1:], mibs(s.Current), mibs(least), mibs(most))
	}
}

// killed checks how many processes the kernel killed.
func (p *process) killed(want int64) {
	p.t.Helper()
	if s := p.stats(); s.OOMKills != want {
		p.t.Errorf("%v: the cgroup counted %d kills, want %d", p.cmd.Args[1:], s.OOMKills, want)
	}
}

// eventually looks at something outside until it is so.
func (p *process) eventually(what string, is func() bool) {
	p.t.Helper()
	for end := time.Now().Add(deadline); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			p.t.Fatalf("%v: not in %v: %s", p.cmd.Args[1:], deadline, what)
		}
	}
}

func mibs(n int64) float64 { return float64(n) / mib }
