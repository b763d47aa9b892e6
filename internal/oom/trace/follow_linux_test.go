package trace_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"stella/internal/cgroup"
	"stella/internal/oom"
	"stella/internal/oom/trace"
	"stella/internal/testkit"
)

// hogEnv makes the test binary use that many bytes of memory.
const hogEnv = "STELLA_TRACE_TEST_HOG"

func TestMain(m *testing.M) {
	if n, err := strconv.Atoi(os.Getenv(hogEnv)); err == nil {
		block := make([]byte, n)
		for i := 0; i < n; i += 4096 {
			block[i] = 1
		}
		return
	}
	os.Exit(m.Run())
}

// tracefs mounts one for the test.
func tracefs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	testkit.Need(t, testkit.Root, testkit.MemoryCgroup, testkit.Capability{
		Name: "tracefs", How: "run as root, on a kernel with CONFIG_FTRACE",
		Probe: func() error {
			switch err := unix.Mount("none", dir, "tracefs", 0, ""); {
			case errors.Is(err, unix.ENODEV):
				return testkit.Missing("this kernel has no tracefs")
			case errors.Is(err, unix.EPERM):
				return testkit.Missing("it may not be mounted")
			case err != nil:
				return err
			}
			t.Cleanup(func() {
				if err := unix.Unmount(dir, 0); err != nil {
					t.Error(err)
				}
			})
			_, err := os.Stat(filepath.Join(dir, "events/oom/mark_victim"))
			if errors.Is(err, fs.ErrNotExist) {
				return testkit.Missing("this kernel has no tracepoint of victims")
			}
			return err
		},
	})
	return dir
}

func TestFollow(t *testing.T) {
	dir := tracefs(t)
	name := fmt.Sprintf("stella-test-%d", os.Getpid())
	instance := filepath.Join(dir, "instances", name)
	if err := os.Mkdir(instance, 0o700); err != nil { // left by one that was killed
		t.Fatal(err)
	}
	left, err := os.Stat(instance)
	if err != nil {
		t.Fatal(err)
	}
	g, err := cgroup.New("trace", cgroup.Limit{Memory: 16 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	ctx, cancel := context.WithCancel(context.Background())
	told, ended := make(chan oom.Notice, 100), make(chan error, 1)
	o := trace.Options{Dir: dir, Name: name, Log: slog.New(slog.DiscardHandler)}
	go func() { ended <- trace.Follow(ctx, o, func(n oom.Notice) { told <- n }) }()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		// An instance with an open file could not be removed, so the left one is only looked at.
		if now, err := os.Stat(instance); err == nil && !os.SameFile(now, left) {
			if text, _ := os.ReadFile(filepath.Join(instance, "events/oom/mark_victim/enable")); len(text) > 0 && text[0] == '1' {
				break
			}
		}
		select {
		case err := <-ended:
			t.Fatal(err)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatal("the tracepoint was not switched on in 10 s")
		}
	}
	// Its pipe is opened after that; what comes before is in the buffer.
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), hogEnv+"="+strconv.Itoa(64<<20))
	if err := g.Start(cmd); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if s := cmd.ProcessState.Sys().(syscall.WaitStatus); s.Signal() != syscall.SIGKILL {
		t.Fatalf("the process ended with %v, want SIGKILL", cmd.ProcessState)
	}
	for deadline := time.After(10 * time.Second); ; {
		select {
		case n := <-told:
			if n.Process.PID != cmd.Process.Pid {
				continue // another test's
			}
			if n.Witness != oom.WitnessTrace || time.Since(n.Time) > 10*time.Second || n.Process.Comm != "" && n.Process.Anon == 0 {
				t.Errorf("%+v", n)
			}
		case err := <-ended:
			t.Fatal(err)
		case <-deadline:
			t.Fatal("the victim was not told in 10 s")
		}
		break
	}
	// A second one is refused while this one runs.
	if err := trace.Follow(ctx, o, func(oom.Notice) {}); err == nil || errors.Is(err, trace.ErrNotHere) {
		t.Errorf("a second one: %v", err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(instance); !os.IsNotExist(err) {
		t.Errorf("the instance is still there: %v", err)
	}
}

func TestSaysWhatIsMissing(t *testing.T) {
	err := trace.Follow(context.Background(), trace.Options{Dir: t.TempDir()}, func(oom.Notice) {})
	if !errors.Is(err, trace.ErrNotHere) {
		t.Errorf("without tracefs: %v", err)
	}
}
