package chaos

import (
	"fmt"
	"maps"
	"slices"
	"syscall"
	"testing"
	"time"

	"stella/internal/scanner"
	"stella/internal/testkit/postgres"
)

const (
	// takeOver is within what a server has the attempts of one that is gone.
	takeOver = 10 * time.Second
	// each is how many workers each of two servers has.
	each = 2
)

// Two servers share a queue. One is killed, or stops for a while without knowing:
// the other takes over what it had, and what it brings when it comes back is refused.
func TestTakeOver(t *testing.T) {
	stop := func(s *stellad) { s.send(syscall.SIGSTOP) }
	resume := func(s *stellad) { s.send(syscall.SIGCONT) }
	for name, c := range map[string]absence{
		"killed":  {(*stellad).kill, (*stellad).start, 0},
		"stopped": {stop, resume, each}, // its workers go on, and have results when it comes back
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.test(t)
		})
	}
}

// absence is how a server goes away for a while.
type absence struct {
	leave, comeBack func(*stellad)
	// refused is how many ends of attempts it brings when it is back.
	refused int
}

func (c absence) test(t *testing.T) {
	images := makeImages(t, 8*each)
	first, second := images[:6*each], images[6*each:]
	r := newRegistry(t, images)
	url := postgres.Database(t)
	var servers [2]*stellad
	for i, name := range []string{"a", "b"} {
		s := newStellad(t, name)
		s.store, s.args = url, []string{"--allow-registry", r.host, "--plain-http", r.host}
		s.start()
		s.set("worker.count", fmt.Sprint(each), "retry.max_attempts", "100", "cache.layer_dedup", "false")
		servers[i] = s
	}
	a, b := servers[0], servers[1]

	r.hold()
	orders := newOrders(t, first)
	orders.submit(a.client)
	<-orders.done
	r.await(2 * each) // both work
	fault := time.Now()
	c.leave(a)
	r.release()
	orders.wait(b.client)
	c.comeBack(a)

	r.hold()
	more := newOrders(t, second)
	more.submit(b.client)
	r.await(2 * each) // both work again
	back := time.Now()
	r.release()
	more.wait(b.client)
	checkResults(t, b.client, images)
	for _, s := range servers {
		s.end()
	}

	books := b.openBooks()
	maps.Copy(orders.acknowledged, more.acknowledged)
	books.check(images, orders.acknowledged)
	if n := books.running(fault); n["a"] != each || n["b"] != each {
		t.Errorf("attempts by server when one left: %v; want %d each", n, each)
	}
	if n := books.running(back); n["a"] != each || n["b"] != each {
		t.Errorf("attempts by server when it was back: %v; want %d each", n, each)
	}
	took, again := books.takenOver("a", fault)
	t.Logf("%d attempts were taken over after %v, and begun again after %v", len(took), took, again)
	if len(took) != each || slices.Max(again) > takeOver {
		t.Errorf("want %d attempts, begun again within %v", each, takeOver)
	}
	if n := a.says("an attempt's end was not kept"); n != c.refused {
		t.Errorf("%d ends of attempts were refused; want %d", n, c.refused)
	}
	for _, s := range servers {
		s.checkNothingIsLeft()
	}
}

// send sends a signal that does not end the process.
func (s *stellad) send(signal syscall.Signal) {
	s.Helper()
	if err := s.current().cmd.Process.Signal(signal); err != nil {
		s.Fatal(err)
	}
}

// running counts the attempts that ran at a moment, by server.
func (b *books) running(at time.Time) map[string]int {
	n := map[string]int{}
	for _, e := range b.jobs {
		for _, a := range e.history {
			if a.started < at.UnixMicro() && a.ended > at.UnixMicro() {
				n[a.instance]++
			}
		}
	}
	return n
}

// takenOver measures, for each attempt of a server that ran at a moment and was lost, how long
// after that it was ended, and how long after that another server began the next.
func (b *books) takenOver(instance string, at time.Time) (ended, again []time.Duration) {
	for _, e := range b.jobs {
		for i, a := range e.history {
			if a.instance == instance && a.outcome == scanner.OutcomeLost && a.started < at.UnixMicro() {
				ended = append(ended, time.UnixMicro(a.ended).Sub(at).Round(time.Millisecond))
				again = append(again, time.UnixMicro(e.history[i+1].started).Sub(at).Round(time.Millisecond))
			}
		}
	}
	return ended, again
}
