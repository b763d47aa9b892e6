package limit

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func TestRates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRates(2, 3)
		take := func(caller string) (n int) {
			for r.Take(caller) {
				n++
			}
			return n
		}
		if n := take("a"); n != 3 {
			t.Errorf("%d at once", n)
		}
		if !r.Empty("a") || r.Empty("b") {
			t.Error("a is empty, b is not")
		}
		if n := take("b"); n != 3 {
			t.Errorf("another caller: %d at once", n)
		}
		time.Sleep(time.Second)
		if n := take("a"); n != 2 {
			t.Errorf("%d a second later", n)
		}
		time.Sleep(time.Hour)
		if n := take("a"); n != 3 {
			t.Errorf("%d an hour later", n)
		}
	})
}

// Names that somebody makes up are forgotten, those that are used are not.
func TestRecentIsBounded(t *testing.T) {
	r := NewRecent[string, int](10)
	made := 0
	get := func(key string) int {
		return r.Get(key, func() int { made++; return made })
	}
	first := get("used")
	for i := range 1000 {
		get(fmt.Sprint(i))
		if got := get("used"); got != first {
			t.Fatalf("after %d others it was forgotten", i)
		}
	}
	if len(r.byKey) != 10 || r.order.Len() != 10 {
		t.Errorf("%d keys in %d places", len(r.byKey), r.order.Len())
	}
	if r.Has("1") || !r.Has("999") {
		t.Error("it remembers the first ones, or forgot the last")
	}
}

func TestSlots(t *testing.T) {
	s := NewSlots(3, 2)
	take := func(caller string, want bool) func() {
		t.Helper()
		release, ok := s.Take(caller)
		if ok != want {
			t.Errorf("%s: %v, want %v", caller, ok, want)
		}
		return release
	}
	a := take("a", true)
	take("a", true)
	take("a", false)
	b := take("b", true)
	take("b", false) // all are taken
	a()
	take("b", true)
	b()
	take("c", true)
	take("c", false)
	if s.taken != 3 || len(s.by) != 3 {
		t.Errorf("%d taken by %v", s.taken, s.by)
	}
}
