package cgroup_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"stella/internal/cgroup"
)

// A group cannot have more processes than it may, and what a bomb of them is made of is killed, wherever it went.
func TestLimitProcessesAndKill(t *testing.T) {
	g := newGroup(t, 64<<20)
	const most = 40
	err := g.LimitProcesses(most)
	if errors.Is(err, cgroup.ErrNoProcessLimit) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	bomb := exec.Command(os.Args[0])
	bomb.Env = append(os.Environ(), bombEnv+"=1")
	if err := g.Start(bomb); err != nil {
		t.Fatal(err)
	}
	waited := make(chan error, 1)
	go func() { waited <- bomb.Wait() }()
	var pids []int
	for deadline := time.Now().Add(20 * time.Second); len(pids) < 3; time.Sleep(time.Millisecond) {
		if pids, err = g.PIDs(); err != nil || time.Now().After(deadline) {
			t.Fatalf("processes %v, %v", pids, err)
		}
	}
	below := filepath.Join(g.Dir(), "below")
	if err := os.Mkdir(below, 0o755); err != nil {
		t.Fatal(err)
	}
	// It can have ended before it is moved; then another one is.
	for _, pid := range pids {
		if os.WriteFile(filepath.Join(below, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0) == nil {
			break
		}
	}
	if pids, err = g.PIDs(); err != nil || len(pids) > most {
		t.Errorf("%d processes, %v", len(pids), err)
	}
	if err := g.Kill(); err != nil {
		t.Fatal(err)
	}
	<-waited
	for _, dir := range []string{g.Dir(), below} {
		if left, err := os.ReadFile(filepath.Join(dir, "cgroup.procs")); err != nil || len(left) > 0 {
			t.Errorf("left in %s: %q, %v", dir, left, err)
		}
	}
	if _, err := g.Stats(); err != nil {
		t.Errorf("after Kill: %v", err)
	}
	if err := g.LimitProcesses(0); err == nil || errors.Is(err, cgroup.ErrNoProcessLimit) {
		t.Errorf("a bound of 0: %v", err)
	}
}

// bomb starts itself as often as it can, and so does each.
func bomb() {
	for {
		if exec.Command(os.Args[0]).Start() != nil {
			time.Sleep(time.Millisecond)
		}
	}
}

// What the thread that starts a child did to itself, the child has, and no thread of this process keeps.
func TestStartFrom(t *testing.T) {
	g := newGroup(t, 64<<20)
	no := errors.New("no")
	if err := g.StartFrom(exec.Command("true"), func() error { return no }); !errors.Is(err, no) {
		t.Errorf("%v, want %v", err, no)
	}
	for range 20 {
		cmd := exec.Command("cat", "/proc/self/status", "/proc/self/cgroup")
		var out strings.Builder
		cmd.Stdout = &out
		if err := g.StartFrom(cmd, func() error { return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"NoNewPrivs:\t1", filepath.Base(g.Dir())} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("no %q in %s", want, &out)
			}
		}
	}
	statuses, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil || len(statuses) == 0 {
		t.Fatal(err)
	}
	for _, name := range statuses {
		if text, err := os.ReadFile(name); err == nil && strings.Contains(string(text), "NoNewPrivs:\t1") {
			t.Errorf("%s keeps what was for a child", name)
		}
	}
}
