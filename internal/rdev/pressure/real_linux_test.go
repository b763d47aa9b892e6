package pressure_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"stella/internal/cgroup"
	"stella/internal/rdev/pressure"
	"stella/internal/testkit"
)

const (
	childEnv   = "STELLA_PRESSURE_CHILD"
	childLimit = 128 << 20 * memoryFactor
)

// TestChild is the process that TestReal runs in a cgroup: it fills its memory step by step, and tells when what is refused.
func TestChild(t *testing.T) {
	dir := os.Getenv(childEnv)
	if dir == "" {
		return
	}
	if strings.HasSuffix(dir, "-go") {
		debug.SetMemoryLimit(64 << 20)
	}
	w, err := pressure.New(pressure.Options{Profiles: dir, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	go w.Run(ctx)
	until := func(level pressure.Level) {
		for w.State().Level != level || w.State().At.IsZero() {
			if ctx.Err() != nil {
				t.Fatalf("level %v did not come: %+v", level, w.State())
			}
			time.Sleep(time.Millisecond)
		}
	}
	until(pressure.Normal)
	var held [][]byte
	for _, level := range []pressure.Level{pressure.High, pressure.Critical} {
		for w.State().Level < level {
			b := make([]byte, 4<<20)
			for i := range b {
				b[i] = byte(i)
			}
			held = append(held, b)
			measured := w.State().At
			for w.State().At.Equal(measured) {
				time.Sleep(time.Millisecond)
			}
		}
		fmt.Printf("%v with %d MiB held: %v\n", level, 4*len(held), w.State().Fullest)
	}
	held = nil // garbage now, which nobody collects but the watch
	until(pressure.Normal)
	fmt.Printf("normal with %d MiB held: %v\n", len(held), w.State().Fullest)
}

// A process in a real cgroup says that its memory is short before the kernel does, and that it no longer is.
func TestReal(t *testing.T) {
	testkit.Need(t, testkit.MemoryCgroup)
	for name, what := range map[string]string{"cgroup": "memory.", "go": "GOMEMLIMIT"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			group, err := cgroup.New("pressure-test", cgroup.Limit{Memory: childLimit})
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := group.Close(); err != nil {
					t.Error(err)
				}
			}()
			dir := filepath.Join(t.TempDir(), "profiles-"+name)
			var out strings.Builder
			cmd := exec.Command(os.Args[0], "-test.run=^TestChild$")
			cmd.Env = append(os.Environ(), childEnv+"="+dir)
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := group.Start(cmd); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err != nil {
				t.Fatalf("%v\n%s", err, &out)
			}
			t.Logf("\n%s", &out)
			for _, level := range []string{"high with", "critical with", "normal with"} {
				line, _, _ := strings.Cut(out.String()[max(strings.Index(out.String(), level), 0):], "\n")
				if !strings.HasPrefix(line, level) || !strings.Contains(line, what) && level != "normal with" {
					t.Errorf("%q does not name %s", line, what)
				}
			}
			if names, _ := filepath.Glob(filepath.Join(dir, "heap-*.pb.gz")); len(names) != 1 {
				t.Errorf("profiles %q", names)
			}
		})
	}
}
