package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// start starts a scan that hangs, and returns when it hangs.
func start(t *testing.T) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	host, asked := stallingRegistry(t)
	cmd := exec.Command("stella", "scan", "image", host+"/some/app:1", "-o", "json=out.json", "--no-cache")
	cmd.Dir = t.TempDir()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	select {
	case <-asked:
	case <-time.After(20 * time.Second):
		t.Fatal("the registry was not asked within 20 s")
	}
	return cmd, &stderr
}

func TestInterrupted(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			cmd, stderr := start(t)
			cmd.Process.Signal(sig)
			wantExit(t, cmd.Wait(), 130)
			if got := stderr.String(); !strings.Contains(got, "stella: interrupted\n") {
				t.Errorf("stderr is %q", got)
			}
			if left, err := os.ReadDir(cmd.Dir); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

// Two signals that come together are one: the command still ends in order.
func TestInterruptedTwice(t *testing.T) {
	for range 5 {
		cmd, stderr := start(t)
		cmd.Process.Signal(syscall.SIGINT)
		cmd.Process.Signal(syscall.SIGTERM)
		wantExit(t, cmd.Wait(), 130)
		if got := stderr.String(); !strings.Contains(got, "stella: interrupted\n") {
			t.Fatalf("stderr is %q", got)
		}
	}
}

// A reader that went away is no failure, and nothing is said about it.
func TestReaderOfStdoutWentAway(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	var stderr bytes.Buffer
	cmd := exec.Command("stella", "completion", "bash")
	cmd.Stdout, cmd.Stderr = w, &stderr
	wantExit(t, cmd.Run(), 0)
	if stderr.Len() > 0 {
		t.Errorf("stderr is %q", stderr.String())
	}

	// The code is that of the work: here, that something could not be read.
	root, layout := t.TempDir(), t.TempDir()
	database := filepath.Join(root, "var/lib/rpm/rpmdb.sqlite")
	if err := errors.Join(
		os.MkdirAll(filepath.Dir(database), 0o755),
		os.WriteFile(database, []byte("This is no database."), 0o644),
		writeImage(layout, []string{root}),
	); err != nil {
		t.Fatal(err)
	}
	cmd = exec.Command("stella", "scan", "image", "oci-dir:"+layout, "--no-cache")
	cmd.Stdout = w
	wantExit(t, cmd.Run(), 5)
	w.Close()
}

func wantExit(t *testing.T, err error, want int) {
	t.Helper()
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("exit code is %d; want %d", got, want)
	}
}
