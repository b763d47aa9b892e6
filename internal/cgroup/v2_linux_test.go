package cgroup_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"stella/internal/cgroup"
	"stella/internal/testkit"
)

// Placement and removal on v2 need no memory controller, so they are tested on
// every machine that has v2 mounted and writable, hybrid ones too.
func TestV2StartPlacesAndCloseKills(t *testing.T) {
	var dir string
	testkit.Need(t, testkit.Capability{
		Name: "cgroup-v2-mount", How: "run as root, with cgroup2 mounted and writable",
		Probe: func() (err error) {
			dir, err = makeV2Directory()
			return err
		},
	})
	g := cgroup.V2At(dir)
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	cmd := exec.Command("cat", "/proc/self/cgroup")
	var out strings.Builder
	cmd.Stdout = &out
	if err := g.Start(cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "0::") || !strings.Contains(out.String(), filepath.Base(dir)) {
		t.Errorf("child was not in %s:\n%s", dir, &out)
	}
	left := exec.Command("sleep", "600")
	if err := g.Start(left); err != nil {
		t.Fatal(err)
	}
	waited := make(chan error, 1)
	go func() { waited <- left.Wait() }()
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-waited; err == nil {
		t.Error("what was left ended well, want it killed")
	}
}

// makeV2Directory makes a directory in the first v2 hierarchy that lets it.
func makeV2Directory() (string, error) {
	points, err := cgroup.V2Mounts()
	if err != nil {
		return "", err
	}
	reason := "cgroup v2 is not mounted"
	for _, point := range points {
		dir, err := os.MkdirTemp(point, "stella-test-*")
		if err == nil {
			return dir, nil
		}
		reason = err.Error()
	}
	return "", testkit.Missing(reason)
}

// The high mark and the group kill are set where a limit has them.
func TestV2Limits(t *testing.T) {
	testkit.Need(t, testkit.CgroupV2)
	g := makeGroup(t, cgroup.Limit{Memory: 64 << 20, High: 60 << 20, KillGroup: true})
	for file, want := range map[string]string{
		"memory.max": "67108864", "memory.high": "62914560", "memory.oom.group": "1", "memory.swap.max": "0",
	} {
		text, err := os.ReadFile(filepath.Join(g.Dir(), file))
		if os.IsNotExist(err) && file == "memory.swap.max" {
			continue // a kernel without swap
		}
		if got := strings.TrimSpace(string(text)); got != want || err != nil {
			t.Errorf("%s is %q (%v), want %s", file, got, err, want)
		}
	}
}
