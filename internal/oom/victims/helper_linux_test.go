package victims_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"stella/internal/cgroup"
	"stella/internal/oom"
	"stella/internal/oom/tree"
	"stella/internal/oom/victims"
	"stella/internal/testkit"
)

const mib = 1 << 20

// bpffs is a directory where one is mounted by the first Open, and taken away at the end.
func bpffs(t testing.TB) string {
	t.Helper()
	testkit.Need(t, victims.BPF)
	dir := t.TempDir()
	t.Cleanup(func() {
		if err := errors.Join(victims.Remove(dir), victims.Unmount(dir)); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func open(t testing.TB, dir string) *victims.Victims {
	t.Helper()
	v, err := victims.Open(victims.Options{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	return v
}

// part is a part of the machine's real hierarchy that belongs to one test.
type part struct {
	*testing.T
	version int
	dir     string // where it is mounted
	root    string // the path in the hierarchy, as the kernel says it
}

func newPart(t *testing.T) part {
	t.Helper()
	testkit.Need(t, testkit.Root, testkit.MemoryCgroup)
	support, err := cgroup.Probe()
	if err != nil {
		t.Fatal(err)
	}
	whole, err := tree.Find("/proc", "/sys/fs/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(support.Parent, "stella-victims-*")
	if err != nil {
		t.Fatal(err)
	}
	rel, err := filepath.Rel(whole.Mount, dir)
	if err != nil {
		t.Fatal(err)
	}
	p := part{T: t, version: whole.Version, dir: dir, root: filepath.Join(whole.Root, rel)}
	t.Cleanup(func() { p.remove("") })
	return p
}

// make makes a cgroup below another, with a limit in bytes, or 0 for none.
func (p part) make(path string, limit int64) {
	p.Helper()
	if p.version == 2 {
		p.write(filepath.Dir(path), "cgroup.subtree_control", "+memory")
	}
	if err := os.Mkdir(p.dir+path, 0o755); err != nil {
		p.Fatal(err)
	}
	if limit > 0 {
		p.limit(path, limit)
	}
}

func (p part) limit(path string, limit int64) {
	p.Helper()
	file := "memory.limit_in_bytes"
	if p.version == 2 {
		file = "memory.max"
	}
	p.write(path, file, strconv.FormatInt(limit, 10))
}

func (p part) write(path, file, value string) {
	p.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, path, file), []byte(value), 0); err != nil {
		p.Fatal(err)
	}
}

// remove removes a cgroup without processes, and those below it.
func (p part) remove(path string) {
	p.Helper()
	entries, err := os.ReadDir(p.dir + path)
	if err != nil {
		p.Error(err)
	}
	for _, e := range entries {
		if e.IsDir() {
			p.remove(path + "/" + e.Name())
		}
	}
	if err := os.Remove(p.dir + path); err != nil {
		p.Error(err)
	}
}

func (p part) id(path string) uint64 {
	p.Helper()
	var s unix.Stat_t
	if err := unix.Stat(p.dir+path, &s); err != nil {
		p.Fatal(err)
	}
	return s.Ino
}

// process is one in a cgroup of a part.
type process struct {
	*exec.Cmd
	stdin io.Closer
	name  string
}

func command(t testing.TB, role string, args ...any) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = []string{roleEnv + "=" + role + " " + fmt.Sprint(args...), "GOMAXPROCS=1"}
	cmd.Stderr = os.Stderr
	return cmd
}

// start starts a process that takes so much memory in a cgroup, and waits until it has it or is gone.
func (p part) start(path, name string, size int) *process {
	p.Helper()
	c := &process{Cmd: command(p, "hog", fmt.Sprintf("%d %q %q", size, name, p.dir+path)), name: name}
	stdin, err := c.StdinPipe()
	if err != nil {
		p.Fatal(err)
	}
	c.stdin = stdin
	if err := startAndWait(c.Cmd); err != nil {
		p.Fatal(err)
	}
	return c
}

// startAndWait starts a process and waits until it says that it is ready, or ends.
func startAndWait(cmd *exec.Cmd) error {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	_, err = bufio.NewReader(out).ReadString('\n')
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// killed waits for the end of a process by SIGKILL.
func (p part) killed(c *process) {
	p.Helper()
	err := c.Wait()
	if c.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		p.Errorf("%s ended with %v, want SIGKILL", c.name, err)
	}
}

// kill has a process killed for want of memory, in a cgroup in which so much cannot be had.
func (p part) kill(path, name string, size int) *process {
	p.Helper()
	c := p.start(path, name, size)
	p.killed(c)
	return c
}

// want compares a note with what happened; limit is the path of whose limit fired.
func (p part) want(v *victims.Victims, c *process, path, limit string, bytes int64) {
	p.Helper()
	got, ok := v.Find(c.Process.Pid)
	if !ok {
		p.Errorf("there is no note of %s, pid %d", c.name, c.Process.Pid)
		return
	}
	expect := oom.Victim{
		Monotonic: got.Monotonic, Time: got.Time,
		Process: oom.Process{PID: c.Process.Pid, Comm: c.name},
		Cgroup:  p.root + path, CgroupID: p.id(path),
		Limit: oom.Limit{Scope: oom.ScopeCgroup, Cgroup: p.root + limit, Bytes: bytes},
	}
	if got != expect {
		p.Errorf("the note of %s is\n%+v, want\n%+v", c.name, got, expect)
	}
}
