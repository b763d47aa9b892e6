package turn

import (
	"go/ast"
	"go/parser"
	"go/token"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"stella/internal/gate"
	"stella/internal/kube"
)

// pause is the delay here: short, so that there are many turns.
const pause = time.Minute

// world is what is true of all nodes, whatever their gates believe.
type world struct {
	s       *server
	open    map[string]bool
	ended   time.Time // when the last turn did, by the server's clock
	turns   int
	reboots map[string]int
}

// changed is called by the server, whose lock is held, when the Lease was changed.
func (w *world) changed(before, after string) {
	switch {
	case before != "" && after == "":
		w.ended = w.s.now
		if w.open[before] {
			w.s.t.Errorf("the turn of %s ended while it could be rebooted", before)
		}
	case before == "" && after != "":
		if gap := w.s.now.Sub(w.ended); w.turns > 0 && gap < pause {
			w.s.t.Errorf("%s began %v after the end of the last turn", after, gap)
		}
		w.turns++
	case before != after:
		w.s.t.Errorf("the turn of %s became that of %s", before, after)
	}
}

func (w *world) set(node string, open bool) {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	w.open[node] = open
	if !open {
		return
	}
	for other, is := range w.open {
		if is && other != node {
			w.s.t.Errorf("%s passed while %s could be rebooted", node, other)
		}
	}
}

// live is a node: it wants reboots and has them, its gate crashes, and it is removed from the cluster and comes again.
func (w *world) live(client *kube.Client, node string, steps int) {
	ctx := w.s.t.Context()
	turn, pending := New(client, namespace, node, pause), true
	for range steps {
		if pending {
			passed := turn.Check().Run(ctx).Outcome == gate.Pass
			w.set(node, passed)
			if passed && rand.IntN(3) == 0 { // kured reboots it
				w.set(node, false)
				turn, pending = New(client, namespace, node, pause), false
				w.s.mu.Lock()
				w.reboots[node]++
				w.s.mu.Unlock()
			}
		} else if turn.Held() {
			_ = turn.Release(ctx) // else with the next step
		}
		switch rand.IntN(40) {
		case 0: // the gate crashes, and the second process removes what it left
			turn = New(client, namespace, node, pause)
			w.set(node, false)
		case 1: // it is gone, and comes back
			w.remove(node)
			turn = New(client, namespace, node, pause)
		case 2, 3, 4: // what it wants changes, perhaps while an answer is awaited
			pending = !pending
			if !pending {
				w.set(node, false)
			}
		case 5: // a quiet time
			w.s.mu.Lock()
			w.s.now = w.s.now.Add(pause / 10)
			w.s.mu.Unlock()
		}
	}
	w.set(node, false)
	for turn.Held() {
		_ = turn.Release(ctx)
	}
}

func (w *world) remove(node string) {
	w.set(node, false)
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	delete(w.s.nodes, node)
	w.s.late = append(w.s.late, func() { w.s.nodes[node] = true })
}

// Twenty nodes, and a server that is slow, fails, loses answers, denies what it did, and does things after it was given up on.
func TestOneAtATime(t *testing.T) {
	const nodes, steps = 20, 500
	s, client := newServer(t)
	w := &world{s: s, open: map[string]bool{}, reboots: map[string]int{}}
	s.changed, s.faults, s.slow = w.changed, 0.25, 2*time.Second
	var all sync.WaitGroup
	for i := range nodes {
		node := "node-" + strconv.Itoa(i)
		s.nodes[node] = true
		all.Go(func() { w.live(client, node, steps) })
	}
	all.Wait()
	total := 0
	for _, n := range w.reboots {
		total += n
	}
	t.Logf("%d requests, %d turns, %d reboots of %d nodes, until %v by the server's clock", len(s.asked), w.turns, total, len(w.reboots), s.now)
	if total < 20 || len(w.reboots) < 10 {
		t.Errorf("only %d reboots of %d nodes: nothing was tested", total, len(w.reboots))
	}
}

// No clock of a node is read, so none can be wrong.
func TestNoClockOfOurs(t *testing.T) {
	names, err := filepath.Glob("*.go")
	if err != nil || len(names) < 2 {
		t.Fatalf("%v: %v", names, err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok && slices.Contains([]string{"Now", "Since", "Until", "Sent", "Received", "Earliest", "Latest"}, s.Sel.Name) {
				if of, ok := s.X.(*ast.Ident); ok && (of.Name == "time" || of.Name == "moment") {
					t.Errorf("%s has %s.%s, which is a clock of this node", name, of.Name, s.Sel.Name)
				}
			}
			return true
		})
	}
}
