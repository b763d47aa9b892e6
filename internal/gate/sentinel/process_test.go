package sentinel

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// start starts the test binary as one of the two processes.
func start(t *testing.T, act, path string) *os.Process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, path)
	cmd.Env = append(os.Environ(), actEnv+"="+act)
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		t.Logf("%s: %s", act, &said)
	})
	return cmd.Process
}

// await waits until something is at the path, or is not.
func await(t *testing.T, path string, want bool) {
	t.Helper()
	for began := time.Now(); there(path) != want; time.Sleep(period / 100) {
		if time.Since(began) > time.Minute {
			t.Fatalf("after a minute: there is %v", !want)
		}
	}
}

// A gate that is killed, or stands still, leaves nothing open. How soon, and that the file stays until then, is tested in TestExpire, where no other process is in the way.
func TestGateIsLost(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSTOP} {
		t.Run(fmt.Sprint(signal), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "gated")
			expirer := start(t, "expire", path)
			gate := start(t, "gate", path)
			await(t, path, true)
			if err := gate.Signal(signal); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			await(t, path, false)
			t.Logf("gone after %v, with a period of %v", time.Since(began).Round(time.Millisecond), period)
			if status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", expirer.Pid)); err == nil {
				for line := range strings.Lines(string(status)) {
					if strings.HasPrefix(line, "VmHWM") {
						t.Logf("the expirer's %s", line)
					}
				}
			}
			if signal == syscall.SIGSTOP {
				if err := gate.Signal(syscall.SIGCONT); err != nil {
					t.Fatal(err)
				}
				await(t, path, true)
			}
		})
	}
}
