// Package testkit lets a test say what it needs of the machine.
//
// Vocabulary: a [Capability] is one such thing, by name: being root, memory
// cgroups, a program. Its probe tries it and has three answers: yes, no (an
// error that is [Missing], with the reason), and could not tell (any other
// error). [Need] goes on, skips or fails accordingly.
//
// A machine that should have a capability says so in the environment variable
// STELLA_REQUIRE: names separated by commas, or all. What it names is never
// skipped: its absence is a failure.
//
//	STELLA_REQUIRE=root,memory-cgroup,docker-registry go test ./...
//
// Hazards:
//
//   - A skip looks like a pass to whoever reads only the last line, so a machine
//     that loses a capability goes unnoticed unless STELLA_REQUIRE names it.
//   - Not to know is neither a skip nor a pass: it fails, whatever is required.
//   - A misspelt name in STELLA_REQUIRE would require nothing. So all names
//     that a test may use are in one list here, and Need refuses others, in the
//     variable and in the test.
//   - A test that needs several capabilities tries them all: one that is required
//     and missing is not hidden behind one that may be missing.
package testkit

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// requireEnv is the environment variable that says what this machine should have.
const requireEnv = "STELLA_REQUIRE"

// Capability is one thing that a test may need of the machine.
type Capability struct {
	// Name is one of the names that testkit lists.
	Name string
	// How says how to get it, for people: "run as root". It is empty where the reason of Missing says it.
	How string
	// Probe tries it. It returns nil for yes, an error that wraps Missing for
	// no, and any other error where it cannot tell. It leaves nothing behind
	// unless it answers yes.
	Probe func() error
}

// Missing is the error of a probe that is sure that the capability is not here.
// It says why, without the name of the capability.
type Missing string

// Error gives the reason.
func (m Missing) Error() string { return string(m) }

// Need goes on where this machine has all of the capabilities. It skips the test
// where one is missing, and fails it where a missing one is required, where a
// probe cannot tell, and where a name is not in the list.
func Need(t testing.TB, capabilities ...Capability) {
	t.Helper()
	required, err := parseRequired(os.Getenv(requireEnv))
	if err != nil {
		t.Fatal(err)
	}
	var skips []string
	for _, c := range capabilities {
		skip, err := c.need(required)
		if err != nil {
			t.Fatal(err)
		}
		if skip != "" {
			skips = append(skips, skip)
		}
	}
	if len(skips) > 0 {
		t.Skip(strings.Join(skips, "\n"))
	}
}

// need returns why to skip, or nothing where the capability is here.
func (c Capability) need(required []string) (skip string, err error) {
	if !slices.Contains(names(), c.Name) {
		return "", fmt.Errorf("capability %q is not in testkit's list of names: add it", c.Name)
	}
	err = c.Probe()
	if err == nil {
		return "", nil
	}
	if _, sure := errors.AsType[Missing](err); !sure {
		return "", fmt.Errorf("capability %s: could not tell: %w", c.Name, err)
	}
	text := fmt.Sprintf("capability %s: %v", c.Name, err)
	if c.How != "" {
		text += "; " + c.How
	}
	if slices.Contains(required, c.Name) {
		return "", fmt.Errorf("%s (%s says that this machine has it)", text, requireEnv)
	}
	return text, nil
}

// parseRequired returns the names in the text of STELLA_REQUIRE; all of them for "all".
func parseRequired(text string) ([]string, error) {
	switch text {
	case "":
		return nil, nil
	case "all":
		return names(), nil
	}
	required := strings.Split(text, ",")
	for _, name := range required {
		if !slices.Contains(names(), name) {
			return nil, fmt.Errorf("%s has %q, which is no capability; say all, or some of %s",
				requireEnv, name, strings.Join(names(), ","))
		}
	}
	return required, nil
}
