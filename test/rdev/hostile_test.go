package rdev

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"stella/internal/rdev"
	"stella/internal/testkit"
)

// hostile are commands that do not behave, and how they have to end.
var hostile = []struct {
	name    string
	request rdev.Request
	// cancel is what it prints when it is to be cancelled; empty is never.
	cancel string
	needs  []testkit.Capability
	wrong  func(c rdev.Command, output string) bool
}{
	{
		name:    "eats memory",
		request: rdev.Request{Shell: `"$BIN"/hog hold 256Mi`, Memory: 32 << 20},
		needs:   []testkit.Capability{testkit.MemoryCgroup},
		wrong: func(c rdev.Command, _ string) bool {
			return c.End.Reason != rdev.ReasonOOM || c.End.OOM == nil || c.End.OOM.Limit != 32<<20 || c.End.OOM.Kills == 0
		},
	},
	{
		name:    "lives on without a child that ate memory",
		request: rdev.Request{Shell: `"$BIN"/hog hold 256Mi; echo "child: $?"; exit 4`, Memory: 32 << 20},
		needs:   []testkit.Capability{testkit.MemoryCgroup},
		wrong: func(c rdev.Command, out string) bool {
			return c.End.Reason != rdev.ReasonExit || c.End.ExitCode != 4 || c.End.OOM == nil || !c.End.OOM.Survived || !strings.Contains(out, "child: 137\n")
		},
	},
	{
		name:    "forks a bomb",
		request: rdev.Request{Shell: `b() { b | b & }; b; while :; do sleep 1; done`, Memory: 64 << 20, Timeout: 3 * time.Second},
		needs:   []testkit.Capability{testkit.MemoryCgroup}, // which is what ends it where there is no bound on processes
		wrong: func(c rdev.Command, _ string) bool {
			return c.End.Reason != rdev.ReasonTimeout && c.End.Reason != rdev.ReasonOOM
		},
	},
	{
		name:    "ignores SIGTERM",
		request: rdev.Request{Shell: `trap "" TERM; echo up; while :; do sleep 1; done`},
		cancel:  "up\n",
		wrong: func(c rdev.Command, _ string) bool {
			return c.End.Reason != rdev.ReasonCancelled || c.End.Signal != "SIGKILL"
		},
	},
	{
		name:    "ignores it when its time is over",
		request: rdev.Request{Shell: `trap "" TERM; while :; do sleep 1; done`, Timeout: time.Second},
		wrong:   func(c rdev.Command, _ string) bool { return c.End.Reason != rdev.ReasonTimeout },
	},
	{
		name:    "leaves grandchildren with the pipe",
		request: rdev.Request{Shell: `sleep 600 & setsid sleep 600 & (trap "" TERM HUP; sleep 600) & echo gone`},
		wrong: func(c rdev.Command, out string) bool {
			return c.End.Reason != rdev.ReasonExit || c.End.ExitCode != 0 || out != "gone\n"
		},
	},
	{
		name:    "writes to closed streams",
		request: rdev.Request{Shell: `echo before; exec >&- 2>&-; echo after; echo after >&2; sleep 0.3; exit 3`},
		wrong: func(c rdev.Command, out string) bool {
			return c.End.Reason != rdev.ReasonExit || c.End.ExitCode != 3 || out != "before\n"
		},
	},
	{
		name:    "reads what is not there, and writes to who has gone",
		request: rdev.Request{Shell: `cat; yes | head -n 1; yes > /dev/full; exit 5`},
		wrong:   func(c rdev.Command, _ string) bool { return c.End.Reason != rdev.ReasonExit || c.End.ExitCode != 5 },
	},
	{
		name:    "kills itself",
		request: rdev.Request{Shell: `kill -9 0`},
		wrong: func(c rdev.Command, _ string) bool {
			return c.End.Reason != rdev.ReasonSignal || c.End.Signal != "SIGKILL"
		},
	},
	{
		name:    "has too much to say",
		request: rdev.Request{Shell: `head -c 60000000 /dev/zero; echo; seq 300000 >&2; printf end`, Output: 1 << 20},
		wrong: func(c rdev.Command, out string) bool {
			return c.End.Reason != rdev.ReasonExit || c.Output.Bytes != 60_000_001+1_988_895+3 || c.Output.Dropped == 0 ||
				!strings.Contains(out, "records are not kept here]\n") || !strings.HasPrefix(out, "\x00\x00\x00\x00") || !strings.HasSuffix(out, "\n300000\nend")
		},
	},
}

// Commands that misbehave, all at once, end as is told of them, leave nothing behind, and the service answers all the time.
func TestHostileCommands(t *testing.T) {
	t.Parallel()
	p := launch(t, t.TempDir(), "--running", "20", "--running-per-project", "20", "--running-per-key", "20")
	stop := p.answering()
	t.Run("commands", func(t *testing.T) {
		for _, tt := range hostile {
			t.Run(tt.name, func(t *testing.T) {
				t.Parallel()
				testkit.Need(t, tt.needs...)
				mark := rand.Text()
				r := tt.request
				r.Env = map[string]string{"MARK": mark, "BIN": programs.Dir(t)}
				q := *p
				q.t = t // so that what is wrong is told of this one
				c := q.submit(r)
				if tt.cancel != "" {
					var once sync.Once
					if _, err := q.follow(c.ID, func(text string) {
						once.Do(func() {
							if _, err := p.api.Cancel(q.context(), "web", c.ID); text != tt.cancel || err != nil {
								t.Errorf("%q, %v", text, err)
							}
						})
					}); err != nil {
						t.Fatal(err)
					}
				}
				c = q.ended(c.ID)
				if out := q.output(c.ID, 0); tt.wrong(c, out) {
					t.Errorf("%+v, %+v, %+v\n%.300q", *c.End, c.End.OOM, c.Output, out)
				}
				if left := alive(t, mark); len(left) > 0 {
					t.Errorf("processes are left: %v", left)
				}
			})
		}
	})
	asked, longest := stop()
	t.Logf("%d answers meanwhile, the slowest after %v", asked, longest)
}

// tmpfs mounts a small disk until the test ends.
func tmpfs(t *testing.T, dir, size string) {
	t.Helper()
	testkit.Need(t, testkit.Namespaces) // who can make those can mount
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// A command fills the disk that its output and the database are on: it goes on, what is not kept is told as a gap, and when there is room again
// everything goes on as before.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	state := filepath.Join(dir, "state")
	tmpfs(t, state, "8m")
	p := launch(t, dir, "--output", "16Mi")
	stop := p.answering()
	const lines = 200_000 // of 100 bytes: 20 MB
	c := p.submit(rdev.Request{Shell: `seq -f %099.0f 200000; touch printed; while test ! -e room; do sleep 0.05; done; echo room; exit 6`})
	p.exists("web/printed")
	// Who looks meanwhile sees the head, and what was lost is counted.
	if out := p.output(c.ID, 0); !strings.HasPrefix(out, strings.Repeat("0", 98)+"1\n") {
		t.Errorf("%.300q", out)
	}
	if lost := number(t, p.get("/metrics"), "rdev_output_records_lost_total"); lost == 0 || lost >= lines {
		t.Errorf("%d records were lost", lost)
	}
	if err := unix.Mount("tmpfs", state, "tmpfs", unix.MS_REMOUNT, "size=64m"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p.path("web/room"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c = p.ended(c.ID)
	out := p.output(c.ID, 0)
	if c.End.Reason != rdev.ReasonExit || c.End.ExitCode != 6 || c.Output.Lines != lines+1 || !strings.Contains(out, "records are not kept here]\n") || !strings.HasSuffix(out, "\nroom\n") {
		t.Errorf("%+v, %+v, %.300q … %q", *c.End, c.Output, out, out[max(0, len(out)-300):])
	}
	if c = p.ended(p.submit(rdev.Request{Shell: "echo again"}).ID); c.End.Reason != rdev.ReasonExit {
		t.Errorf("%+v", *c.End)
	}
	asked, longest := stop()
	t.Logf("%d answers meanwhile, the slowest after %v", asked, longest)
}

// A disk that stays full ends no service: what a command does on it fails as anywhere, and a command whose end
// cannot be written down yet has it when there is room.
func TestDiskStaysFull(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	state := filepath.Join(dir, "state")
	tmpfs(t, state, "8m")
	p := launch(t, dir)
	stop := p.answering()
	c := p.submit(rdev.Request{Shell: `cat /dev/zero > ../state/ballast; echo "cat: $?"; exit 7`})
	// The log has the end; whether the database has, depends on the room that it had reserved.
	if end, err := p.follow(c.ID, nil); err != nil || end.Reason != rdev.ReasonExit || end.ExitCode != 7 {
		t.Errorf("%+v, %v", end, err)
	}
	if err := os.Remove(filepath.Join(state, "ballast")); err != nil {
		t.Fatal(err)
	}
	if c = p.ended(c.ID); c.End.Reason != rdev.ReasonExit || c.End.ExitCode != 7 {
		t.Errorf("%+v", *c.End)
	}
	if c = p.ended(p.submit(rdev.Request{Shell: "echo again"}).ID); c.End.Reason != rdev.ReasonExit || p.output(c.ID, 0) != "again\n" {
		t.Errorf("%+v", *c.End)
	}
	asked, longest := stop()
	t.Logf("%d answers meanwhile, the slowest after %v", asked, longest)
}
