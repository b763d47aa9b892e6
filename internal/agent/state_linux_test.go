package agent

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"stella/internal/oom"
	"stella/internal/oom/tree/treetest"
	"stella/internal/testkit"
)

// disk is a small file system of the test's own.
func disk(t *testing.T) string {
	t.Helper()
	testkit.Need(t, testkit.Root, testkit.Namespaces)
	dir := filepath.Join(t.TempDir(), "disk")
	mount(t, "none", dir, "tmpfs", 0, "size=1m")
	return dir
}

// A directory for the ledger that cannot be written, from the beginning: the agent says so, keeps kills in memory, and
// writes them when it can.
func TestStateCannotBeWritten(t *testing.T) {
	for name, c := range map[string]struct {
		spoil, mend func(dir string) error
		says        string
	}{
		"full": {
			func(dir string) error {
				if err := os.WriteFile(dir+"/filler", make([]byte, 2*mib), 0o600); err == nil {
					return fmt.Errorf("two MiB fit into one")
				}
				return nil
			},
			func(dir string) error { return os.Remove(dir + "/filler") }, "no space left",
		},
		"read-only": {
			func(dir string) error { return unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, "size=1m") },
			func(dir string) error { return unix.Mount("", dir, "", unix.MS_REMOUNT, "size=1m") }, "read-only file system",
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := disk(t)
			if err := c.spoil(dir); err != nil {
				t.Fatal(err)
			}
			p := treetest.Own(t)
			p.Delegate("")
			p.Make("/c", 8*mib)
			o := Options{StateDir: filepath.Join(dir, "state"), Root: machine(t, p.Mount, kernelLog)}
			d := start(t, o)
			d.sees(p.Root + "/c")
			d.killed(p.Root+"/c", p.Kill("/c"))
			s := d.until("the fault", func(s oom.AgentStatus) bool { return s.Ledger.Fault != "" })
			contains(t, "the status", s.Ledger.Fault, c.says)
			contains(t, "the log", d.log.String(), "in memory only", c.says)
			_, metrics := d.get("/metrics")
			contains(t, "/metrics", metrics, "stella_oom_ledger_writable 0")
			if code, text := d.get("/readyz"); code != 503 {
				t.Errorf("it is ready: %s", text)
			}

			if err := c.mend(dir); err != nil {
				t.Fatal(err)
			}
			d.until("it can be written again", func(s oom.AgentStatus) bool { return s.Ledger.Fault == "" })
			_, metrics = d.get("/metrics")
			contains(t, "/metrics", metrics, "stella_oom_ledger_writable 1")
			if err := d.stop(); err != nil {
				t.Fatal(err)
			}
			again := start(t, o)
			n := 0
			kills, err := again.Kills(t.Context(), oom.Filter{})
			for _, k := range kills {
				if k.Cgroup == p.Root+"/c" {
					n++
				}
			}
			if err != nil || n != 1 {
				t.Errorf("%v; after a restart the kill is there %d times", err, n)
			}
		})
	}
}

// Whatever is in the directory of the ledger, the agent runs, catches kills, and keeps what it can.
func TestGarbageInTheState(t *testing.T) {
	noise := make([]byte, 3*mib)
	rand.Read(noise)
	write := func(text []byte) func(string) error {
		return func(name string) error { return os.WriteFile(name, text, 0o600) }
	}
	const first, last = "0000000000000001.jsonl", "9999999999999999.jsonl"
	for name, c := range map[string]struct {
		file string
		put  func(name string) error
		// stays says that the ledger cannot be kept there: then the agent says so, until somebody removes it.
		stays bool
	}{
		"noise":               {first, write(noise), false},
		"an empty segment":    {first, write(nil), false},
		"JSON of another":     {first, write([]byte(`{"hello":"world"}` + "\n")), false},
		"a directory":         {first, func(name string) error { return os.Mkdir(name, 0o755) }, false},
		"the last number":     {last, write(noise[:100]), false},
		"a pipe":              {first, func(name string) error { return unix.Mkfifo(name, 0o600) }, false},
		"a link to nowhere":   {first, func(name string) error { return os.Symlink("/not/there", name) }, false},
		"an endless file":     {first, func(name string) error { return os.Symlink("/dev/zero", name) }, false},
		"other people's":      {"notes \x1b[2J.txt", write(noise[:1000]), false},
		"a file in its place": {"", write(noise[:10]), true},
	} {
		t.Run(name, func(t *testing.T) {
			testkit.Need(t, testkit.Root, testkit.MemoryCgroup)
			dir := filepath.Join(t.TempDir(), "state")
			if c.file != "" {
				if err := os.Mkdir(dir, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.put(filepath.Join(dir, c.file)); err != nil {
				t.Fatal(err)
			}
			p := treetest.Own(t)
			p.Delegate("")
			p.Make("/c", 8*mib)
			d := start(t, Options{StateDir: dir, Root: machine(t, p.Mount, kernelLog)})
			d.sees(p.Root + "/c")
			d.killed(p.Root+"/c", p.Kill("/c"))
			s, err := d.Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if c.stays != (s.Ledger.Fault != "") {
				t.Errorf("the fault is %q", s.Ledger.Fault)
			}
			d.mayFail = c.stays
		})
	}
}
