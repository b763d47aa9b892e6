package testkit

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// childEnv makes TestChild call Need, in a process whose end the other tests look at.
const childEnv = "STELLA_TESTKIT_CHILD"

func answer(name string, err error) Capability {
	return Capability{Name: name, How: "ask for it", Probe: func() error { return err }}
}

// needs are what the child needs, by the value of childEnv.
var needs = map[string][]Capability{
	"yes":      {answer("root", nil)},
	"no":       {answer("root", fmt.Errorf("who am I: %w", Missing("nobody")))},
	"unknown":  {answer("root", errors.New("no answer"))},
	"unlisted": {answer("luck", nil)},
	// Both are missing; the second is the one that a machine may require.
	"two": {answer("cgroup-v2", Missing("v1")), answer("root", Missing("nobody"))},
	// Package os/exec knows that this program is not there, and testkit that it never heard of it.
	"program": {Program("no-such-program")},
}

// TestChild passes at once where it is not a child of TestNeed.
func TestChild(t *testing.T) {
	if c := os.Getenv(childEnv); c != "" {
		Need(t, needs[c]...)
		t.Log("went on")
	}
}

func TestNeed(t *testing.T) {
	for _, c := range []struct {
		child, require string
		verdict        string // of go test -v
		says           []string
	}{
		{"yes", "", "PASS", []string{"went on"}},
		{"yes", "root", "PASS", []string{"went on"}},
		{"yes", "all", "PASS", []string{"went on"}},
		{"no", "", "SKIP", []string{"capability root: who am I: nobody; ask for it"}},
		{"no", "docker-registry", "SKIP", []string{"capability root: who am I: nobody"}},
		{"no", "docker-registry,root", "FAIL", []string{"capability root: who am I: nobody; ask for it", "STELLA_REQUIRE says"}},
		{"no", "all", "FAIL", []string{"capability root: who am I: nobody"}},
		{"unknown", "", "FAIL", []string{"capability root: could not tell: no answer"}},
		{"unknown", "root", "FAIL", []string{"capability root: could not tell"}},
		{"two", "", "SKIP", []string{"capability cgroup-v2: v1", "capability root: nobody"}},
		{"two", "root", "FAIL", []string{"capability root: nobody"}},
		{"unlisted", "", "FAIL", []string{`"luck" is not in testkit's list`}},
		{"program", "", "FAIL", []string{`"no-such-program" is not in testkit's list`}},
		// What the variable says is looked at before what the machine has.
		{"yes", "rot", "FAIL", []string{`STELLA_REQUIRE has "rot"`, "memory-cgroup,"}},
		{"yes", "root,", "FAIL", []string{`STELLA_REQUIRE has ""`}},
		{"yes", "root, runc", "FAIL", []string{`STELLA_REQUIRE has " runc"`}},
		{"yes", "root,all", "FAIL", []string{`STELLA_REQUIRE has "all"`}},
	} {
		t.Run(c.child+"/"+c.require, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0], "-test.run=^TestChild$", "-test.v")
			cmd.Env = append(os.Environ(), childEnv+"="+c.child, requireEnv+"="+c.require, "GORACE=atexit_sleep_ms=0")
			out, err := cmd.CombinedOutput()
			if failed := err != nil; failed != (c.verdict == "FAIL") {
				t.Errorf("ended with %v, want a %s", err, c.verdict)
			}
			for _, want := range append(c.says, "--- "+c.verdict+": TestChild") {
				if !strings.Contains(string(out), want) {
					t.Errorf("does not say %q:\n%s", want, out)
				}
			}
			if wentOn := strings.Contains(string(out), "went on"); wentOn != (c.verdict == "PASS") {
				t.Errorf("went on: %v\n%s", wentOn, out)
			}
		})
	}
}

// What testkit offers is in its list, and each probe has an answer on this machine.
func TestCapabilitiesAnswer(t *testing.T) {
	capabilities := []Capability{Root, MemoryCgroup, CgroupV2, Namespaces, OwnMachine}
	for name := range programs {
		capabilities = append(capabilities, Program(name))
	}
	for _, c := range capabilities {
		if !slices.Contains(names(), c.Name) {
			t.Errorf("%s is not in the list", c.Name)
		}
		var missing Missing
		switch err := c.Probe(); {
		case err == nil:
			t.Logf("%s: yes", c.Name)
		case errors.As(err, &missing):
			t.Logf("%s: no: %v; %s", c.Name, err, c.How)
		default:
			t.Errorf("%s: could not tell: %v", c.Name, err)
		}
	}
}

func TestProgramThatIsNotThere(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	err := Program("runc").Probe()
	if missing, ok := errors.AsType[Missing](err); !ok || !strings.Contains(missing.Error(), "runc") {
		t.Errorf("got %v, want Missing", err)
	}
	if how := Program("qemu-system-x86_64").How; !strings.Contains(how, "qemu-system-x86") {
		t.Errorf("how to get it: %q", how)
	}
}
