package service

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

func takeAny(waiting) verdict { return take }

// drain takes everything out, in order.
func drain(q *queue) (order []string) {
	for {
		w, ok := q.next(takeAny)
		if !ok {
			return order
		}
		order = append(order, w.id)
	}
}

func TestTurns(t *testing.T) {
	q := newQueue()
	// ada was first, with many; her projects take turns, and so does bob.
	for i, w := range []waiting{
		{caller: "ada", project: "web"}, {caller: "ada", project: "web"}, {caller: "ada", project: "web"}, {caller: "ada", project: "api"},
		{caller: "bob", project: "web"}, {caller: "bob", project: "web"},
	} {
		w.id = fmt.Sprint(i)
		q.add(w)
	}
	places := q.places()
	order := drain(q)
	if got := fmt.Sprint(order); got != "[0 4 3 5 1 2]" {
		t.Errorf("order %s", got)
	}
	for i, id := range order {
		if places[id] != i+1 {
			t.Errorf("%s had place %d, and was number %d", id, places[id], i+1)
		}
	}
}

// Who comes again and again gets no more turns than who has many waiting, nor the other way.
func TestNobodyStarves(t *testing.T) {
	q := newQueue()
	for i := range 50 {
		q.add(waiting{id: fmt.Sprintf("a%02d", i), caller: "ada", project: "web"})
	}
	turns := map[string]int{}
	for i := range 40 {
		if q.of("bob") == 0 {
			q.add(waiting{id: fmt.Sprintf("b%02d", i), caller: "bob", project: "web"})
		}
		w, _ := q.next(takeAny)
		turns[w.caller]++
	}
	if turns["ada"] < 19 || turns["bob"] < 19 {
		t.Errorf("turns: %v", turns)
	}
}

// Turns that could not be used, because of a limit, are not made up for.
func TestNoDebts(t *testing.T) {
	q := newQueue()
	for i := range 100 {
		q.add(waiting{id: fmt.Sprintf("a%03d", i), caller: "ada", project: "web"})
		q.add(waiting{id: fmt.Sprintf("b%03d", i), caller: "bob", project: "web"})
	}
	for range 50 {
		q.next(func(w waiting) verdict {
			if w.caller == "ada" {
				return skip
			}
			return take
		})
	}
	turns := map[string]int{}
	for range 20 {
		w, _ := q.next(takeAny)
		turns[w.caller]++
	}
	if turns["ada"] > 11 {
		t.Errorf("turns: %v", turns)
	}
}

// Whatever comes and goes, a place is when a command would start, each project's oldest is first, and nothing is left behind.
func TestPlaces(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		q := newQueue()
		n := 0
		for range 200 {
			switch random.IntN(4) {
			case 0, 1:
				n++
				q.add(waiting{id: fmt.Sprintf("%04d", n), caller: fmt.Sprint("c", random.IntN(4)), project: fmt.Sprint("p", random.IntN(3))})
			case 2:
				hold := fmt.Sprint("c", random.IntN(8))
				q.next(func(w waiting) verdict {
					if w.caller == hold {
						return skip
					}
					return take
				})
			case 3:
				q.remove(fmt.Sprintf("%04d", random.IntN(n+1)))
			}
		}
		places, sizes := q.places(), q.len()
		last := map[string]string{}
		for i := 1; ; i++ {
			w, ok := q.next(takeAny)
			if !ok {
				if i-1 != sizes {
					t.Fatalf("seed %d: %d of %d came out", seed, i-1, sizes)
				}
				break
			}
			if places[w.id] != i {
				t.Fatalf("seed %d: %s had place %d, and was number %d", seed, w.id, places[w.id], i)
			}
			if line := w.caller + w.project; last[line] > w.id {
				t.Fatalf("seed %d: %s came after %s", seed, w.id, last[line])
			} else {
				last[line] = w.id
			}
		}
		if len(q.ids) != 0 || len(q.callers.members) != 0 {
			t.Fatalf("seed %d: left %v", seed, q.callers.members)
		}
	}
}

func BenchmarkPlaces(b *testing.B) {
	q := newQueue()
	for i := range maxQueued {
		q.add(waiting{id: formatID(int64(i)), caller: fmt.Sprint(i % 100), project: fmt.Sprint(i % 7)})
	}
	for b.Loop() {
		q.placed = nil
		q.places()
	}
}
