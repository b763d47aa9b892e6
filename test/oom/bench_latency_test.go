package oom

import (
	"bufio"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"stella/bench/machine"
	"stella/internal/bytesize"
	"stella/internal/cgroup"
	"stella/internal/oom"
)

const (
	latencyGroups = 50
	latencyRate   = 25 // kills a second
	latencyLimit  = 16 * mib
)

// latency is how long a kill takes into the ledger. When it is there, a follower of the agent's events says, in another process: the event is
// sent once the kill is in the journal, so that what is measured has the way back in it and is no less than the truth. When the
// process died, the kernel says in its log, and its parent.
func (p programs) latency(t *testing.T) {
	log := followKernelLog(t)
	a := p.agent(t, false)
	seen := a.follow(t)
	var groups []*cgroup.Group
	for range latencyGroups {
		g, err := cgroup.New("stella-bench-kills", cgroup.Limit{Memory: latencyLimit})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := g.Close(); err != nil {
				t.Error(err)
			}
		})
		groups = append(groups, g)
	}
	for begin := time.Now(); seen.count() == 0; { // until it follows
		if _, err := dies(t.Context(), groups[0], 2*latencyLimit/mib); err != nil || time.Since(begin) > patience {
			t.Fatalf("no kill is told of: %v", err)
		}
	}
	skew, within := log.skew(t)
	before := a.lags(t)
	waited := killMany(t, groups)
	time.Sleep(settle)
	after, _ := log.skew(t)
	fmt.Printf("\n%d kills, %d a second over %d cgroups; the clock of the kernel log is %v behind the monotonic one (± %v), and %v after the kills. Load %.1f.\n\n",
		len(waited), latencyRate, latencyGroups, skew, within, after, machine.Describe().Load)
	fmt.Print(lateness(t, log.killed(), waited, seen, (skew+after)/2))
	fmt.Printf("\nThe agent's own figures, of these and others' kills meanwhile: %s. It has then %s resident, and had %s at most.\n",
		a.lags(t).since(before), bytesize.Text(a.usage(t).RSS), bytesize.Text(a.usage(t).Peak))
}

// killMany kills, and returns when each victim's parent had waited for it, by pid.
func killMany(t *testing.T, groups []*cgroup.Group) map[int]time.Duration {
	t.Helper()
	tick := time.NewTicker(time.Second / latencyRate)
	defer tick.Stop()
	var mu sync.Mutex
	waited := make(map[int]time.Duration, *benchKills)
	work, ctx := errgroup.WithContext(t.Context())
	work.SetLimit(8)
	for i := range *benchKills {
		<-tick.C
		work.Go(func() error {
			pid, err := dies(ctx, groups[i%len(groups)], 2*latencyLimit/mib)
			now := monotonic()
			mu.Lock()
			defer mu.Unlock()
			waited[pid] = now
			return err
		})
	}
	if err := work.Wait(); err != nil {
		t.Fatal(err)
	}
	return waited
}

// lateness is the table. Skew is by how much the kernel log's clock is behind.
func lateness(t *testing.T, logged, waited map[int]time.Duration, seen *follower, skew time.Duration) table {
	t.Helper()
	var fromLine, fromWait, dying []time.Duration
	for pid, wait := range waited {
		line, ok := logged[pid]
		at, known := seen.first(pid)
		if !known {
			t.Errorf("pid %d is not in the ledger", pid)
			continue
		}
		if !ok {
			t.Logf("pid %d: its line was overwritten before this test read it", pid)
			continue
		}
		line += skew
		fromLine, fromWait, dying = append(fromLine, at-line), append(fromWait, at-wait), append(dying, wait-line)
	}
	out := table{{"", "p50", "p99", "longest", "within 10 ms"}}
	for _, row := range []struct {
		name string
		all  []time.Duration
	}{
		{"from the kernel's line to a follower of the ledger", fromLine},
		{"from the parent's wait() to a follower of the ledger", fromWait},
		{"from the kernel's line to the parent's wait()", dying},
	} {
		slices.Sort(row.all)
		soon, _ := slices.BinarySearch(row.all, 10*time.Millisecond)
		out.add(row.name, perMille(row.all, 500), perMille(row.all, 990), perMille(row.all, 1000), fmt.Sprintf("%.2f %%", 100*float64(soon)/float64(len(row.all))))
	}
	return out
}

// perMille is the least of sorted times that so many of a thousand do not exceed: the median is 500.
func perMille(sorted []time.Duration, n int) string {
	d := sorted[max(0, (len(sorted)*n+999)/1000-1)]
	return fmt.Sprintf("%.2f ms", float64(d)/float64(time.Millisecond))
}

// follower notes when a follower of the ledger was told of each process first.
type follower struct {
	mu sync.Mutex
	at map[int]time.Duration
}

func (a *released) follow(t *testing.T) *follower {
	t.Helper()
	f := &follower{at: map[int]time.Duration{}}
	ctx, cancel := context.WithCancel(t.Context())
	var following sync.WaitGroup
	following.Go(func() {
		err := a.Watch(ctx, "", func(e oom.KillEvent) error {
			now := monotonic()
			f.mu.Lock()
			defer f.mu.Unlock()
			if _, ok := f.at[e.Kill.Process.PID]; !ok {
				f.at[e.Kill.Process.PID] = now
			}
			return nil
		})
		if ctx.Err() == nil {
			t.Errorf("the kills cannot be followed any more: %v", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		following.Wait()
	})
	return f
}

func (f *follower) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.at)
}

func (f *follower) first(pid int) (at time.Duration, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	at, ok = f.at[pid]
	return at, ok
}

// lags is the histogram stella_oom_ledger_lag_seconds: how many kills came into the ledger within each bound.
type lags struct {
	bounds []string // in seconds
	counts []int
}

func (a *released) lags(t *testing.T) (l lags) {
	t.Helper()
	response, err := a.get(t.Context(), "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		rest, ok := strings.CutPrefix(lines.Text(), `stella_oom_ledger_lag_seconds_bucket{le="`)
		if !ok {
			continue
		}
		bound, value, _ := strings.Cut(rest, `"} `)
		n, err := strconv.Atoi(value)
		if err != nil {
			t.Fatal(err)
		}
		l.bounds, l.counts = append(l.bounds, bound), append(l.counts, n)
	}
	return l
}

// since is what came after another look at the same histogram.
func (l lags) since(before lags) string {
	all := l.counts[len(l.counts)-1] - before.counts[len(l.counts)-1]
	var parts []string
	for i, bound := range l.bounds {
		if n := l.counts[i] - before.counts[i]; n > 0 {
			parts = append(parts, fmt.Sprintf("≤ %s s %.2f %%", bound, 100*float64(n)/float64(all)))
			if n == all {
				break
			}
		}
	}
	return strings.Join(parts, ", ")
}
