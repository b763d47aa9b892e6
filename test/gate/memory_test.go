package gate

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"stella/bench/machine"
	"stella/internal/gate/loop"
	"stella/internal/trend"
)

var bench = flag.Bool("bench-gate", false, "measure: 100,000 cycles of a small cluster, 1,000 of a large one, and the loop with kubectl")

// What a gate may cost.
const (
	mostMemory = 16 << 20 // RSS at any time
	// Growth that is both significant and large fails a run: a difference of bytes can be significant without mattering.
	significant = 0.01
	mostGrowth  = 512 << 10 // over the samples that count
	// warm is which part of the samples does not: a third.
	warm = 3
)

// run is so many cycles of one cluster.
type run struct {
	name                         string
	nodes, pods, alerts          int
	cycles, samples, mostQueries int
	period                       time.Duration // whose half a look may take
}

func runs() []run {
	small := run{"small", 20, 200, 50, 1_000, 50, 20, 10 * time.Second}
	large := run{"large", 1_000, 20_000, 5_000, 5, 5, 70, 2 * time.Minute}
	if *bench {
		small.cycles, small.samples = 100_000, 400
		large.cycles, large.samples = 1_000, 400
	}
	return []run{small, large}
}

// Months of looks with all checks on: the memory is what it was in the first one, no process is started, no goroutine is left, and the API
// server is asked a bounded number of times.
func TestMemory(t *testing.T) {
	for _, r := range runs() {
		t.Run(r.name, func(t *testing.T) {
			if !*bench {
				t.Parallel()
			}
			d := start(t, 1, "--nodes", fmt.Sprint(r.nodes), "--pods", fmt.Sprint(r.pods), "--alerts", fmt.Sprint(r.alerts))
			o := d.options(0)
			o.Period, o.Delay, o.Every = r.period, 2*r.period, time.Nanosecond
			write(t, o.Raw, "")
			r.measure(t, d, o)
		})
	}
}

func (r run) measure(t *testing.T, d *double, o loop.Options) {
	began := time.Now()
	p := cycles(t, o, nil)
	s := p.sample(r.cycles, r.samples)
	took := time.Since(began)
	last, iterations := p.usage(), p.metric("stella_gate_iteration")
	asked := float64(d.requests()) / iterations
	verdict := d.verdict(0, time.Time{})
	if err := p.end(syscall.SIGTERM); err != nil {
		t.Fatalf("the gate did not end well, as by a fork: %v", err)
	}
	var before, after int
	if _, err := fmt.Sscanf(p.out.String(), "goroutines %d %d", &before, &after); err != nil || after > before {
		t.Errorf("goroutines: %q, %v", p.out, err)
	}
	if !verdict.Open {
		t.Errorf("the gate is not open: %+v", verdict.Blocking())
	}
	if ran := checksOf(verdict.Results); !slices.Equal(ran, slices.Sorted(slices.Values(allChecks))) {
		t.Errorf("these checks ran: %v", ran)
	}
	if last.Peak > mostMemory {
		t.Errorf("at its highest the gate had %d bytes", last.Peak)
	}
	growth, chance := grown(s.resident)
	anonymous, anonymousChance := grown(s.anonymous)
	if chance < significant && growth > mostGrowth {
		t.Errorf("its memory grows: %.0f", s.resident)
	}
	if asked > float64(r.mostQueries) {
		t.Errorf("%.1f requests in each cycle: %v", asked, d.state().Requests)
	}
	mib := func(bytes float64) string { return fmt.Sprintf("%.2f MiB", bytes/(1<<20)) }
	for _, row := range []string{
		fmt.Sprintf("| %d nodes, %d pods, %d alerts | |", r.nodes, r.pods, r.alerts), "|---|---|",
		fmt.Sprintf("| cycles, all checks on | %.0f in %.0f s |", iterations, took.Seconds()),
		fmt.Sprintf("| **resident memory in the first cycle, in the last, and at its highest** (target: 16 MiB) | **%s, %s, %s** |", mib(s.resident[0]), mib(float64(last.RSS)), mib(float64(last.Peak))),
		fmt.Sprintf("| **its growth over the last %d samples of %d by Theil and Sen, and the chance that it is none by Mann and Kendall** | **%s, p = %.3f** |", len(s.resident)-len(s.resident)/warm, len(s.resident), mib(growth), chance),
		fmt.Sprintf("| of that without the pages of the program itself: in the last cycle, and growth in the same way | %s, %s, p = %.3f |", mib(s.anonymous[len(s.anonymous)-1]), mib(anonymous), anonymousChance),
		"| processes started (the kernel kills the gate at the first) | 0 |",
		fmt.Sprintf("| goroutines before the first cycle and after the last; threads in the first and in the last | %d and %d; %d and %d |", before, after, s.threads[0], last.Threads),
		fmt.Sprintf("| requests in each cycle, those to Prometheus and kured among them | %.1f |", asked),
		fmt.Sprintf("| processor time of one cycle | %.2f ms |", last.CPU.Seconds()*1000/iterations),
	} {
		t.Log(row)
	}
	if *bench {
		t.Log(machine.Describe())
	}
}

// grown is by how much values grow, and the chance that they do not, after the first part, in which the heap and the stacks find their size.
func grown(values []float64) (growth, chance float64) {
	values = values[len(values)/warm:]
	return trend.Slope(values) * float64(len(values)-1), trend.Chance(values)
}

// samples are taken at equal distances of cycles. Anonymous memory is what is resident without the pages of files, such as the program.
type samples struct {
	resident, anonymous []float64
	threads             []int64
}

// sample lets a gate go on until it has made so many cycles, and looks at its memory meanwhile.
func (p *process) sample(cycles, n int) samples {
	p.t.Helper()
	var s samples
	next, last, since := 1.0, 0.0, time.Now()
	for {
		i := p.metric("stella_gate_iteration")
		if i >= next {
			u := p.usage()
			s.resident, s.threads = append(s.resident, float64(u.RSS)), append(s.threads, u.Threads)
			s.anonymous = append(s.anonymous, p.anonymous())
			next = max(i+1, float64(len(s.resident)*cycles/n))
		}
		if i > float64(cycles) {
			return s
		}
		if i != last {
			last, since = i, time.Now()
		}
		if time.Since(since) > 2*patience {
			p.t.Fatalf("nothing goes on after %v cycles", i)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// While no reboot is wanted nothing is asked, after the first time.
func TestIdle(t *testing.T) {
	t.Parallel()
	d := start(t, 1)
	o := d.options(0)
	o.Every = time.Nanosecond
	p := cycles(t, o, nil)
	p.sample(10, 1)
	first := d.requests()
	p.sample(1_000, 10)
	if after := d.requests(); first == 0 || after != first {
		t.Errorf("%d requests in the first cycle, and %d after the last", first, after)
	}
	t.Logf("%d requests in all of 1,000 cycles in which no reboot is wanted: %v", first, d.state().Requests)
}

// The filter that shows that the gate starts no process would kill it if it did.
func TestForksAreKilled(t *testing.T) {
	t.Parallel()
	p := launch(t, command(t, "cycles", "fork"), nil)
	err := p.cmd.Wait()
	status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() || status.Signal() != syscall.SIGSYS {
		t.Errorf("it ended with %v %s", err, strings.TrimSpace(p.log.String()))
	}
}
