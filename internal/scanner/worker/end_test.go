package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"stella/internal/scanner"
	"stella/internal/testkit"
)

const testLimit = 64 << 20

func TestKilledByTheKernel(t *testing.T) {
	p, _ := begin(t, "allocate:256", testLimit)
	r := attemptOf(t.Context(), p)
	want(t, p, r, scanner.OutcomeOOM, 137, scanner.RestartOOM,
		"out of memory: ", "its limit of 64.0 MiB", "(peak 6", "layer 3", `srv/evil\x1b.jar`)
	// The kernel can count the victim of a group kill twice; see cgroup.Stats.
	if r.Kills < 1 || r.Kills > 2 || r.Peak < testLimit/8*7 || r.Peak > testLimit+1<<20 {
		t.Errorf("%d kills, peak %d", r.Kills, r.Peak)
	}
	if x := p.Exit(); x.Kills != r.Kills || x.Peak != r.Peak || x.Limit != testLimit {
		t.Errorf("the process ended as %+v", x)
	}
}

// Workers that are killed at the same time are not mixed up.
func TestManyKilledAtOnce(t *testing.T) {
	var wg sync.WaitGroup
	for i := range 12 {
		act, outcome := "allocate:64", scanner.OutcomeOOM
		if i%3 == 0 {
			act, outcome = "signal:9", scanner.OutcomeKilled
		}
		p, _ := begin(t, act, 24<<20)
		wg.Go(func() {
			if r := attemptOf(t.Context(), p); r.Outcome != outcome || *r.ExitCode != 137 {
				t.Errorf("%s: %+v", act, r)
			}
		})
	}
	wg.Wait()
}

// What comes too late to stop one attempt does not stop the next.
func TestInterruptOfAnEarlierAttempt(t *testing.T) {
	p, _ := begin(t, "done", testLimit)
	p.interrupt(new(attempt), killing{scanner.OutcomeTimeout, "too late"})
	if r := attemptOf(t.Context(), p); r.Outcome != scanner.OutcomeError || r.Message != "as asked" {
		t.Errorf("%+v", r)
	}
}

// A SIGKILL from elsewhere is never taken for the kernel's.
func TestKilledByAnother(t *testing.T) {
	p, _ := begin(t, "signal:9", testLimit)
	r := attemptOf(t.Context(), p)
	want(t, p, r, scanner.OutcomeKilled, 137, scanner.RestartCrash, "SIGKILL", "by somebody else", "counted no kill", "layer 3")
	if r.Kills != 0 || !r.Retryable {
		t.Errorf("%+v", r)
	}
}

func TestEndsOfAWorker(t *testing.T) {
	for _, c := range []struct {
		act    string
		code   int
		reason scanner.RestartReason
		out    scanner.Outcome
		words  []string
	}{
		{"heap", 2, scanner.RestartOOM, scanner.OutcomeOOM, []string{"heap exhausted", "fatal error: ", "memory", "64.0 MiB", "layer 3"}},
		{"panic", 2, scanner.RestartCrash, scanner.OutcomeKilled, []string{"exit code 2", "panic: boom", "layer 3"}},
		{"exit:3", 3, scanner.RestartCrash, scanner.OutcomeKilled, []string{"by itself with exit code 3"}},
		{"exit:0", 0, scanner.RestartCrash, scanner.OutcomeKilled, []string{"by itself with exit code 0"}},
		{"signal:15", 143, scanner.RestartCrash, scanner.OutcomeKilled, []string{"signal 15 (terminated)"}},
		{"line", 137, scanner.RestartCrash, scanner.OutcomeKilled, []string{"wrote a line of more than"}},
		{"flood", 137, scanner.RestartCrash, scanner.OutcomeKilled, []string{"messages within 10s"}},
		{"stderr", 137, scanner.RestartCrash, scanner.OutcomeKilled, []string{"to standard error"}},
		{"liar", 137, scanner.RestartCrash, scanner.OutcomeKilled, []string{`ended as "oom"`}},
	} {
		t.Run(c.act, func(t *testing.T) {
			if c.act == "heap" && raceDetector {
				t.Skip("the race detector's allocator says it in other words")
			}
			p, s := begin(t, c.act, testLimit)
			if c.act == "flood" {
				r := attemptOf(t.Context(), p)
				if r.Outcome != c.out || !strings.Contains(r.Message, c.words[0]) {
					t.Errorf("%+v", r)
				}
				return // what it was at is drowned
			}
			r := attemptOf(t.Context(), p)
			want(t, p, r, c.out, c.code, c.reason, c.words...)
			switch c.act {
			case "heap":
				if !strings.Contains(s.String(), "stderr: fatal error: ") {
					t.Errorf("logged:\n%s", s)
				}
			case "stderr":
				if n := strings.Count(s.String(), "\n"); n > maxStderrLines+1 || !strings.Contains(s.String(), "the rest is left out") {
					t.Errorf("%d lines were logged", n)
				}
			}
		})
	}
}

// A worker that hears nothing is ended, with what it started.
func TestStopped(t *testing.T) {
	for _, c := range []struct {
		cause  error
		out    scanner.Outcome
		reason scanner.RestartReason
	}{
		{ErrTimeout, scanner.OutcomeTimeout, scanner.RestartTimeout},
		{ErrCancelled, scanner.OutcomeCancelled, scanner.RestartCancelled},
		{errors.New("the server is being stopped"), scanner.OutcomeLost, scanner.RestartRequested},
	} {
		p, _ := begin(t, "deaf", testLimit)
		ctx, cancel := context.WithCancelCause(t.Context())
		r := p.Run(ctx, Task{Job: 7}, func(scanner.Progress) { cancel(c.cause) })
		want(t, p, r, c.out, 137, c.reason, c.cause.Error(), "layer 3")
		if r = attemptOf(t.Context(), p); r.Outcome != scanner.OutcomeLost || !strings.Contains(r.Message, "had ended") {
			t.Errorf("a worker that has ended took a task: %+v", r)
		}
	}
}

func TestStoppedWithWhatItStarted(t *testing.T) {
	for name, begin := range map[string]func(*testing.T, string, int64) (*Process, *said){"cgroup": begin, "fallback": beginWatched} {
		t.Run(name, func(t *testing.T) {
			p, _ := begin(t, "helper", testLimit)
			ctx, cancel := context.WithCancelCause(t.Context())
			pid := 0
			r := p.Run(ctx, Task{Job: 7}, func(s scanner.Progress) {
				if pid = int(s.Packages); pid != 0 {
					cancel(ErrTimeout)
				}
			})
			t.Cleanup(func() {
				if running(pid) {
					syscall.Kill(pid, syscall.SIGKILL)
				}
			})
			if r.Outcome != scanner.OutcomeTimeout {
				t.Errorf("%+v", r)
			}
			// It is nobody's child now but init's, which reaps it at its leisure.
			for deadline := time.Now().Add(10 * time.Second); running(pid); time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("what the worker started still runs")
				}
			}
		})
	}
}

// running reports whether a process does more than wait for its parent.
func running(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	return !strings.HasPrefix(rest, "Z")
}

func TestCloseDuringAnAttempt(t *testing.T) {
	p, _ := begin(t, "deaf", testLimit)
	done := make(chan error, 1)
	r := p.Run(t.Context(), Task{Job: 7}, func(scanner.Progress) { go func() { done <- p.Close() }() })
	if err := <-done; err != nil {
		t.Error(err)
	}
	want(t, p, r, scanner.OutcomeLost, 137, scanner.RestartRequested, "told to end")
}

func TestCloseOfAnIdleWorker(t *testing.T) {
	p, _ := begin(t, "serve", testLimit)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if x := p.Exit(); x.Reason != scanner.RestartRequested || x.Job != 0 {
		t.Errorf("%+v", x)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

func TestStartRefuses(t *testing.T) {
	for act, words := range map[string]string{
		"usage":   `exit code 2, and said "unknown command worker"`,
		"old":     "is of another version (0.0.1, protocol 0 instead of 1)",
		"garbage": "no message",
		"eager":   "a task that it does not have",
	} {
		cfg, _ := config(act, testLimit)
		p, err := start(t.Context(), cfg, noCgroup)
		if err == nil {
			p.Close()
			t.Fatalf("%s: a worker was started", act)
		}
		if !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v; want %s", act, err, words)
		}
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, errors.New("too slow"))
	defer cancel()
	cfg, _ := config("silent", testLimit)
	if _, err := start(ctx, cfg, noCgroup); err == nil || !strings.Contains(err.Error(), "too slow") {
		t.Errorf("a worker that says nothing: %v", err)
	}
	cfg.Program = "/nonexistent/stella"
	if _, err := Start(t.Context(), cfg); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "worker default-0") {
		t.Error(err)
	}
}

func TestFallback(t *testing.T) {
	p, _ := beginWatched(t, "allocate:256", testLimit)
	if p.Limited() || p.Isolation() != "fallback: resident set watched" {
		t.Errorf("%v, %s", p.Limited(), p.Isolation())
	}
	r := attemptOf(t.Context(), p)
	want(t, p, r, scanner.OutcomeOOM, 137, scanner.RestartOOM, "out of memory", "the server killed", "64.0 MiB", "fallback: resident set watched", "layer 3")
	if r.Kills != 0 {
		t.Errorf("%d kills of the kernel", r.Kills)
	}
	p, _ = beginWatched(t, "signal:9", testLimit)
	want(t, p, attemptOf(t.Context(), p), scanner.OutcomeKilled, 137, scanner.RestartCrash, "nobody can tell by whom")
}

func TestSample(t *testing.T) {
	p, _ := begin(t, "allocate:24", testLimit)
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	done := make(chan Report)
	go func() { done <- attemptOf(ctx, p) }()
	var s Sample
	for deadline := time.Now().Add(10 * time.Second); s.Memory < 24<<20; time.Sleep(10 * time.Millisecond) {
		var err error
		if s, err = p.Sample(); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(deadline) {
			t.Fatalf("after ten seconds: %+v", s)
		}
	}
	if s.Memory > testLimit || s.Peak < 24<<20 || s.Peak > testLimit || s.CPU < 0 || s.CPU > 8 {
		t.Errorf("%+v", s)
	}
	cancel(ErrCancelled)
	<-done
	if s, err := p.Sample(); err == nil {
		t.Errorf("a process that has ended uses %+v", s)
	}
}

// Groups that an instance left, with what hangs in them, are removed by the next.
func TestCleanUp(t *testing.T) {
	testkit.Need(t, testkit.MemoryCgroup)
	cfg, _ := config("deaf", testLimit)
	p, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := CleanUp(cfg.Group); err != nil {
		t.Error(err)
	}
	<-p.Exited()
	if _, err := os.Stat(p.group.Dir()); !os.IsNotExist(err) {
		t.Errorf("the group is still there: %v", err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

// A worker ends when its server does, also in the middle of a task.
func TestEndsWithItsServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cfg, _ := config("serve", testLimit)
	cmd := exec.Command(cfg.Program, cfg.Args...)
	cmd.Env = cfg.Env
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(in, `{"Image":"%s/app","Local":true,"Memory":33554432}`+"\n", l.Addr())
	conn, err := l.Accept() // of a registry that never answers
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	begun := time.Now()
	in.Close()
	if err := cmd.Wait(); err == nil {
		t.Error("it ended well, in the middle of a task")
	}
	if d := time.Since(begun); d > 2*time.Second {
		t.Errorf("it ended after %v", d)
	}
}

func TestServeRefuses(t *testing.T) {
	for text, words := range map[string]string{
		"nonsense\n":               "no task",
		`{"Unknown":1}` + "\n":     "unknown field",
		strings.Repeat("x", 2<<20): "too long",
		"{} {}\n":                  "more behind it",
	} {
		err := Serve(t.Context(), ServeOptions{Stdin: strings.NewReader(text), Stdout: io.Discard})
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%.20q: %v", text, err)
		}
	}
}
