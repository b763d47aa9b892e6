package worker

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"stella/internal/cgroup"
	"stella/internal/scanner"
	"stella/internal/testkit"
)

// actEnv makes the test binary a worker that does what its value says.
const actEnv = "STELLA_WORKER_TEST_ACT"

func TestMain(m *testing.M) {
	act := os.Getenv(actEnv)
	if act == "" {
		os.Exit(m.Run())
	}
	if act == "serve" {
		if err := Serve(context.Background(), ServeOptions{Stdin: os.Stdin, Stdout: os.Stdout, Version: "1.2.3"}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	misbehave(act)
}

// evil is the file that misbehaving workers say they read.
const evil = "srv/evil\x1b.jar"

// misbehave is a worker that says hello, takes a task, and does what no worker should.
func misbehave(act string) {
	out := &teller{w: os.Stdout}
	early := map[string]func(){
		"silent":  func() { hang() },
		"old":     func() { out.tell(message{Hello: &hello{Protocol: protocol - 1, Version: "0.0.1"}}); hang() },
		"usage":   func() { fmt.Fprintln(os.Stderr, "unknown command worker"); os.Exit(2) },
		"eager":   func() { out.tell(message{Ended: &ended{Outcome: scanner.OutcomeError}}); hang() },
		"garbage": func() { fmt.Println("Segmentation fault"); hang() },
	}
	if f := early[act]; f != nil {
		f()
	}
	out.tell(message{Hello: &hello{Protocol: protocol, Version: "1.2.3"}})
	in := bufio.NewReader(os.Stdin)
	if _, err := in.ReadString('\n'); err != nil {
		os.Exit(0)
	}
	out.tell(message{Progress: &progressMessage{Progress: scanner.Progress{Phase: "layers", Layer: 3, Path: evil}, Peak: 5 << 20}})
	act, amount, _ := strings.Cut(act, ":")
	n, _ := strconv.Atoi(amount)
	switch act {
	case "allocate":
		allocate(n)
	case "helper": // the worker's own memory is small, but it started somebody
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), actEnv+"=silent")
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := cmd.Start(); err != nil {
			panic(err)
		}
		out.tell(message{Progress: &progressMessage{Progress: scanner.Progress{Packages: int64(cmd.Process.Pid)}}})
	case "heap": // as where the address space is limited (ulimit -v)
		limit := syscall.Rlimit{Cur: 2 << 30, Max: 2 << 30}
		if err := syscall.Setrlimit(syscall.RLIMIT_AS, &limit); err != nil {
			panic(err)
		}
		os.Stderr.Write(make([]byte, 4<<30))
	case "panic":
		panic("boom")
	case "exit":
		os.Exit(n)
	case "signal":
		syscall.Kill(os.Getpid(), syscall.Signal(n))
	case "line":
		fmt.Println(strings.Repeat("x", maxMessage))
	case "flood":
		for {
			out.tell(message{Progress: &progressMessage{}})
		}
	case "stderr":
		for {
			fmt.Fprintln(os.Stderr, strings.Repeat("all work and no play ", 100))
		}
	case "liar":
		out.tell(message{Ended: &ended{Outcome: scanner.OutcomeOOM}})
	case "deaf":
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT)
	case "done":
		out.tell(message{Ended: &ended{Outcome: scanner.OutcomeError, Message: "as asked"}})
	}
	hang()
}

// hang waits for ever. An empty select would be a deadlock, which the runtime notices.
func hang() { time.Sleep(time.Hour) }

// allocate touches every page of n MiB, in steps, so that a watcher can see it grow.
func allocate(n int) {
	for range n {
		block, err := syscall.Mmap(-1, 0, 1<<20, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
		if err != nil {
			panic(err)
		}
		for i := 0; i < len(block); i += 4096 {
			block[i] = 1
		}
		time.Sleep(time.Millisecond)
	}
}

// noCgroup makes a worker whose resident set is watched.
func noCgroup() (*cgroup.Group, error) {
	return nil, &cgroup.UnsupportedError{Support: cgroup.Support{Verdict: cgroup.No, Reason: "as asked"}}
}

// said is what workers logged.
type said struct {
	mu    sync.Mutex
	lines []string
}

func (s *said) log(level slog.Level, source, message string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, fmt.Sprintf("%v %s: %s", level, source, message))
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.lines, "\n")
}

// config is a worker that does act, in a group of this test run alone.
func config(act string, limit int64) (Config, *said) {
	s := new(said)
	return Config{
		Program: os.Args[0], Args: []string{"-test.run=none"}, Env: append(os.Environ(), actEnv+"="+act),
		Name: "default-0", Group: "workertest" + strconv.Itoa(os.Getpid()), Limit: limit, Log: s.log,
	}, s
}

// begin starts a worker in a cgroup.
func begin(t *testing.T, act string, limit int64) (*Process, *said) {
	t.Helper()
	testkit.Need(t, testkit.MemoryCgroup)
	cfg, s := config(act, limit)
	p, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shut(t, p, s) })
	return p, s
}

// beginWatched starts one without.
func beginWatched(t *testing.T, act string, limit int64) (*Process, *said) {
	t.Helper()
	cfg, s := config(act, limit)
	p, err := start(t.Context(), cfg, noCgroup)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shut(t, p, s) })
	return p, s
}

func shut(t *testing.T, p *Process, s *said) {
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if p.group != nil {
		if _, err := os.Stat(p.group.Dir()); !os.IsNotExist(err) {
			t.Errorf("its cgroup is still there: %v", err)
		}
	}
	if t.Failed() {
		t.Logf("the worker said:\n%s", s)
	}
}

// attemptOf gives a worker a task that it will not do.
func attemptOf(ctx context.Context, p *Process) Report {
	return p.Run(ctx, Task{Job: 7, Attempt: 2, Mode: scanner.ModeStreaming}, func(scanner.Progress) {})
}

// want compares how an attempt ended with what is expected.
func want(t *testing.T, p *Process, r Report, o scanner.Outcome, code int, reason scanner.RestartReason, words ...string) {
	t.Helper()
	if r.Outcome != o {
		t.Errorf("outcome %s, want %s", r.Outcome, o)
	}
	if r.ExitCode == nil || *r.ExitCode != code {
		t.Errorf("exit code %v, want %d", r.ExitCode, code)
	}
	for _, w := range words {
		if !strings.Contains(r.Message, w) {
			t.Errorf("the message does not say %q: %s", w, r.Message)
		}
	}
	select {
	case <-p.Exited():
	default:
		t.Fatal("the process has not ended")
	}
	if x := p.Exit(); x.Reason != reason || x.ExitCode != code || x.Job != 7 || x.Message != r.Message || x.At.IsZero() {
		t.Errorf("the process ended as %+v, want %s", x, reason)
	}
	if r.Progress.Layer != 3 || r.Progress.Path != evil || r.RSS < 5<<20 {
		t.Errorf("it was at %+v, resident %d", r.Progress, r.RSS)
	}
	if strings.ContainsRune(r.Message, '\x1b') {
		t.Errorf("the message has a control character: %q", r.Message)
	}
}
