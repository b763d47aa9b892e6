package run_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"stella/internal/rdev"
	"stella/internal/rdev/run"
	"stella/internal/testkit"
)

const limit = 64 << 20

// grace is long enough for whoever ends when it is told to, on a busy machine.
const grace = 30 * time.Second

// groups makes the names of this run's cgroups its own.
var groups = "run-test-" + strconv.Itoa(os.Getpid())

func runner(t *testing.T, o run.Options) *run.Runner {
	t.Helper()
	testkit.Need(t, testkit.MemoryCgroup)
	if o.Group == "" {
		o.Group = groups
	}
	if o.Grace == 0 {
		o.Grace = grace
	}
	r, err := run.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// act is the test binary in an act.
func act(name string, env ...string) run.Spec {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return run.Spec{ID: "1", Argv: []string{self}, Env: append(env, actEnv+"="+name), Memory: limit}
}

// output runs a command that ends by itself.
func output(t *testing.T, r *run.Runner, s run.Spec) (rdev.End, string) {
	t.Helper()
	var out, errs bytes.Buffer
	s.Stdout, s.Stderr = &out, &errs
	end := r.Run(t.Context(), s, nil)
	if errs.Len() > 0 {
		t.Logf("stderr: %s", errs.String())
	}
	nothingLeft(t)
	return end, out.String()
}

// nothingLeft checks that there is no cgroup of this run, of any controller.
func nothingLeft(t *testing.T) {
	t.Helper()
	for _, pattern := range []string{"/sys/fs/cgroup/*/", "/sys/fs/cgroup/*/*/*/", "/sys/fs/cgroup/*/*/", "/sys/fs/cgroup/"} {
		left, err := filepath.Glob(pattern + "stella-" + groups + "-*")
		if err != nil || len(left) > 0 {
			t.Errorf("left: %q (%v)", left, err)
		}
	}
}

// seen is a writer that says when a text was written.
type seen struct {
	text string
	once sync.Once
	done chan struct{}

	mu  sync.Mutex
	all strings.Builder
}

func lookFor(text string) *seen { return &seen{text: text, done: make(chan struct{})} }

func (s *seen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all.Write(p)
	if strings.Contains(s.all.String(), s.text) {
		s.once.Do(func() { close(s.done) })
	}
	return len(p), nil
}

func TestEndsByItself(t *testing.T) {
	r := runner(t, run.Options{})
	for name, want := range map[string]rdev.End{
		"exit:0":    {Reason: rdev.ReasonExit},
		"exit:3":    {Reason: rdev.ReasonExit, ExitCode: 3},
		"exit:137":  {Reason: rdev.ReasonExit, ExitCode: 137}, // by itself, whatever the code says
		"exit:255":  {Reason: rdev.ReasonExit, ExitCode: 255},
		"closed":    {Reason: rdev.ReasonExit, ExitCode: 4},
		"signal:9":  {Reason: rdev.ReasonSignal, ExitCode: 137, Signal: "SIGKILL"},
		"signal:15": {Reason: rdev.ReasonSignal, ExitCode: 143, Signal: "SIGTERM"},
		"signal:1":  {Reason: rdev.ReasonSignal, ExitCode: 129, Signal: "SIGHUP"},
	} {
		end, _ := output(t, r, act(name))
		if end.Detail == "" {
			t.Errorf("%s: no sentence", name)
		}
		end.Detail = ""
		if end != want {
			t.Errorf("%s: %+v, want %+v", name, end, want)
		}
	}
}

func TestInputAndOutput(t *testing.T) {
	r := runner(t, run.Options{})
	s := act("cat")
	text := strings.Repeat("in and out\x00\r\n", 100_000) // more than a pipe holds
	s.Stdin = strings.NewReader(text)
	if end, out := output(t, r, s); end.Reason != rdev.ReasonExit || out != text {
		t.Errorf("%+v, %d bytes; want %d", end, len(out), len(text))
	}
	s = act("exit:5") // does not read it
	s.Stdin = strings.NewReader(text)
	if end, _ := output(t, r, s); end.ExitCode != 5 {
		t.Errorf("%+v", end)
	}
	if end, out := output(t, r, act("write:200000")); end.ExitCode != 0 || !strings.HasSuffix(out, "line 199999\n") || strings.Count(out, "\n") != 200_000 {
		t.Errorf("%+v, %d lines", end, strings.Count(out, "\n"))
	}
	s = act("write:200000")
	s.Stdout, s.Stderr = full{}, nil
	end := r.Run(t.Context(), s, nil)
	if end.Reason == rdev.ReasonExit && end.ExitCode == 0 && !strings.Contains(end.Detail, "no space left") {
		t.Errorf("with a writer that fails: %+v", end)
	}
	nothingLeft(t)
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

func TestOutOfMemory(t *testing.T) {
	r := runner(t, run.Options{})
	end, _ := output(t, r, act("allocate:256"))
	o := end.OOM
	if end.Reason != rdev.ReasonOOM || end.ExitCode != 137 || end.Signal != "SIGKILL" || o == nil || !strings.Contains(end.Detail, "limit of 64.0 MiB") {
		t.Fatalf("%+v", end)
	}
	if o.Limit != limit || o.Kills < 1 || o.Survived || o.VictimPID == 0 || !strings.HasPrefix("run.test", o.VictimComm) || o.VictimComm == "" {
		t.Errorf("%+v", o)
	}
	if o.Peak != 0 && (o.Peak < limit/8*7 || o.Peak > limit+1<<20) { // 0 is v2 before Linux 5.19; v2 counts what it then refuses
		t.Errorf("peak %d", o.Peak)
	}
}

// A killed child is told, however its parent ends.
func TestChildOutOfMemory(t *testing.T) {
	var group string
	r := runner(t, run.Options{Victim: func(g string) (int, string, bool) {
		group = g
		return 4711, "child", true
	}})
	for code, want := range map[int]rdev.Reason{0: rdev.ReasonExit, 3: rdev.ReasonExit, 137: rdev.ReasonOOM} {
		end, out := output(t, r, act(fmt.Sprintf("child:%d", code)))
		o := end.OOM
		if end.Reason != want || end.ExitCode != code || end.Signal != "" || o == nil || !strings.Contains(out, "signal: killed") {
			t.Fatalf("%d: %+v, %q", code, end, out)
		}
		if o.Survived != (want == rdev.ReasonExit) || o.Kills != 1 || o.VictimPID != 4711 || o.VictimComm != "child" || o.Limit != limit {
			t.Errorf("%d: %+v", code, o)
		}
		if !strings.Contains(filepath.Base(group), groups) {
			t.Errorf("asked for the victim in %s", group)
		}
	}
}

// begin runs a command until its output has a text, then lets ready do something, and returns the end.
func begin(t *testing.T, r *run.Runner, s run.Spec, text string, ready func(cancel context.CancelCauseFunc)) (rdev.End, string) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	out := lookFor(text)
	s.Stdout = out
	started := false
	var helper sync.WaitGroup
	helper.Go(func() {
		select {
		case <-out.done:
		case <-time.After(grace):
			t.Errorf("it never wrote %q", text)
		}
		ready(cancel)
	})
	end := r.Run(ctx, s, func() { started = true })
	helper.Wait()
	if !started {
		t.Error("not told that it was started")
	}
	nothingLeft(t)
	return end, out.all.String()
}

func TestCancel(t *testing.T) {
	r := runner(t, run.Options{})
	end, out := begin(t, r, act("waiter:6"), "ready", func(cancel context.CancelCauseFunc) { cancel(errors.New("the key was revoked")) })
	if end.Reason != rdev.ReasonCancelled || end.ExitCode != 6 || end.Signal != "" || !strings.Contains(out, "tidied up") || !strings.Contains(end.Detail, "the key was revoked") {
		t.Errorf("%+v, %q", end, out)
	}
	// The first process ends at once, and what it started has the grace all the same.
	end, out = begin(t, r, act("parent"), "ready", func(cancel context.CancelCauseFunc) { cancel(nil) })
	if end.Reason != rdev.ReasonCancelled || end.Signal != "SIGTERM" || end.ExitCode != 143 {
		t.Errorf("%+v, %q", end, out)
	}
	r = runner(t, run.Options{Grace: 100 * time.Millisecond})
	end, _ = begin(t, r, act("stubborn"), "ready", func(cancel context.CancelCauseFunc) { cancel(nil) })
	if end.Reason != rdev.ReasonCancelled || end.Signal != "SIGKILL" || end.ExitCode != 137 || !strings.Contains(end.Detail, "was killed") {
		t.Errorf("%+v", end)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	end = r.Run(ctx, act("exit:0"), func() { t.Error("started") })
	if end.Reason != rdev.ReasonCancelled || end.ExitCode != -1 {
		t.Errorf("%+v", end)
	}
}

func TestTimeout(t *testing.T) {
	r := runner(t, run.Options{})
	s := act("waiter:0")
	s.Timeout = time.Second
	end, _ := output(t, r, s)
	if end.Reason != rdev.ReasonTimeout || !strings.Contains(end.Detail, "time was over") {
		t.Errorf("%+v", end)
	}
	// A stopped process hears of it, too.
	s.Timeout = 2 * time.Second
	s.Env = []string{actEnv + "=signal:19"}
	end, _ = output(t, r, s)
	if end.Reason != rdev.ReasonTimeout || end.Signal != "SIGTERM" {
		t.Errorf("stopped: %+v", end)
	}
}

// What holds the output after the first process is killed, even in a session of its own.
func TestLeavesProcesses(t *testing.T) {
	r := runner(t, run.Options{})
	end, out := output(t, r, act("leave"))
	if end.Reason != rdev.ReasonExit || end.ExitCode != 0 || strings.Contains(end.Detail, "held its output") {
		t.Errorf("%+v", end)
	}
	left := 0
	for line := range strings.Lines(out) {
		if pid, ok := strings.CutPrefix(strings.TrimSpace(line), "left "); ok {
			left++
			if n, err := strconv.Atoi(pid); err != nil || alive(n) {
				t.Errorf("%s is alive (%v)", pid, err)
			}
		}
	}
	if left != 2 {
		t.Errorf("%q", out)
	}
}

// alive reports whether a process runs, which one that nobody has reaped does not.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(state, "Z") && !strings.HasPrefix(state, "X")
}

// Commands that run at the same time are not mixed up.
func TestManyAtOnce(t *testing.T) {
	r := runner(t, run.Options{})
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			name, want := "exit:"+strconv.Itoa(i), rdev.ReasonExit
			switch i % 4 {
			case 1:
				name, want = "allocate:256", rdev.ReasonOOM
			case 2:
				name, want = "signal:9", rdev.ReasonSignal
			}
			end := r.Run(t.Context(), act(name), nil)
			if end.Reason != want || want == rdev.ReasonExit && end.ExitCode != i || (end.OOM != nil) != (want == rdev.ReasonOOM) {
				t.Errorf("%s: %+v", name, end)
			}
		})
	}
	all.Wait()
	nothingLeft(t)
}

func TestForkBomb(t *testing.T) {
	r := runner(t, run.Options{Processes: 60, Grace: 10 * time.Millisecond})
	s := act("bomb")
	s.Memory, s.Timeout = 256<<20, time.Second
	end, _ := output(t, r, s)
	if end.Reason != rdev.ReasonTimeout && end.Reason != rdev.ReasonOOM {
		t.Errorf("%+v", end)
	}
}

func TestGetsNothingOfTheService(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	// As a descriptor is that this process was given.
	if _, _, errno := syscall.Syscall(syscall.SYS_FCNTL, r.Fd(), syscall.F_SETFD, 0); errno != 0 {
		t.Fatal(errno)
	}
	t.Setenv("SECRET", "password")
	dir := t.TempDir()
	user := &run.User{UID: 65534, GID: 65533, Groups: []uint32{12}, Name: "somebody", Home: "/nonexistent"}
	for _, u := range []*run.User{nil, user} {
		if u != nil {
			testkit.Need(t, testkit.Root)
		}
		s := act("show", "A=1", "A=2")
		s.Dir = dir
		if u != nil {
			s.Dir = "/"
			// Tests are built into directories that others may not enter.
			s.Argv = []string{publicCopy(t, s.Argv[0])}
		}
		end, out := output(t, runner(t, run.Options{User: u}), s)
		if end.ExitCode != 0 || end.Reason != rdev.ReasonExit {
			t.Fatalf("%+v", end)
		}
		want := []string{"session true", "directory " + s.Dir, "env A=2", "env PWD=" + s.Dir, "NoNewPrivs:\t1", "adj 1000", "fd 0 /dev/null"}
		if u != nil {
			want = append(want, "user 65534 65533 65533", "groups [12]", "env USER=somebody", "env HOME=/nonexistent")
		}
		for _, w := range want {
			if !strings.Contains("\n"+out, "\n"+w+"\n") {
				t.Errorf("no line %q in:\n%s", w, out)
			}
		}
		for _, bad := range []string{"SECRET", "env A=1", "fd 3", "fd 4", "fd 5", "fd 6", "fd 7", "fd 8", "fd 9"} {
			if strings.Contains(out, bad) {
				t.Errorf("%q in:\n%s", bad, out)
			}
		}
	}
	// It was the thread that gave privileges up, which has ended.
	statuses, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range statuses {
		if text, err := os.ReadFile(name); err == nil && strings.Contains(string(text), "NoNewPrivs:\t1") {
			t.Errorf("%s: this process gave up privileges", name)
		}
	}
}

func publicCopy(t *testing.T, program string) string {
	t.Helper()
	text, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "stella-run-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	name := filepath.Join(dir, "run.test")
	for _, err := range []error{os.Chmod(dir, 0o755), os.WriteFile(name, text, 0o755)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return name
}
