package counters_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"stella/internal/oom"
	"stella/internal/oom/counters"
	"stella/internal/oom/tree/treetest"
	"stella/internal/testkit"
)

// stormEnv makes the test binary have processes killed: "DIRECTORY CGROUPS KILLS-IN-EACH PACE". It does so in
// a process of its own, because one that starts others is held up by that.
const stormEnv = "STELLA_COUNTERS_TEST_STORM"

// storm has so many processes killed in each of the cgroups c0, c1, … of a directory, one after the
// other in each, and prints cgroup, pid and the time when the process was waited for.
func storm(text string) error {
	var dir string
	var cgroups, each int
	var pace int64 // in nanoseconds
	if _, err := fmt.Sscan(text, &dir, &cgroups, &each, &pace); err != nil {
		return err
	}
	var wg sync.WaitGroup
	turns := make(chan int)
	busy := make([]sync.Mutex, cgroups)
	for range 8 {
		wg.Go(func() {
			for turn := range turns {
				i := turn % cgroups
				busy[i].Lock()
				cmd := treetest.NewHog(fmt.Sprintf("%s/c%d", dir, i), 64<<20)
				_ = cmd.Run()
				fmt.Println(i, cmd.Process.Pid, time.Now().UnixNano())
				busy[i].Unlock()
			}
		})
	}
	tick := time.NewTicker(time.Duration(pace))
	defer tick.Stop()
	for turn := range each * cgroups {
		<-tick.C
		turns <- turn
	}
	close(turns)
	wg.Wait()
	return nil
}

// death is one kill of the storm.
type death struct {
	path   string
	pid    int
	waited time.Time
}

// The kernel log names the cgroup of ten kills in five seconds. The counters have all of
// them, and the processes are noted before they are gone.
func TestStorm(t *testing.T) {
	testkit.Need(t, testkit.Root)
	cgroups, each, pace := 100, 10, 10*time.Millisecond
	if testing.Short() || testkit.OwnMachine.Probe() == nil { // emulated, it kills ten in a second
		cgroups, each = 20, 5
	}
	p := ownPart(t)
	w := p.watch(counters.Options{})
	var paths []string
	for i := range cgroups {
		paths = append(paths, fmt.Sprintf("/c%d", i))
		p.Make(paths[i], 2<<20)
	}
	w.known(paths...)
	log := followLog(t, w)
	begin := time.Now()
	deaths := p.storm(cgroups, each, pace)
	took := time.Since(begin)
	if len(deaths) != cgroups*each {
		t.Fatalf("%d processes were killed, want %d", len(deaths), cgroups*each)
	}
	rises := w.until("all kills", func(rises []oom.Rise) bool { return sum(rises) >= int64(cgroups*each) })
	for _, path := range paths {
		w.killed(path, int64(each))
	}
	report(t, p, deaths, rises, log(), took)
}

func (p part) storm(cgroups, each int, pace time.Duration) []death {
	p.t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %d %d", stormEnv, p.Mount, cgroups, each, pace))
	out, err := cmd.Output()
	if err != nil {
		p.t.Fatal(err)
	}
	var deaths []death
	for line := range strings.Lines(string(out)) {
		var i, pid int
		var at int64
		if _, err := fmt.Sscan(line, &i, &pid, &at); err != nil {
			p.t.Fatal(err)
		}
		deaths = append(deaths, death{fmt.Sprintf("/c%d", i), pid, time.Unix(0, at)})
	}
	return deaths
}

// followLog looks each process up when the kernel log says that it was killed, as the ledger does. What it
// returns ends that and returns the cgroups by pid; "" where it was not known.
func followLog(t *testing.T, w *witness) func() map[int]string {
	t.Helper()
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	log := os.NewFile(uintptr(fd), "/dev/kmsg")
	if _, err := log.Seek(0, io.SeekEnd); err != nil {
		t.Fatal(err)
	}
	found := map[int]string{}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for buf := make([]byte, 8<<10); ; {
			n, err := log.Read(buf)
			if err != nil {
				return
			}
			_, after, ok := bytes.Cut(buf[:n], []byte("Killed process "))
			var pid int
			if _, err := fmt.Fscan(bufio.NewReader(bytes.NewReader(after)), &pid); ok && err == nil {
				found[pid], _, _ = w.Lookup(pid)
			}
		}
	}()
	return func() map[int]string {
		_ = log.SetReadDeadline(time.Now())
		<-ended
		log.Close()
		return found
	}
}

// report logs what share of the victims was found, and how late the counters were.
func report(t *testing.T, p part, deaths []death, rises []oom.Rise, looked map[int]string, took time.Duration) {
	t.Helper()
	known, later, named := 0, 0, 0
	var late []time.Duration
	for _, d := range deaths {
		switch cgroup := looked[d.pid]; cgroup {
		case p.Root + d.path:
			known++
		case "":
		default:
			t.Errorf("process %d was in %s, and not in %s", d.pid, d.path, cgroup)
		}
		for _, r := range rises {
			if r.Cgroup == p.Root+d.path && r.Kills > 0 && hasPID(r, d.pid) {
				named++
				if looked[d.pid] == "" {
					later++
				}
				late = append(late, r.Time.Sub(d.waited))
				break
			}
		}
	}
	slices.Sort(late)
	t.Logf("v%d: %d kills in %v; Lookup knew %d at the line of the log, Rise.Processes had %d (%d more); told %v (p50), %v (p99) after the process was waited for",
		p.Version, len(deaths), took.Round(time.Millisecond), known, named, later, late[len(late)/2], late[len(late)*99/100])
	unknown := 0
	for _, r := range rises {
		if r.Kills > 0 && !r.LimitHit {
			unknown += int(r.Kills)
		}
	}
	if unknown > len(deaths)/10 {
		t.Errorf("of %d kills the limit that fired was not told", unknown)
	}
	if known+later < len(deaths)*7/10 { // all but a few, unless the machine is busy or emulated
		t.Errorf("only %d of %d processes were known", known+later, len(deaths))
	}
}
