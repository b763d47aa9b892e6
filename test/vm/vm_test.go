package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"stella/internal/testkit"
	"stella/test/vm/kernel"
)

// programs are vm and a test to run in it, built once for all tests.
var programs struct{ vm, inside string }

var build = sync.OnceValue(func() error {
	for _, args := range [][]string{
		{"build", "-o", programs.vm, "."},
		{"test", "-c", "-o", programs.inside, "./testdata/inside"},
	} {
		cmd := exec.Command("go", args...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w: %s", cmd, err, out)
		}
	}
	return nil
})

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "stella-vm-test-*")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	programs.vm, programs.inside = filepath.Join(dir, "vm"), filepath.Join(dir, "inside.test")
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// slots lets two machines run at a time: each emulates two processors.
var slots = make(chan struct{}, 2)

// debianKernel is that the machine's kernel is here, or can be had.
func debianKernel(t *testing.T) testkit.Capability {
	return testkit.Capability{Name: "debian-kernel", How: "run apt-get update", Probe: func() error {
		if _, err := kernel.Get(t.Context()); err != nil {
			return testkit.Missing(err.Error())
		}
		return nil
	}}
}

// command runs the tests that match, in a machine.
func command(t *testing.T, tests string, flags ...string) *exec.Cmd {
	t.Helper()
	testkit.Need(t, testkit.Program("qemu-system-x86_64"), debianKernel(t))
	if err := build(); err != nil {
		t.Fatal(err)
	}
	t.Parallel()
	slots <- struct{}{}
	t.Cleanup(func() { <-slots })
	cmd := exec.Command(programs.vm, append(flags, programs.inside, "-test.run", tests, "-test.v")...)
	cmd.Dir = filepath.Join("testdata", "inside")
	cmd.Env = append(os.Environ(), "STELLA_PASSED=yes", "NOT_PASSED=yes", fmt.Sprintf("STELLA_VM_STARTED=%d", time.Now().Unix()))
	return cmd
}

func TestGuest(t *testing.T) {
	given := t.TempDir()
	if err := errors.Join(
		os.Mkdir(filepath.Join(given, "sub"), 0o755),
		os.WriteFile(filepath.Join(given, "sub", "first"), []byte("given"), 0o644),
		os.Chmod(filepath.Join(given, "sub", "first"), 0o751),
		os.Link(filepath.Join(given, "sub", "first"), filepath.Join(given, "second")),
		os.Symlink("sub/../sub/first", filepath.Join(given, "link")),
	); err != nil {
		t.Fatal(err)
	}
	cmd := command(t, "^Test[^E]|TestEnv", "-timeout", "2m", "-modules", "overlay,nf_conntrack", "-with", "mount", "-file", given+":/given")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.HasSuffix(string(out), "\nPASS\n") {
		t.Errorf("%v\n%s", err, out)
	}
	if n := strings.Count(string(out), "--- PASS"); n < 10 {
		t.Errorf("%d tests ran:\n%s", n, out)
	}
}

func TestDisk(t *testing.T) {
	dir := t.TempDir()
	disk, log := filepath.Join(dir, "a,disk"), filepath.Join(dir, "log")
	if err := errors.Join(os.WriteFile(disk, []byte("given"), 0o600), os.Truncate(disk, 1<<20), os.WriteFile(log, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	cmd := command(t, "^TestEndDisk$", "-disk", disk, "-disk-log", log)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for file, want := range map[string]string{disk: "taken", log: "rhswfsj\x00"} { // the magic number of dm-log-writes
		content, err := os.ReadFile(file)
		if err != nil || !bytes.Contains(content, []byte(want)) {
			t.Errorf("%s has %d bytes without %q (%v)", filepath.Base(file), len(content), want, err)
		}
	}
}

func TestEndings(t *testing.T) {
	for _, c := range []struct {
		test   string
		flags  []string
		exit   int
		stdout string // a part of it
		stderr []string
	}{
		{"Fail", nil, 1, "this test fails", nil},
		{"Panic", nil, 2, "this test panics", nil},
		{"Hang", []string{"-timeout", "5s"}, exitMachine, "", []string{"inside.test did not end within 5s (-timeout)", "console"}},
		{"Memory", []string{"-memory", "256"}, 128 + 9, "", []string{"inside.test was ended by a signal: killed", "Out of memory: Killed process"}},
		// A module that needs virtualization is refused, and no test is run.
		{"None", []string{"-modules", "kvm_intel"}, exitMachine, "", []string{"in the guest: load module /vm/modules/kvm-intel.ko: operation not supported"}},
		{"Kernel", nil, exitMachine, "", []string{"the machine ended before the program in it did", "init: start ", "Kernel panic - not syncing: sysrq triggered crash"}},
	} {
		t.Run(c.test, func(t *testing.T) {
			cmd := command(t, "^TestEnd"+c.test+"$", c.flags...)
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			err := cmd.Run()
			if code := cmd.ProcessState.ExitCode(); code != c.exit {
				t.Errorf("exit code %d (%v), want %d", code, err, c.exit)
			}
			if !strings.Contains(stdout.String(), c.stdout) {
				t.Errorf("stdout lacks %q:\n%s", c.stdout, &stdout)
			}
			for _, want := range c.stderr {
				if !strings.Contains(stderr.String(), want) {
					t.Errorf("stderr lacks %q:\n%s", want, &stderr)
				}
			}
			if c.stderr == nil && stderr.Len() > 0 {
				t.Errorf("stderr: %s", &stderr)
			}
		})
	}
}

func TestOutputIsExact(t *testing.T) {
	cmd := command(t, "^TestEndExit7$")
	var out slow
	cmd.Stdout = &out
	_ = cmd.Run() // the exit code says it
	got := out.taken.Bytes()
	if code := cmd.ProcessState.ExitCode(); code != 7 {
		t.Errorf("exit code %d, want 7", code)
	}
	var want bytes.Buffer
	want.WriteString("=== RUN   TestEndExit7\n")
	for i := range 20_000 {
		fmt.Fprintf(&want, "line %d\r\n\x04\x11\x13", i)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Errorf("got %d bytes, want %d; the end is %q", len(got), want.Len(), got[max(0, len(got)-100):])
	}
}

// slow takes output more slowly than the machine makes it. The pipes between
// them fill, the machine has to wait, and nothing may be lost by it.
type slow struct{ taken bytes.Buffer }

func (s *slow) Write(p []byte) (int, error) {
	time.Sleep(100 * time.Millisecond)
	return s.taken.Write(p)
}

// However vm ends, the machine ends with it.
func TestNoMachineIsLeft(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		t.Run(signal.String(), func(t *testing.T) {
			cmd := command(t, "^TestEndHang$")
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			for text := ""; !strings.Contains(text, "hanging"); {
				b := make([]byte, 100)
				n, err := out.Read(b)
				if err != nil {
					t.Fatalf("%v after %q: %v", err, text, cmd.Wait())
				}
				text += string(b[:n])
			}
			machine := onlyChild(t, cmd.Process.Pid)
			if err := cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait() // the signal or its exit code
			for deadline := time.Now().Add(10 * time.Second); running(machine); time.Sleep(10 * time.Millisecond) {
				if time.Now().After(deadline) {
					pid, _ := strconv.Atoi(machine)
					t.Fatalf("process %s still ran; killed now: %v", machine, syscall.Kill(pid, syscall.SIGKILL))
				}
			}
		})
	}
}

// onlyChild is the process that another has started.
func onlyChild(t *testing.T, pid int) string {
	t.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, list := range lists {
		pids, err := os.ReadFile(list)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, strings.Fields(string(pids))...)
	}
	if len(all) != 1 || !running(all[0]) {
		t.Fatalf("children: %v", all)
	}
	return all[0]
}

// running reports whether a process is a running QEMU: its pid could be another's by now.
func running(pid string) bool {
	status, err := os.ReadFile("/proc/" + pid + "/status")
	return err == nil && strings.HasPrefix(string(status), "Name:\tqemu-system") && !strings.Contains(string(status), "State:\tZ")
}
