package queue_test

import (
	"bytes"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"stella/internal/scanner"
)

func TestJobs(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		q := e.instance("a")
		putLarge(t, q)
		for n := range 6 {
			s := submission(n)
			if n == 5 {
				s.Image, s.Pool = "Example.test/100%_!/x", "large"
			}
			submit(t, q, s)
		}
		finish(t, q, success(claim(t, q, "default", "w"), inventory(0, 10))) // job 1
		finish(t, q, failure(claim(t, q, "default", "w"), scanner.OutcomeTimeout, "30m"))
		e.exec(`UPDATE jobs SET submitted = submitted - 7200000000 WHERE id <= 3`)
		e.exec(`UPDATE jobs SET ended = ended - 7200000000 WHERE id = 1`)
		hour := time.Now().Add(-time.Hour)
		for _, c := range []struct {
			filter scanner.JobFilter
			want   []int64
		}{
			{scanner.JobFilter{Limit: 100}, []int64{6, 5, 4, 3, 2, 1}},
			{scanner.JobFilter{Limit: 100000}, []int64{6, 5, 4, 3, 2, 1}},
			{scanner.JobFilter{}, []int64{6}},
			{scanner.JobFilter{Limit: 2}, []int64{6, 5}},
			{scanner.JobFilter{Limit: 2, Before: 5}, []int64{4, 3}},
			{scanner.JobFilter{Limit: 9, Status: []scanner.Status{"timeout"}}, []int64{2}},
			{scanner.JobFilter{Limit: 9, Status: []scanner.Status{"timeout", "succeeded"}}, []int64{2, 1}},
			{scanner.JobFilter{Limit: 9, Pool: "large"}, []int64{6}},
			{scanner.JobFilter{Limit: 9, Image: "image:3"}, []int64{4}},
			{scanner.JobFilter{Limit: 9, Image: "100%_!"}, []int64{6}},
			{scanner.JobFilter{Limit: 9, Image: "image_3"}, nil},
			{scanner.JobFilter{Limit: 9, Image: "EXAMPLE.test/100"}, []int64{6}},
			{scanner.JobFilter{Limit: 9, Image: digest(3)}, []int64{4}},
			{scanner.JobFilter{Limit: 9, Since: hour}, []int64{6, 5, 4, 2}},
			{scanner.JobFilter{Limit: 9, Since: hour, Status: []scanner.Status{"pending"}, Image: "image", Before: 5}, []int64{4}},
		} {
			jobs, err := q.Jobs(t.Context(), c.filter)
			if err != nil {
				t.Errorf("%+v: %v", c.filter, err)
			}
			var got []int64
			for _, j := range jobs {
				got = append(got, j.ID)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%+v: %s", c.filter, diff)
			}
		}
	})
}

func TestEvents(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		q := e.instance("a")
		id := submit(t, q, submission(1)).ID
		for range 3 {
			finish(t, q, failure(claim(t, q, "default", "w"), scanner.OutcomeLost, ""))
		}
		all, err := q.Events(t.Context(), id, 0, 100)
		if err != nil || len(all) != 7 {
			t.Fatalf("%d events, %v", len(all), err)
		}
		some, err := q.Events(t.Context(), id, all[1].ID, 2)
		if diff := cmp.Diff(all[2:4], some); diff != "" || err != nil {
			t.Error(diff, err)
		}
		if none, err := q.Events(t.Context(), id+1, 0, 100); err != nil || none == nil || len(none) != 0 {
			t.Errorf("%v, %v", none, err)
		}
	})
}

func TestQueueStatusAndStats(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		q := e.instance("a")
		putLarge(t, q)
		for n := range 6 {
			submit(t, q, submission(n))
		}
		finish(t, q, success(claim(t, q, "default", "w"), inventory(0, 1000)))
		finish(t, q, failure(claim(t, q, "default", "w"), scanner.OutcomeOOM, "killed"))
		finish(t, q, failure(claim(t, q, "default", "w"), scanner.OutcomeError, "no answer"))
		claim(t, q, "default", "w")
		e.exec(`UPDATE jobs SET queued = queued - 90000000 WHERE id = 5`)
		got, err := q.QueueStatus(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got.Oldest < 90 || got.Oldest > 190 || got.Pools[0].Oldest != got.Oldest {
			t.Errorf("oldest %v and %v", got.Oldest, got.Pools[0].Oldest)
		}
		got.Oldest, got.Pools[0].Oldest, got.Pools[1].Oldest = 0, 0, 0
		want := scanner.QueueStatus{Pending: 4, Running: 1, Pools: []scanner.QueuePool{
			{Pool: "default", Pending: 3, Delayed: 1, Running: 1}, {Pool: "large", Pending: 1},
		}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}

		since := time.Now().Add(-time.Hour).UTC()
		stats, err := q.Stats(t.Context(), since)
		if err != nil {
			t.Fatal(err)
		}
		if stats.MeanSeconds <= 0 || stats.MaxSeconds != stats.MeanSeconds {
			t.Errorf("%v and %v seconds", stats.MeanSeconds, stats.MaxSeconds)
		}
		stats.MeanSeconds, stats.MaxSeconds = 0, 0
		if diff := cmp.Diff(scanner.Stats{
			Since: since, Jobs: map[scanner.Status]int64{"pending": 4, "running": 1, "succeeded": 1},
			Attempts: map[scanner.Outcome]int64{"succeeded": 1, "oom": 1, "error": 1}, Incidents: 1, Results: 1, ResultBytes: 1000, MaxPeak: 64 << 20,
		}, stats); diff != "" {
			t.Error(diff)
		}
		if stats, err := q.Stats(t.Context(), time.Now().Add(time.Hour)); err != nil || len(stats.Attempts) != 0 || stats.Incidents != 0 {
			t.Errorf("%+v, %v", stats, err)
		}
		incidents, err := q.Incidents(t.Context(), since, 10)
		if err != nil || len(incidents) != 1 || incidents[0].Pool != "default" {
			t.Errorf("%+v, %v", incidents, err)
		}
	})
}

func TestPrune(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		q := e.instance("a")
		putLarge(t, q)
		// Two share an inventory, and one of them stays.
		for n, content := range []int{1, 1, 2} {
			submit(t, q, submission(n))
			finish(t, q, success(claim(t, q, "default", "w"), inventory(content, 300_000)))
		}
		for n := range 60 { // more than one batch
			id := submit(t, q, submission(100+n)).ID
			if _, err := q.Cancel(t.Context(), id, "x"); err != nil {
				t.Fatal(err)
			}
		}
		submit(t, q, submission(3))
		oomInLargest(t, q)
		e.exec(`UPDATE jobs SET ended = ended - 3600000000 WHERE ended > 0 AND id <> 2`)
		waiting := submit(t, q, submission(4))
		jobs, blobs, err := q.Prune(t.Context(), time.Now().Add(-time.Minute))
		if err != nil || jobs != 63 || blobs != 1 {
			t.Errorf("removed %d jobs and %d inventories, %v", jobs, blobs, err)
		}
		for table, want := range map[string]int64{"jobs": 2, "blobs": 1, "chunks": 2, "results": 1, "attempts": 1, "incident_summaries": 1} {
			if n := e.number(`SELECT count(*) FROM ` + table); n != want {
				t.Errorf("%d %s are left, want %d", n, table, want)
			}
		}
		if _, err := q.Job(t.Context(), 1); !errors.Is(err, scanner.ErrNotFound) {
			t.Errorf("job 1: %v", err)
		}
		var got bytes.Buffer
		if err := q.Inventory(t.Context(), 2, &got); err != nil || !bytes.Equal(got.Bytes(), inventory(1, 300_000)) {
			t.Errorf("the inventory that another job has: %v", err)
		}
		// The image stays in quarantine, and numbers of jobs are not used again.
		if job := submit(t, q, submission(3)); job.Status != scanner.StatusFailed || job.ID != waiting.ID+1 {
			t.Errorf("%+v", job)
		}
	})
}

// While results are removed, equal ones are added.
func TestRaceOfPruneAndFinish(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		a, b := e.instance("a"), e.instance("b")
		enough := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				select {
				case <-enough:
					return
				default:
				}
				if _, _, err := b.Prune(t.Context(), time.Now().Add(time.Hour)); err != nil {
					t.Error(err)
					return
				}
			}
		})
		for n := range 100 {
			submit(t, a, submission(n))
			finish(t, a, success(claim(t, a, "default", "w"), inventory(1, 1000)))
		}
		close(enough)
		wg.Wait()
		if n := e.number(`SELECT count(*) FROM blobs b WHERE NOT EXISTS (SELECT 1 FROM results r WHERE r.blob = b.id)`); n != 0 {
			t.Errorf("%d inventories without a result", n)
		}
		if n := e.number(`SELECT count(*) FROM results r WHERE NOT EXISTS (SELECT 1 FROM chunks c WHERE c.blob = r.blob)`); n != 0 {
			t.Errorf("%d results without an inventory", n)
		}
	})
}
