package feed

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
)

// Who follows is told of all that come, in order; who is late is told how many were missed; and a jump of the numbers loses what was before it.
func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		f := New[int](4)
		add := func(values ...int) {
			mu.Lock()
			defer mu.Unlock()
			for _, v := range values {
				f.Add(v)
			}
		}
		add(1, 2, 3, 4, 5, 6)
		ctx, cancel := context.WithCancel(t.Context())
		var got []int
		var missed uint64
		ended := make(chan error, 1)
		go func() {
			ended <- f.Follow(ctx, &mu, 1, func(number, left uint64, v int) error {
				if number != uint64(v) {
					t.Errorf("%d has number %d", v, number)
				}
				got, missed = append(got, v), missed+left
				return nil
			})
		}()
		synctest.Wait()
		if want := []int{3, 4, 5, 6}; !slices.Equal(got, want) || missed != 1 || f.Before() != 2 {
			t.Errorf("%v, %d missed", got, missed)
		}
		add(7)
		synctest.Wait()
		mu.Lock()
		f.Seek(9)
		if f.Last() != 9 || f.Before() != 9 {
			t.Errorf("after a jump: %d, %d", f.Last(), f.Before())
		}
		mu.Unlock()
		add(10)
		synctest.Wait()
		if want := []int{3, 4, 5, 6, 7, 10}; !slices.Equal(got, want) || missed != 3 {
			t.Errorf("%v, %d missed", got, missed)
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		failure := errors.New("full")
		if err := f.Follow(t.Context(), &mu, 0, func(uint64, uint64, int) error { return failure }); !errors.Is(err, failure) {
			t.Errorf("%v", err)
		}
	})
}

func TestCursor(t *testing.T) {
	for _, bad := range []string{"-", "a", "a-", "a-b", "a-1-2", "a--1", "a-18446744073709551616"} {
		if CheckCursor(bad) == nil {
			t.Errorf("%q is taken for a cursor", bad)
		}
	}
	for _, number := range []uint64{0, 7, 1<<64 - 1} {
		if tag, n, err := ParseCursor(Cursor("ab12", number)); tag != "ab12" || n != number || err != nil {
			t.Errorf("%q, %d, %v", tag, n, err)
		}
	}
	if tag, n, err := ParseCursor(""); tag != "" || n != 0 || err != nil {
		t.Errorf("%q, %d, %v", tag, n, err)
	}
}
