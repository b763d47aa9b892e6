package outlog_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"

	"stella/internal/rdev"
	"stella/internal/rdev/outlog"
)

// Both streams are written at once, the ring goes round many times, and readers of all speeds read, with cursors that are
// not there any more: whatever they are told is what was written.
func TestReadersOfARing(t *testing.T) {
	s := open(t, outlog.Options{})
	l := create(t, s, "c", outlog.Limits{Bytes: outlog.MinBytes})
	const lines = 30_000
	var writers, readers sync.WaitGroup
	for _, stream := range []rdev.Stream{rdev.Stdout, rdev.Stderr} {
		writers.Go(func() {
			w := l.Writer(stream)
			for n := range lines {
				fmt.Fprintf(w, "%s %d %s\n", stream, n, strings.Repeat("z", n%200))
			}
		})
	}
	for reader := range 6 {
		readers.Go(func() {
			if err := readRing(l, rand.New(rand.NewPCG(uint64(reader), 3))); err != nil {
				t.Error(err)
			}
		})
	}
	writers.Wait()
	end(t, l)
	readers.Wait()
	if got := l.State(); got.Lines != 2*lines || got.Dropped == 0 {
		t.Errorf("%+v", got)
	}
}

// readRing follows a log to its end, and goes back now and then.
func readRing(l *outlog.Log, r *rand.Rand) error {
	next := map[rdev.Stream]int{} // the least number that can come
	var wrong error
	buf := make([]byte, outlog.MinBuffer+r.IntN(100_000))
	for at := (outlog.Position{}); at.End == nil; {
		<-l.More(at.Next)
		stop := r.IntN(2000)
		before, told := at.Next, uint64(0)
		var err error
		at, err = l.Read(at.Next, buf, func(rec outlog.Record) bool {
			told++
			f := strings.Fields(string(rec.Data))
			n, err := strconv.Atoi(f[1])
			if err != nil || f[0] != string(rec.Stream) || n < next[rec.Stream] || n%200 != 0 && len(f[2]) != n%200 {
				wrong = fmt.Errorf("record %d is %q, after line %d", rec.Seq, rec.Data, next[rec.Stream])
			}
			next[rec.Stream] = n + 1
			stop--
			return stop > 0
		})
		if err = errors.Join(err, wrong); err != nil {
			return err
		}
		if at.Next != before+at.Gap+told {
			return fmt.Errorf("%d, and %d records are not at %+v", before, told, at)
		}
		if stop%50 == 7 && at.End == nil { // go back
			at.Next, next = at.Next/2, map[rdev.Stream]int{}
			after, err := l.Tail(int64(stop))
			if err != nil {
				return err
			}
			if stop%2 == 0 {
				at.Next = after
			}
		}
	}
	return nil
}
