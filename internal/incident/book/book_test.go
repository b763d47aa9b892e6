package book_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"stella/internal/incident"
	"stella/internal/incident/book"
	"stella/internal/store"
)

// timeline is an incident from its beginning to its end.
func timeline(in string) []incident.Event {
	var events []incident.Event
	for i, kind := range []incident.Kind{incident.Opened, incident.Killed, incident.Killed, incident.Explained, incident.Sampled, incident.Planned, incident.Approved,
		incident.Remedied, incident.ReadBack, incident.Killed, incident.RolledBack, incident.Noted, incident.Remedied, incident.Verified} {
		events = append(events, at(in, i, kind))
	}
	// What was known of the first kill is corrected, and corrected again.
	second, third := at(in, 1, incident.Killed), at(in, 1, incident.Killed)
	second.ID, second.Replaces, second.Kills = "second", events[1].ID, 5
	third.ID, third.Replaces, third.Kills = "third", "second", 3
	return append(events, second, third)
}

// However events come, in any order, at any time, more than once, from several servers: the summary is what the package incident makes of them.
func TestAnyOrder(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		books := []*book.Book{e.Book, e.another(book.Options{})}
		want, _ := incident.Fold(timeline("i"))
		for round := range 10 {
			id := fmt.Sprintf("i%d", round)
			events := timeline(id)
			events = append(events, events[:5]...)
			rand.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
			added := 0
			for some := range slices.Chunk(events, 1+round) {
				added += e.tell(books[rand.IntN(2)], some...).New
			}
			got := e.get(id)
			want.ID, want.Subject.Name = id, "shop/"+id
			if diff := cmp.Diff(want, got.Incident); diff != "" || added != 16 || len(got.Timeline) != 14 || want.Kills != 7 {
				t.Errorf("%d events were new, %d are there (-want +got):\n%s", added, len(got.Timeline), diff)
			}
			if !slices.IsSortedFunc(got.Timeline, func(a, b incident.Event) int { return a.Time.Compare(b.Time) }) {
				t.Error("the timeline is in no order")
			}
		}
		all, err := e.List(t.Context(), incident.Filter{Limit: 3})
		if err != nil || len(all) != 3 {
			t.Errorf("%d, %v", len(all), err)
		}
	})
}

// A kill that comes after the one that corrects it, and is newer, counts no more for it.
func TestCorrectedBefore(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		late := at("i", 2, incident.Killed)
		correction := at("i", 1, incident.Killed)
		correction.ID, correction.Replaces, correction.Kills = "correction", late.ID, 7
		e.tell(e.Book, at("i", 0, incident.Opened), correction)
		if receipt := e.tell(e.Book, late); receipt.New != 1 || e.get("i").Kills != 7 || len(e.get("i").Timeline) != 2 {
			t.Errorf("%+v, %+v", receipt, e.get("i"))
		}
	})
}

// The database chooses as the filter does.
func TestList(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		var all []incident.Incident
		for i := range 12 {
			id := fmt.Sprintf("i%02d", i)
			events := []incident.Event{at(id, i, incident.Opened), at(id, i, incident.Killed)}
			events[0].Subject.Workload, events[0].Subject.Container = "Deployment/web", "c\x00"+id
			events[0].Source = incident.Sources[i%4]
			if events[0].Source == incident.SourceWorker {
				events[0].Source = incident.SourceNode
			}
			if i%3 == 0 {
				events = append(events, at(id, i+1, incident.Ended))
			}
			e.tell(e.Book, events...)
			all = append([]incident.Incident{e.get(id).Incident}, all...)
		}
		slices.SortStableFunc(all, func(a, b incident.Incident) int { return b.Updated.Compare(a.Updated) })
		for _, f := range []incident.Filter{
			{}, {State: incident.Going}, {State: incident.AllEnded}, {State: "closed"}, {State: "held"}, {Source: incident.SourceNode}, {Source: incident.SourceDaemon},
			{Namespace: "shop"}, {Namespace: "x"}, {Name: "shop/i03"}, {Name: "Deployment/web"}, {Name: "i03"}, {Since: began.Add(7 * time.Minute)}, {Since: began.Add(time.Hour)},
			{State: incident.Going, Source: incident.SourceNode, Since: began.Add(5 * time.Minute)},
		} {
			var want []string
			for _, in := range all {
				if f.Match(&in) {
					want = append(want, in.ID)
				}
			}
			some, err := e.List(t.Context(), f)
			var got []string
			for _, in := range some {
				got = append(got, in.ID)
			}
			slices.Sort(want)
			slices.Sort(got)
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Errorf("%+v: %v (-want +got):\n%s", f, err, diff)
			}
		}
	})
}

// Several servers are told of the same storm at the same time: each event counts once, and who follows gets each once, in one order.
func TestConcurrent(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		const tellers, kills = 4, 40
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var work sync.WaitGroup
		follow := make([][]int64, 2)
		for i := range follow {
			b := e.another(book.Options{})
			work.Go(func() {
				err := b.Follow(ctx, 0, func(number int64, _ incident.Event) error {
					if follow[i] = append(follow[i], number); len(follow[i]) == 3*(kills+1) {
						return errors.New("all are there")
					}
					return nil
				})
				if err == nil || err.Error() != "all are there" {
					t.Errorf("follow %d got %d events: %v", i, len(follow[i]), err)
				}
			})
		}
		for range tellers {
			b := e.another(book.Options{})
			work.Go(func() {
				var events []incident.Event
				for _, in := range []string{"a", "b", "c"} {
					events = append(events, at(in, 0, incident.Opened))
					for k := range kills {
						events = append(events, at(in, 1+k, incident.Killed))
					}
				}
				rand.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
				for some := range slices.Chunk(events, 7) {
					if receipt, err := b.Tell(t.Context(), n1, some); err != nil || receipt.Err() != nil {
						t.Error(err, receipt.Err())
					}
				}
			})
		}
		work.Wait()
		for _, id := range []string{"a", "b", "c"} {
			if in := e.get(id); in.Kills != 2*kills || in.Events != kills+1 || in.Peak != kills<<20 {
				t.Errorf("%+v", in.Incident)
			}
		}
		for i := range follow {
			if !slices.IsSorted(follow[i]) || len(slices.Compact(follow[i])) != 3*(kills+1) {
				t.Errorf("follow %d got %v", i, follow[i])
			}
		}
	})
}

// A storm without end stays within its bounds: the oldest kills and samples go, nothing is counted twice or lost, and what people wrote stays.
func TestMakesRoom(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		sample := at("i", 1, incident.Sampled)
		sample.Peak = 1 << 40 // which is known also when the sample has gone
		e.tell(e.Book, at("i", 0, incident.Opened), at("i", 1, incident.Noted), sample)
		const kills = incident.MaxEvents + 500
		var last []incident.Event
		for first := 2; first < 2+kills; first += incident.MaxBatch {
			last = nil
			for k := range incident.MaxBatch {
				last = append(last, at("i", first+k, incident.Killed))
			}
			e.tell(e.Book, last...)
		}
		check := func(when string, want int64) {
			t.Helper()
			got := e.get("i")
			if got.Kills != want || got.Events != len(got.Timeline) || got.Events > incident.MaxEvents || !got.First.Equal(began.Add(2*time.Minute)) || got.Peak != 1<<40 {
				t.Errorf("%s: %d kills, want %d; %d of %d events; first %v, peak %d", when, got.Kills, want, got.Events, len(got.Timeline), got.First, got.Peak>>20)
			}
			if fold, _ := incident.Fold(got.Timeline); fold.Kills != want || fold.State != got.State {
				t.Errorf("%s: the timeline tells %d kills, %s", when, fold.Kills, fold.State)
			}
		}
		check("after the storm", 2*kills)
		// A correction that is older than what it corrects goes only after that.
		correction := last[0]
		correction.ID, correction.Replaces, correction.Time = "older", correction.ID, began.Add(1000*time.Minute)
		e.tell(e.Book, correction)
		check("after an older correction", 2*kills)
		for first := 4000; first < 4000+kills; first += incident.MaxBatch {
			last = nil
			for k := range incident.MaxBatch {
				last = append(last, at("i", first+k, incident.Killed))
			}
			e.tell(e.Book, last...)
		}
		check("after another storm", 4*kills)
		again := last[0]
		again.ID, again.Replaces, again.Kills = "again", again.ID, 1
		e.tell(e.Book, again)
		check("after a correction", 4*kills-1)
		again.ID, again.Replaces, again.Kills = "once-more", "again", 2
		e.tell(e.Book, again)
		check("after another", 4*kills)
		if got := e.get("i").Timeline; got[0].Kind != incident.Opened || got[1].Kind != incident.Noted || got[2].ID != "earlier" || !strings.Contains(got[2].Text, "kills since 2026-05-30T03:35:00Z") {
			t.Errorf("%+v", got[:3])
		}
		if receipt := e.tell(e.Book, append(last, at("i", 2, incident.Killed))...); receipt.New != 0 {
			t.Errorf("what was let go, and what is there, was sent again: %+v", receipt)
		}
		e.tell(e.Book, at("i", 3, incident.Explained)) // late: all is folded again
		check("after a late event", 4*kills)
		e.tell(e.Book, at("i", 9000, incident.Killed))
		e.tell(e.Book, at("i", 9001, incident.Ended))
		if got := e.get("i"); got.State != incident.Closed || got.Kills != 4*kills+2 {
			t.Errorf("%+v", got.Incident)
		}
	})
}

// Bytes are bounded as events are, and what would push out what people wrote is refused, but for the end.
func TestFull(t *testing.T) {
	e := newEnv(t, "sqlite:"+t.TempDir()+"/db")
	data := json.RawMessage(`"` + strings.Repeat("x", incident.MaxData-2) + `"`)
	e.tell(e.Book, at("i", 0, incident.Opened))
	for i := range 300 {
		sample := at("i", 1+i, incident.Sampled)
		sample.Data = data
		if receipt := e.tell(e.Book, sample); receipt.New != 1 {
			t.Fatalf("sample %d: %+v", i, receipt)
		}
	}
	total := func() (n int) {
		for _, x := range e.get("i").Timeline {
			n += len(x.Data) + 300
		}
		return n
	}
	if n := total(); n > book.MaxBytes+1<<20 || n < book.MaxBytes/2 {
		t.Errorf("%d bytes are there", n)
	}
	refused := 0
	for i := range 300 {
		note := at("i", 1000+i, incident.Noted)
		note.Data = data
		receipt := e.tell(e.Book, note)
		refused += len(receipt.Refused)
		if len(receipt.Refused) > 0 && !strings.Contains(receipt.Refused[0].Reason, "timeline is full") {
			t.Errorf("%+v", receipt)
		}
	}
	if n := total(); refused < 150 || n > book.MaxBytes+1<<20 {
		t.Errorf("%d were refused, and %d bytes are there", refused, n)
	}
	if receipt := e.tell(e.Book, at("i", 2000, incident.Ended)); receipt.New != 1 || e.get("i").State != incident.Closed {
		t.Errorf("a full incident cannot be closed: %+v", receipt)
	}
}

// What ended long ago goes; where all are too large, what ended first, and then what was quiet for longest.
func TestPrune(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		for i, id := range []string{"going", "ended", "new"} {
			e.tell(e.Book, at(id, i, incident.Opened), at(id, i+10, incident.Killed))
		}
		e.tell(e.Book, at("ended", 20, incident.Ended))
		late := at("new", 0, incident.Ended)
		late.Time = time.Now()
		e.tell(e.Book, late)
		ids := func() (ids []string) {
			all, err := e.List(t.Context(), incident.Filter{})
			if err != nil {
				t.Fatal(err)
			}
			for _, in := range all {
				ids = append(ids, in.ID)
			}
			slices.Sort(ids)
			return ids
		}
		for _, tt := range []struct {
			o    book.Options
			want []string
		}{
			{book.Options{}, []string{"ended", "going", "new"}},
			{book.Options{KeepEnded: time.Since(began) - 30*time.Minute}, []string{"going", "new"}},
			{book.Options{MaxTotal: 900}, []string{"going"}},
			{book.Options{MaxTotal: 1}, nil},
		} {
			if tt.o.KeepEnded == 0 {
				tt.o.KeepEnded = 1000000 * time.Hour
			}
			if _, err := e.another(tt.o).Prune(t.Context()); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, ids()); diff != "" {
				t.Errorf("%+v (-want +got):\n%s", tt.o, diff)
			}
		}
	})
}

// What is told in a transaction is there with it or not at all.
func TestAppendInTransaction(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		stop := errors.New("stop")
		for _, want := range []error{stop, nil} {
			err := e.db.Write(t.Context(), func(tx *store.Tx) error {
				if err := e.Append(t.Context(), tx, at("i", 0, incident.Opened), at("i", 1, incident.Killed)); err != nil {
					return err
				}
				if in, found, err := e.Incident(t.Context(), tx, "i"); err != nil || !found || in.Kills != 2 {
					t.Errorf("%+v, %v, %v", in, found, err)
				}
				return want
			})
			if !errors.Is(err, want) {
				t.Fatal(err)
			}
			if _, err := e.Get(t.Context(), "i"); errors.Is(err, book.ErrNotFound) != (want != nil) {
				t.Errorf("after %v: %v", want, err)
			}
		}
		// Nobody sees an incident of which everything was refused.
		if receipt := e.tell(e.Book, at("x", 0, incident.Kind("burnt"))); len(receipt.Refused) != 1 {
			t.Errorf("%+v", receipt)
		}
		if _, err := e.Get(t.Context(), "x"); !errors.Is(err, book.ErrNotFound) {
			t.Error(err)
		}
	})
}

// Text that databases cannot keep is kept as they can.
func TestHostileText(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		bad := at("i", 0, incident.Opened)
		bad.Subject.Name, bad.Text, bad.Data = "a\x00b' OR 1=1 --", "c\x00d", json.RawMessage("{\"x\":\"\xff\\u0000\"}")
		if receipt := e.tell(e.Book, bad); receipt.New != 1 {
			t.Fatalf("%+v", receipt)
		}
		if got := e.get("i"); got.Subject.Name != bad.Subject.Name || !json.Valid(got.Timeline[0].Data) {
			t.Errorf("%+v", got)
		}
	})
}

// Memory does not grow with how many incidents there are, nor with what is told of them.
func TestMemoryIsFlat(t *testing.T) {
	e := newEnv(t, "sqlite:"+t.TempDir()+"/db")
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	told := 0
	storm := func(n int) {
		for range n {
			var events []incident.Event
			for k := range 20 {
				x := at(fmt.Sprintf("i%d", told), k, incident.Killed)
				x.Data = json.RawMessage(`"` + strings.Repeat("x", 4000) + `"`)
				events = append(events, x)
			}
			e.tell(e.Book, events...)
			told++
		}
	}
	storm(50)
	before := heap()
	storm(500) // 40 MB of events
	if grown := heap() - before; grown > 2<<20 {
		t.Errorf("the heap has grown by %d bytes", grown)
	}
}
