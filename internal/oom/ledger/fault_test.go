package ledger

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"stella/internal/journal"
	"stella/internal/oom"
)

// writeEnv makes the test binary a process that reports kills to the ledger in that directory, and says of each when it is in.
const writeEnv = "STELLA_LEDGER_TEST_WRITE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(writeEnv); dir != "" {
		if err := writeFor(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// writeFor reports kills until it is killed.
func writeFor(dir string) error {
	c := newClock()
	o := options(c)
	l, err := Open(dir, o)
	if err != nil {
		return err
	}
	for seq := l.After() + 1; ; seq++ {
		r := report(c, seq, fmt.Sprintf("/pod/c%d", seq%9))
		if seq%2 == 0 {
			r.Cgroup, r.Header = "", false
		}
		l.Report(r)
		if _, err := fmt.Println(seq); err != nil {
			return err
		}
		c.pass(10 * time.Millisecond)
		if seq%10 == 0 {
			l.Rise(oom.Rise{Cgroup: "/pod/c1", CgroupID: 1, Kills: 1, Local: 1, Total: int64(seq / 10), Time: c.t, Since: c.t.Add(-time.Second)})
			l.settle()
			l.sync()
		}
	}
}

// A process that writes is killed at any moment, many times: what it said was in the ledger is in it,
// once.
func TestKilledWhileItWrites(t *testing.T) {
	dir := t.TempDir()
	said := uint64(0)
	for round := range 8 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), writeEnv+"="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if _, err := fmt.Sscan(lines.Text(), &said); err != nil {
				t.Error(err)
			}
			if n == 37+round*131 {
				if err := cmd.Process.Kill(); err != nil {
					t.Error(err)
				}
			}
		}
		if cmd.Wait() == nil {
			t.Fatal("it was not killed")
		}
		c := newClock()
		o := options(c)
		c.pass(time.Hour)
		l := open(t, dir, o)
		if at := l.After(); at != said && at != said+1 {
			t.Fatalf("it said %d, and is at %d", said, at)
		}
		seen := make(map[int]bool)
		for _, k := range l.Kills(oom.Filter{}) {
			if seen[k.Process.PID] && k.Process.PID != 0 {
				t.Errorf("pid %d is there twice", k.Process.PID)
			}
			seen[k.Process.PID] = true
		}
		for seq := uint64(1); seq <= said; seq++ {
			if !seen[int(1000+seq)] {
				t.Fatalf("record %d was in the ledger, and is no more", seq)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSecondAgentIsRefused(t *testing.T) {
	c := newClock()
	dir := t.TempDir()
	open(t, dir, options(c))
	if _, err := Open(dir, options(c)); !errors.Is(err, journal.ErrLocked) || !strings.Contains(err.Error(), "stella-agent") {
		t.Errorf("got %v", err)
	}
}

// A directory that is not there cannot hold kills: the ledger says so and keeps them until it can.
func TestDirectoryIsMissing(t *testing.T) {
	c := newClock()
	dir := filepath.Join(t.TempDir(), "state", "agent")
	place := filepath.Dir(dir)
	if err := os.WriteFile(place, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l := open(t, dir, options(c))
	faulty(t, c, l, 1, 50)
	if err := os.Remove(place); err != nil {
		t.Fatal(err)
	}
	healed(t, c, l, dir, 50)
}

// faulty reports kills that cannot be written, and checks that they can be read all the same.
func faulty(t *testing.T, c *clock, l *Ledger, from, to uint64) {
	t.Helper()
	for seq := from; seq <= to; seq++ {
		l.Report(report(c, seq, "/pod/c"))
		c.pass(100 * time.Millisecond)
		l.settle()
	}
	settled(c, l)
	s := l.Status()
	if s.Fault == "" {
		t.Fatalf("it says that all is well: %+v", s)
	}
	all := l.Kills(oom.Filter{})
	if len(all) != int(to) || s.Kills != int64(to) || s.Dropped != 0 {
		t.Fatalf("%d of %d kills, %+v", len(all), to, s)
	}
	if k, ok := l.Kill(all[to-1].ID); !ok || len(k.Tasks) != 2 {
		t.Errorf("%v %+v", ok, k)
	}
}

// healed checks that all is written once it can be.
func healed(t *testing.T, c *clock, l *Ledger, dir string, want int) {
	t.Helper()
	settled(c, l)
	if s := l.Status(); s.Fault != "" || s.Kills != int64(want) {
		t.Fatalf("%+v", s)
	}
	before := l.Kills(oom.Filter{})
	var totals int64
	l.Totals(func(_ oom.Container, _ string, n int64) { totals += n })
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = open(t, dir, options(c))
	after := l.Kills(oom.Filter{})
	if len(before) != want || len(after) != want || l.After() != uint64(want) || l.Status().Kills != int64(want) {
		t.Errorf("%d kills before a restart, %d after it, want %d; %+v", len(before), len(after), want, l.Status())
	}
	for i := range before {
		if before[i].ID != after[i].ID {
			t.Errorf("the kill %s is now %s", before[i].ID, after[i].ID)
		}
	}
	l.Totals(func(_ oom.Container, _ string, n int64) { totals -= n })
	if totals != 0 {
		t.Errorf("the totals are %d less after a restart", totals)
	}
}

// What does not fit into memory while the journal cannot be written is dropped, the oldest first, and counted.
func TestMemoryIsBoundedWithoutADisk(t *testing.T) {
	c := newClock()
	place := filepath.Join(t.TempDir(), "state")
	if err := os.WriteFile(place, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l := open(t, place, options(c))
	const kills = 10_000
	for seq := range uint64(kills) {
		l.Report(report(c, seq+1, "/pod/c"))
		if c.pass(20 * time.Millisecond); seq%20 == 0 {
			l.settle()
		}
	}
	if l.store.waiting > maxPending {
		t.Errorf("%d bytes wait", l.store.waiting)
	}
	s := l.Status()
	all := l.Kills(oom.Filter{})
	if s.Dropped == 0 || s.Kills+s.Dropped != kills || all[len(all)-1].Process.PID != 1000+kills {
		t.Errorf("%+v, %d kills", s, len(all))
	}
	if err := os.Remove(place); err != nil {
		t.Fatal(err)
	}
	settled(c, l)
	if got := l.Status(); got.Fault != "" || got.Kills+got.Dropped != kills {
		t.Errorf("%+v", got)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = open(t, place, options(c))
	if got := l.Status(); got.Kills+got.Dropped != kills || l.After() != kills {
		t.Errorf("after a restart %+v, at %d", got, l.After())
	}
}

// Closing a ledger that could not be written is an error that says what is lost.
func TestCloseSaysWhatIsLost(t *testing.T) {
	c := newClock()
	place := filepath.Join(t.TempDir(), "state")
	if err := os.WriteFile(place, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l := open(t, place, options(c))
	l.Report(report(c, 1, "/pod/c"))
	if err := l.Close(); err == nil || !strings.Contains(err.Error(), "1 kills are lost") {
		t.Errorf("got %v", err)
	}
}
