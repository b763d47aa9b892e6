package victims_test

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"stella/internal/oom/victims"
	"stella/internal/testkit"
)

// Agents that start at the same time share one set of programs.
func TestTogether(t *testing.T) {
	dir, p := bpffs(t), newPart(t)
	open(t, dir).Close() // it is mounted now, which no lock guards
	if err := victims.Remove(dir); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	const agents = 8
	for range agents {
		cmd := command(t, "holder", dir)
		go func() { ended <- startAndWait(cmd) }()
		t.Cleanup(func() {
			if cmd.Process != nil {
				_ = cmd.Process.Kill()
				if err := cmd.Wait(); cmd.ProcessState.ExitCode() > 0 {
					t.Errorf("an agent ended: %v", err)
				}
			}
		})
	}
	for range agents {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	var warned bytes.Buffer
	v, err := victims.Open(victims.Options{Dir: dir, Log: slog.New(slog.NewTextHandler(&warned, nil))})
	if err != nil || warned.Len() > 0 {
		t.Fatalf("%v; %s", err, warned.String())
	}
	defer v.Close()
	p.make("/a", 32*mib)
	p.want(v, p.kill("/a", "once", 64*mib), "/a", "/a", 32*mib)
}

// What is not whole is made anew, and what agents of other versions left is removed.
func TestNotWhole(t *testing.T) {
	dir, p := bpffs(t), newPart(t)
	p.make("/a", 32*mib)
	open(t, dir).Close()
	pins, err := filepath.Glob(filepath.Join(dir, "stella-victims-v*", "*"))
	if err != nil || len(pins) != 4 {
		t.Fatalf("pinned are %q, %v", pins, err)
	}
	old := filepath.Join(dir, "stella-victims-v0")
	for _, pin := range pins {
		if err := errors.Join(os.Remove(pin), os.Mkdir(old, 0o700)); err != nil {
			t.Fatal(err)
		}
		var warned bytes.Buffer
		v, err := victims.Open(victims.Options{Dir: dir, Log: slog.New(slog.NewTextHandler(&warned, nil))})
		if err != nil || !strings.Contains(warned.String(), "not whole") {
			t.Fatalf("without %s: %v; %s", pin, err, warned.String())
		}
		p.want(v, p.kill("/a", "noted", 64*mib), "/a", "/a", 32*mib)
		v.Close()
		if _, err := os.Stat(old); !os.IsNotExist(err) {
			t.Errorf("the old version is there: %v", err)
		}
	}
	info, err := os.Stat(filepath.Dir(pins[0]))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory is %v, %v", info, err)
	}
}

func TestNotHere(t *testing.T) {
	testkit.Need(t, testkit.Root)
	used := t.TempDir()
	if err := os.WriteFile(filepath.Join(used, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for dir, why := range map[string]string{filepath.Join(used, "none"): "no such file", used: "has files in it"} {
		_, err := victims.Open(victims.Options{Dir: dir, Log: slog.New(slog.DiscardHandler)})
		if !errors.Is(err, victims.ErrNotHere) || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

// Who may not is told so, and breaks nothing.
func TestDenied(t *testing.T) {
	dir := bpffs(t)
	run := func(want string) {
		t.Helper()
		cmd := command(t, "denied", dir)
		out, err := cmd.Output()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("denied: %v: %s; want %s", err, out, want)
		}
	}
	run("mount")
	if err := unix.Mount("bpf", dir, "bpf", 0, ""); err != nil {
		t.Fatal(err)
	}
	run("CAP_BPF")
	if left, err := filepath.Glob(filepath.Join(dir, "stella*")); err != nil || len(left) > 0 {
		t.Errorf("left %q, %v", left, err)
	}
	open(t, dir).Close()
	run("") // to read what is pinned is allowed to its owner on new kernels
	p := newPart(t)
	p.make("/a", 32*mib)
	c := p.kill("/a", "noted", 64*mib)
	p.want(open(t, dir), c, "/a", "/a", 32*mib)
}
