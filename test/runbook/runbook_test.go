// Package runbook runs the runbooks for the scanner service, and what can be done
// wrong with it, with real programs: stella and stellad as they are released, real
// images, real kills by the kernel.
//
// Vocabulary: a script is a file in testdata (package testscript). In it a line that begins with a
// dollar sign is a line of a runbook, as a person would type it: sh runs it. The other
// commands set the scene and look at it; see [commands].
//
// Hazards:
//
//   - Each script has a stellad of its own, with its own data, socket and ports, so scripts run
//     side by side. What a script starts ends with it.
//   - Nothing here waits for a time. What takes time is waited for with until.
//   - The clock of the machine is not touched: that time went by, or that the clock was
//     set, is made by moving all times in the database (see [clock]).
package runbook

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"stella/internal/bytesize"
	"stella/internal/cgroup"
	"stella/internal/testkit"
	"stella/internal/testkit/released"
)

var programs = released.New("stella/cmd/stella", "stella/cmd/stellad")

func TestMain(m *testing.M) { os.Exit(programs.Run(m)) }

// The runbook is one script, whose steps build on each other.
func TestRunbook(t *testing.T) {
	if testing.Short() {
		t.Skip("scans gigabytes")
	}
	testkit.Need(t, testkit.MemoryCgroup)
	need(t, 10<<30) // for a worker with 8Gi
	run(t, "testdata/runbook")
}

// TestScripts are about what goes wrong.
func TestScripts(t *testing.T) {
	testkit.Need(t, testkit.MemoryCgroup)
	run(t, "testdata/script")
}

// need skips the test where workers cannot have so much memory; it is not used, only promised.
func need(t *testing.T, bytes int64) {
	t.Helper()
	ceiling, err := cgroup.MemoryCeiling()
	if err != nil {
		t.Fatal(err)
	}
	if ceiling.Bytes < bytes {
		t.Skipf("this needs %s of memory, and there are %s (%s)", bytesize.Text(bytes), bytesize.Text(ceiling.Bytes), ceiling.Source)
	}
}

func run(t *testing.T, dir string) {
	bin := programs.Dir(t)
	testscript.Run(t, testscript.Params{
		Dir: dir,
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("TMPDIR", e.WorkDir)
			e.Setenv("LANG", "C.UTF-8")
			e.Setenv("BIN", bin)
			e.Setenv("PATH", bin+":"+os.Getenv("PATH"))
			e.Values[key{}] = &world{}
			return errors.Join(os.Chmod(filepath.Dir(e.WorkDir), 0o755), os.Chmod(e.WorkDir, 0o755)) // for nobody
		},
		Cmds:                commands,
		Condition:           condition,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

// condition is of a machine: [root], and [memory:18Gi] for as much memory.
func condition(cond string) (bool, error) {
	if cond == "root" {
		return os.Geteuid() == 0, nil
	}
	size, ok := strings.CutPrefix(cond, "memory:")
	if !ok {
		return false, fmt.Errorf("unknown condition %q", cond)
	}
	bytes, err := bytesize.Parse(size)
	if err != nil {
		return false, err
	}
	ceiling, err := cgroup.MemoryCeiling()
	return err == nil && ceiling.Bytes >= int64(bytes), err
}

// typed are the commands of the runbook "Scanner - Out of Memory on Large Images", in its order.
var typed = []string{
	`stella scanner jobs list --status failed --last 1h`,
	`stella image inspect $IMAGE --format json | jq '.size'`,
	`stella scanner config get worker.memory_limit`,
	`stella scan image --image $IMAGE --profile-memory`,
	`stella scanner logs --filter "sbom" --level debug --last 30m`,
	`stella image layers $IMAGE --sort-by size`,
	`stella scanner config set worker.memory_limit 8Gi`,
	`stella scanner workers restart`,
	`stella scanner config set sbom.streaming_threshold 1Gi`,
	`stella scanner workers restart`,
	`stella scan image --image $IMAGE --retry`,
	`stella scanner workers add --pool large-images --memory 16Gi --count 2`,
	`stella scanner config set routing.large_image_threshold 2Gi`,
	`stella scanner config set routing.large_image_pool large-images`,
	`stella scanner config set sbom.incremental_mode true`,
	`stella scanner config set cache.layer_dedup true`,
	`stella scan image --image $IMAGE`,
	`stella scanner workers stats --watch`,
	`stella scanner logs --filter "out of memory" --last 1h`,
}

// The script has every command of the runbook, in its order.
func TestRunbookIsWhole(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("testdata", "runbook", "scanner-oom.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	rest := strings.Split(string(text), "\n")
	for _, want := range typed {
		i := slices.IndexFunc(rest, func(line string) bool {
			_, command, ok := strings.Cut(line, "$ ")
			if !ok { // one that goes on until Ctrl-C
				command, _, ok = strings.Cut(strings.TrimPrefix(line, "exec "), " &")
			}
			return ok && command == want
		})
		if i < 0 {
			t.Fatalf("the script does not have, in this place: %s", want)
		}
		rest = rest[i+1:]
	}
}
