package gate

import (
	"fmt"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"stella/internal/gate/loop"
)

// Three nodes want a reboot at once, and the API server is slow. They pass one after another, with the delay between them; and nobody passes
// while the gate of the one whose turn it is was killed, until it has come back. Clocks that differ are left to the tests of package turn: processes of one machine have
// one clock.
func TestTurns(t *testing.T) {
	t.Parallel()
	d := start(t, 3, "--nodes", "6", "--pods", "10", "--alerts", "0")
	d.set(wish{Latency: 60})
	var gates []*process
	var options []loop.Options
	for i := range 3 {
		o := d.options(i)
		// What asks much would take a look beyond its end, which is half a period.
		o.Period, o.Delay = 2*time.Second, 4*time.Second
		o.Soak, o.Workloads, o.Claims, o.Budgets, o.ControlPlane, o.Kured, o.HostRoot = 0, nil, false, false, 0, "", ""
		write(t, o.Raw, "")
		expire(t, o)
		options, gates = append(options, o), append(gates, gateOf(t, o, nil))
	}
	w := watchGates(t, d)
	first := w.wait(-1)
	d.reboot(first)
	second := w.wait(first)

	// Its gate dies while it is its turn, and the node with it; nobody else passes until it is back.
	gates[second].end(syscall.SIGKILL)
	eventually(t, "the file of the killed gate expires", func() bool { return !there(d.gated(second)) })
	late := time.Now().Add(options[second].Delay)
	for node := range 3 {
		if node != first && node != second {
			if v := d.verdict(node, late); v.Open || v.Blocking()[0].Reason != "held" {
				t.Errorf("%+v", v)
			}
		}
	}
	if turns := d.state().Turns; turns[len(turns)-1].Holder != options[second].Node {
		t.Errorf("the turn of the killed gate went to somebody else: %+v", turns)
	}
	d.reboot(second)
	gateOf(t, options[second], nil)

	third := w.wait(second)
	d.reboot(third)
	eventually(t, "the last turn ends", func() bool { turns := d.state().Turns; return turns[len(turns)-1].Holder == "" })
	w.end()
	if first == third || len(w.opened) != 3 {
		t.Errorf("these were open, one after another: %v", w.opened)
	}
	d.apart(options[0].Delay)
}

// reboot is what a node does once it may: after it, it wants none.
func (d *double) reboot(node int) {
	d.t.Helper()
	if err := os.Remove(d.raw(node)); err != nil {
		d.t.Fatal(err)
	}
	eventually(d.t, "the gate shuts", func() bool { return !there(d.gated(node)) })
}

// apart checks, by what the API server saw, that nobody took a turn before the delay was over.
func (d *double) apart(delay time.Duration) {
	d.t.Helper()
	turns := d.state().Turns
	var ended time.Time
	for i, turn := range turns {
		switch {
		case turn.Holder == "":
			ended = turn.At
		case i > 0 && turns[i-1].Holder != "":
			d.t.Errorf("a turn went from one to the next: %+v", turns)
		case turn.At.Sub(ended) < delay && i > 1:
			d.t.Errorf("the turn %d was taken %v after the last one ended, and the delay is %v", i, turn.At.Sub(ended), delay)
		default:
			d.t.Logf("%s took the turn at %s", turn.Holder, turn.At.Format("15:04:05.000"))
		}
	}
}

// watcher sees which gates are open.
type watcher struct {
	t    testing.TB
	stop chan struct{}
	done sync.WaitGroup

	mu     sync.Mutex
	opened []string // nodes, as their files appeared
}

func watchGates(t testing.TB, d *double) *watcher {
	w := &watcher{t: t, stop: make(chan struct{})}
	w.done.Go(func() {
		last := -1
		for {
			select {
			case <-w.stop:
				return
			case <-time.After(time.Millisecond):
			}
			open := -1
			for i := range 3 {
				switch {
				case !there(d.gated(i)):
				case open >= 0:
					t.Errorf("THE GATES OF n%d AND n%d ARE BOTH OPEN", open, i)
				default:
					open = i
				}
			}
			if open >= 0 && open != last {
				w.saw(open)
				last = open
			}
		}
	})
	t.Cleanup(w.end)
	return w
}

func (w *watcher) saw(node int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.opened = append(w.opened, fmt.Sprintf("n%d", node))
}

// wait waits until the gate of another node than the last one is open, and returns its number.
func (w *watcher) wait(last int) (node int) {
	w.t.Helper()
	eventually(w.t, "a gate opens", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.opened) == 0 {
			return false
		}
		fmt.Sscanf(w.opened[len(w.opened)-1], "n%d", &node)
		return node != last
	})
	return node
}

func (w *watcher) end() {
	select {
	case <-w.stop:
	default:
		close(w.stop)
	}
	w.done.Wait()
}
