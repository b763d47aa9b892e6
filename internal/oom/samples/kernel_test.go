package samples

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"stella/internal/cgroup"
	"stella/internal/oom"
	"stella/internal/oom/tree"
	"stella/internal/testkit"
)

// playEnv makes the test binary a process that does as it is told on its standard input.
const playEnv = "STELLA_SAMPLES_TEST_PLAY"

func TestMain(m *testing.M) {
	if os.Getenv(playEnv) != "" {
		play()
		return
	}
	os.Exit(m.Run())
}

// play takes as many bytes as each line says, or begins a child that waits ("child"), and answers each.
func play() {
	fmt.Println(os.Getpid())
	if os.Getenv(playEnv) == "wait" {
		time.Sleep(time.Hour)
	}
	var kept [][]byte
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		if in.Text() == "child" {
			cmd := exec.Command("/proc/self/exe")
			cmd.Env, cmd.Stdout = []string{playEnv + "=wait"}, os.Stdout
			if err := cmd.Start(); err != nil {
				fmt.Println(err)
			}
			continue // the child answers
		}
		n, _ := strconv.Atoi(in.Text())
		block, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE) // the race detector shadows the Go heap
		if err != nil {
			fmt.Println(err)
			return
		}
		for i := 0; i < n; i += 4096 {
			block[i] = 1
		}
		kept = append(kept, block)
		fmt.Println(len(kept))
	}
}

// player is a process in a cgroup of its own.
type player struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Reader
	group *cgroup.Group
	tree.Cgroup
}

func hierarchy(t testing.TB) tree.Hierarchy {
	t.Helper()
	h, err := tree.Find("/proc", "/sys/fs/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// lookup is a cgroup by its directory.
func lookup(t testing.TB, h tree.Hierarchy, dir string) tree.Cgroup {
	t.Helper()
	cg, err := h.Lookup(filepath.Join(h.Root, strings.TrimPrefix(dir, h.Mount)))
	if err != nil {
		t.Fatal(err)
	}
	return cg
}

// startPlayer starts a process in a cgroup of its own.
func startPlayer(t *testing.T, limit int64) *player {
	t.Helper()
	testkit.Need(t, testkit.MemoryCgroup)
	g, err := cgroup.New("samples", cgroup.Limit{Memory: limit})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	p := &player{group: g, Cgroup: lookup(t, hierarchy(t), g.Dir())}
	return p.beside(t, "/proc/self/exe", nil)
}

// beside starts another process in the same cgroup.
func (p *player) beside(t *testing.T, program string, attr *syscall.SysProcAttr) *player {
	t.Helper()
	q := &player{cmd: exec.Command("/proc/self/exe"), group: p.group, Cgroup: p.Cgroup}
	q.cmd.Path = program
	q.cmd.Env, q.cmd.SysProcAttr, q.cmd.Stderr = []string{playEnv + "=1", "GOMAXPROCS=1"}, attr, os.Stderr
	q.in, _ = q.cmd.StdinPipe()
	out, _ := q.cmd.StdoutPipe()
	q.out = bufio.NewReader(out)
	if err := q.group.Start(q.cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.cmd.Process.Kill(); q.cmd.Wait() })
	q.answer(t)
	return q
}

func (p *player) answer(t *testing.T) string {
	t.Helper()
	text, err := p.out.ReadString('\n')
	if err != nil {
		t.Fatalf("the process in the cgroup ended: %v", err)
	}
	return strings.TrimSpace(text)
}

func (p *player) tell(t *testing.T, line any) string {
	t.Helper()
	fmt.Fprintln(p.in, line)
	return p.answer(t)
}

func newSampler(t testing.TB, o Options) *Sampler {
	t.Helper()
	if o.Proc == "" {
		o.Proc, o.Hierarchy = "/proc", hierarchy(t)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func only(t *testing.T, s *Sampler) oom.Usage {
	t.Helper()
	all := s.Usage()
	if len(all) != 1 {
		t.Fatalf("%d containers, want 1", len(all))
	}
	return all[0]
}

// Memory that really rises is seen: of the container, of its process, and in the trend.
func TestMemoryThatRises(t *testing.T) {
	const limit, part = 256 << 20, 16 << 20
	p := startPlayer(t, limit)
	s := newSampler(t, Options{})
	s.Add(p.Cgroup)
	now := time.Now()
	s.step(now)
	first := only(t, s)
	for range 8 {
		p.tell(t, part)
		now = now.Add(10 * time.Second)
		s.step(now)
	}
	now = now.Add(time.Second)
	s.step(now) // names the processes as the step before found them
	u := only(t, s)
	if got := u.Sample.Usage - first.Sample.Usage; got < 8*part || got > 9*part {
		t.Errorf("usage rose by %d, want %d", got, 8*part)
	}
	if got := u.Sample.Anon - first.Sample.Anon; got < 8*part || got > 9*part {
		t.Errorf("anonymous memory rose by %d, want %d", got, 8*part)
	}
	if u.Sample.WorkingSet < 8*part || u.Sample.WorkingSet > u.Sample.Usage || u.Sample.Limit != limit {
		t.Errorf("working set %d, limit %d", u.Sample.WorkingSet, u.Sample.Limit)
	}
	if u.Sample.Kernel <= 0 || u.Sample.Sock < 0 || u.Sample.File < 0 || u.Sample.Shmem < 0 || u.Sample.PIDs < 1 {
		t.Errorf("not all is known: %+v", u.Sample)
	}
	if want := int64(6 * part); u.Trend < want*9/10 || u.Trend > want*11/10 || u.TrendSpan != 80*time.Second {
		t.Errorf("trend is %d a minute over %v, want %d", u.Trend, u.TrendSpan, want)
	}
	if len(u.Sample.Top) != 1 || u.Sample.Top[0].PID != p.cmd.Process.Pid || u.Sample.Top[0].Anon < 8*part || u.Sample.Top[0].Comm == "" {
		t.Errorf("the largest processes are %+v", u.Sample.Top)
	}
	at, found, ok := s.Lookup(p.cmd.Process.Pid)
	if !ok || at != p.Path || found.Anon < 8*part || found.Total <= found.Anon || found.PageTables <= 0 || found.UID != os.Getuid() {
		t.Errorf("process is in %q, %+v, %v", at, found, ok)
	}
	all := s.Processes(10)
	if len(all) != 1 || all[0].PID != p.cmd.Process.Pid || time.Since(all[0].Started) > time.Minute || time.Until(all[0].Started) > time.Second {
		t.Errorf("processes: %+v", all)
	}
	if p.Version == 2 && (u.Sample.CPU <= 0 || u.Sample.Swap < 0) {
		t.Errorf("not all is known on v2: %+v", u.Sample)
	}
	series := s.Series(p.Path)
	if len(series) != 10 || !slices.IsSortedFunc(series, func(a, b oom.Sample) int { return a.Time.Compare(b.Time) }) {
		t.Errorf("series of %d samples", len(series))
	}
}

// What is known of a container, and of its processes, is there after its cgroup was removed.
func TestKnownAfterRemoval(t *testing.T) {
	p := startPlayer(t, 64<<20)
	s := newSampler(t, Options{})
	s.Add(p.Cgroup)
	const ticks = 2 * lookEvery
	now := time.Now()
	for range ticks {
		s.step(now)
		now = now.Add(time.Second)
	}
	pid, alive, ok := s.Main(p.Path)
	if pid != p.cmd.Process.Pid || !alive || !ok {
		t.Errorf("first process is %d, alive %v, %v", pid, alive, ok)
	}
	p.cmd.Process.Kill()
	for stat, _ := parseProcessStat(readStat(t, pid)); !stat.ended(); stat, _ = parseProcessStat(readStat(t, pid)) {
	}
	if _, alive, ok := s.Main(p.Path); alive || !ok {
		t.Errorf("a process that was killed and not waited for is alive %v, %v", alive, ok)
	}
	p.cmd.Wait()
	if err := p.group.Close(); err != nil {
		t.Fatal(err)
	}
	s.step(now.Add(time.Second)) // it is not told of the removal yet
	s.Remove(p.Cgroup)
	s.step(now.Add(2 * time.Second))
	if got := s.Series(p.Path); len(got) != ticks || got[ticks-1].Usage <= 0 {
		t.Errorf("series is %+v", got)
	}
	if u := only(t, s); u.Gone.IsZero() || u.Sample.Usage <= 0 || u.Cores != 0 {
		t.Errorf("usage is %+v", u)
	}
	if at, found, ok := s.Lookup(pid); at != p.Path || found.Anon <= 0 || !ok {
		t.Errorf("process was in %q, %+v, %v", at, found, ok)
	}
	if got, alive, ok := s.Main(p.Path); got != pid || alive || !ok {
		t.Errorf("first process was %d, alive %v, %v", got, alive, ok)
	}
	if got := s.Processes(10); len(got) != 0 {
		t.Errorf("processes that run: %+v", got)
	}
	for i := range int32(stay + 1) {
		s.step(now.Add(time.Duration(3+i) * time.Second))
	}
	if _, _, ok := s.Lookup(pid); ok {
		t.Error("a process that ended long ago is known")
	}
	s.step(now.Add(goneAge + time.Minute))
	if got := s.Series(p.Path); got != nil || len(s.Usage()) != 0 {
		t.Errorf("after %v there are %d samples", goneAge, len(got))
	}
	if st := s.Status(); st != (Status{}) {
		t.Errorf("left: %+v", st)
	}
}

func readStat(t *testing.T, pid int) []byte {
	t.Helper()
	b, err := os.ReadFile(processPath("/proc", int32(pid), "/stat"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A cgroup below a container belongs to it, whichever was told first.
func TestNested(t *testing.T) {
	for _, childFirst := range []bool{false, true} {
		p := startPlayer(t, 64<<20)
		below := filepath.Join(p.Dir, "below")
		if err := os.Mkdir(below, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(below+"/cgroup.procs", []byte(strconv.Itoa(p.cmd.Process.Pid)), 0); err != nil {
			t.Fatal(err)
		}
		s := newSampler(t, Options{Wanted: func(path string) bool { return path == p.Path }})
		both := []tree.Cgroup{p.Cgroup, lookup(t, hierarchy(t), below)}
		if childFirst {
			slices.Reverse(both)
		}
		for _, cg := range both {
			s.Add(cg)
		}
		for i := range 2 * lookEvery {
			s.step(time.Now().Add(time.Duration(i) * time.Second))
		}
		if u := only(t, s); u.Cgroup != p.Path || len(u.Sample.Top) != 1 || u.Sample.Top[0].PID != p.cmd.Process.Pid {
			t.Errorf("usage is %+v", u)
		}
		if at, _, ok := s.Lookup(p.cmd.Process.Pid); at != p.Path+"/below" || !ok {
			t.Errorf("the process is in %q, %v", at, ok)
		}
		for _, path := range []string{p.Path, p.Path + "/below"} {
			if pid, alive, ok := s.Main(path); pid != p.cmd.Process.Pid || !alive || !ok {
				t.Errorf("the first process of %s is %d, %v, %v", path, pid, alive, ok)
			}
		}
	}
}

// Process 1 of a PID namespace is the first process, also where another began before it.
func TestFirstOfNamespace(t *testing.T) {
	testkit.Need(t, testkit.MemoryCgroup, testkit.Root)
	elder := startPlayer(t, 64<<20)
	p := elder.beside(t, "/proc/self/exe", &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID})
	if got := p.tell(t, "child"); got == "1" {
		t.Fatal("the child has pid 1 in the namespace")
	}
	s := newSampler(t, Options{})
	s.Add(p.Cgroup)
	for range 2 { // before a round came to it, and after
		if pid, alive, ok := s.Main(p.Path); pid != p.cmd.Process.Pid || !alive || !ok {
			t.Errorf("the first process is %d, %v, %v, want %d", pid, alive, ok, p.cmd.Process.Pid)
		}
		s.step(time.Now().Add(time.Hour)) // so that all are old enough
	}
	if got := s.Processes(9); len(got) != 3 {
		t.Errorf("processes: %+v", got)
	}
}

// The kernel tells pids a page at a time; all are known.
func TestManyProcesses(t *testing.T) {
	const count = 900
	p := startPlayer(t, 1<<30)
	sh := exec.Command("sh", "-c", fmt.Sprintf("i=0; while [ $i -lt %d ]; do sleep 600 & i=$((i+1)); done; echo; wait", count))
	out, _ := sh.StdoutPipe()
	if err := p.group.Start(sh); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.group.Close() // ends all, and fails the test where it cannot when it is closed again
		sh.Wait()
	})
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	for keep := range 2 {
		s := newSampler(t, Options{})
		s.mostKept = 2 * fileCount * keep
		s.Add(p.Cgroup)
		s.step(time.Now())
		if st := s.Status(); st.Processes != count+2 || st.Descriptors > s.mostKept {
			t.Errorf("%d processes are known, want %d; %+v", st.Processes, count+2, st)
		}
	}
}

// Where descriptors are few, files are opened at each look.
func TestFewDescriptors(t *testing.T) {
	p := startPlayer(t, 64<<20)
	s := newSampler(t, Options{})
	for most := range 3 {
		s.mostKept = most
		s.Add(p.Cgroup)
		s.step(time.Now())
		if u := only(t, s); u.Sample.Anon <= 0 || u.Sample.Limit != 64<<20 || s.Status().Descriptors > most {
			t.Errorf("with %d: %+v, %+v", most, u, s.Status())
		}
		if _, _, ok := s.Lookup(p.cmd.Process.Pid); !ok {
			t.Error("the process is not known")
		}
		s.Remove(p.Cgroup)
		s.forget(0)
	}
}

// A look at a container allocates nothing.
func TestSampleAllocatesNothing(t *testing.T) {
	p := startPlayer(t, 64<<20)
	s := newSampler(t, Options{})
	s.Add(p.Cgroup)
	now := time.Now()
	s.step(now)
	reads := 0
	allocated := testing.AllocsPerRun(100, func() {
		s.tick++
		now = now.Add(time.Second)
		if (s.tick+s.containers[0].container.slot)%aboveEvery != 0 {
			s.sampleNumber(0, now)
			s.look(s.order[0], &reads, now)
			s.rank()
		}
	})
	if allocated > 0 {
		t.Errorf("%v allocations, want none", allocated)
	}
}
