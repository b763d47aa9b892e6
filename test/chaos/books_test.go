package chaos

import (
	"database/sql"
	"log/slog"
	"slices"
	"testing"
	"time"

	"stella/internal/scanner"
	"stella/internal/store"
)

// maxShown is how many faults of one kind are shown.
const maxShown = 5

// books are what the database says when no server has it open.
type books struct {
	*testing.T
	db     *store.DB
	jobs   []*entry // by ID
	faults map[string]int
}

// entry is one job.
type entry struct {
	id, attempts int64
	image        string
	status       scanner.Status
	inventory    string
	bytes        int64
	history      []attempt
	events       []event
}

type attempt struct {
	number         int64
	instance       string
	started, ended int64 // microseconds
	outcome        scanner.Outcome
}

type event struct {
	kind    scanner.EventKind
	attempt int64
	status  scanner.Status
}

// openBooks reads the database of a server that has ended.
func (s *stellad) openBooks() *books {
	s.Helper()
	db, err := store.Open(s.Context(), store.Options{URL: s.store, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		if err := db.Close(); err != nil {
			s.Error(err)
		}
	})
	b := &books{T: s.T, db: db, faults: map[string]int{}}
	byID := map[int64]*entry{}
	b.each(`SELECT id, image, status, attempts, inventory, bytes FROM jobs ORDER BY id`, func(r *sql.Rows) error {
		var e entry
		b.jobs = append(b.jobs, &e)
		err := r.Scan(&e.id, &e.image, &e.status, &e.attempts, &e.inventory, &e.bytes)
		byID[e.id] = &e
		return err
	})
	b.each(`SELECT job, number, instance, started, ended, outcome FROM attempts ORDER BY job, number`, func(r *sql.Rows) error {
		var job int64
		var a attempt
		err := r.Scan(&job, &a.number, &a.instance, &a.started, &a.ended, &a.outcome)
		byID[job].history = append(byID[job].history, a)
		return err
	})
	b.each(`SELECT job, kind, attempt, status FROM events ORDER BY id`, func(r *sql.Rows) error {
		var job int64
		var e event
		err := r.Scan(&job, &e.kind, &e.attempt, &e.status)
		byID[job].events = append(byID[job].events, e)
		return err
	})
	return b
}

func (b *books) each(text string, f func(*sql.Rows) error) {
	b.Helper()
	if err := b.db.Read(b.Context(), func(tx *store.Tx) error { return tx.Each(b.Context(), text, nil, f) }); err != nil {
		b.Fatalf("%s: %v", text, err)
	}
}

// fault reports what is wrong, but not ten thousand times.
func (b *books) fault(kind string, e *entry) {
	b.Helper()
	if b.faults[kind]++; b.faults[kind] <= maxShown {
		b.Errorf("%s: %+v", kind, *e)
	}
}

// check looks for everything that must be true of jobs that all ended well, whatever
// was killed. acknowledged are the jobs that clients were told of.
func (b *books) check(images []image, acknowledged map[int64]image) {
	b.Helper()
	jobs := map[string]int{}
	known := map[int64]bool{}
	outcomes := map[scanner.Outcome]int{}
	for _, e := range b.jobs {
		jobs[e.image]++
		known[e.id] = true
		if i, ok := acknowledged[e.id]; ok && i.ref != e.image {
			b.fault("another image than was acknowledged", e)
		}
		b.checkHistory(e)
		b.checkEvents(e)
		for _, a := range e.history {
			outcomes[a.outcome]++
		}
	}
	for id, i := range acknowledged {
		if !known[id] {
			b.fault("an acknowledged job is lost", &entry{id: id, image: i.ref})
		}
	}
	for _, i := range images {
		if jobs[i.ref] == 0 {
			b.fault("an image has no job", &entry{image: i.ref})
		}
	}
	b.checkResults()
	b.checkWhole()
	for kind, n := range b.faults {
		b.Errorf("%d times: %s", n, kind)
	}
	b.Logf("%d jobs of %d images, %d of them acknowledged; attempts: %v", len(b.jobs), len(jobs), len(acknowledged), outcomes)
}

// checkHistory: the attempts are numbered from 1, one after the other, and the last
// alone has succeeded; whatever ended the others was not the image.
func (b *books) checkHistory(e *entry) {
	b.Helper()
	if e.status != scanner.StatusSucceeded || int(e.attempts) != len(e.history) || e.attempts == 0 {
		b.fault("not succeeded", e)
	}
	var free int64
	for i, a := range e.history {
		last := i == len(e.history)-1
		switch {
		case a.number != int64(i)+1:
			b.fault("attempts with holes", e)
		case a.ended == 0 || a.outcome == "":
			b.fault("an attempt runs", e)
		case a.started < free || a.ended < a.started:
			b.fault("two attempts at a time", e)
		case last && a.outcome != scanner.OutcomeSucceeded:
			b.fault("the last attempt has not succeeded", e)
		case !last && a.outcome != scanner.OutcomeKilled && a.outcome != scanner.OutcomeLost:
			b.fault("an attempt ended by something that did not happen", e)
		}
		free = a.ended
	}
}

// checkEvents: a job is submitted once, begins as often as it has attempts, waits
// again after each but the last, and ends once, at the end.
func (b *books) checkEvents(e *entry) {
	b.Helper()
	want := []event{{scanner.EventSubmitted, 0, scanner.StatusPending}}
	for i, a := range e.history {
		want = append(want, event{scanner.EventStarted, a.number, scanner.StatusRunning})
		if i < len(e.history)-1 {
			want = append(want, event{scanner.EventRequeued, a.number, scanner.StatusPending})
		}
	}
	want = append(want, event{scanner.EventEnded, e.attempts, scanner.StatusSucceeded})
	got := slices.DeleteFunc(slices.Clone(e.events), func(x event) bool { // who asked again shares the job
		return x.kind == scanner.EventSubmitted && x != want[0]
	})
	if !slices.Equal(got, want) {
		b.fault("other events than its attempts make", e)
	}
}

// checkResults: every job has a result, whole and under its digest, and nothing else is kept.
func (b *books) checkResults() {
	b.Helper()
	type result struct {
		digest string
		bytes  int64
	}
	results := map[int64]result{}
	b.each(`SELECT r.job, b.digest, b.size, (SELECT sum(length(c.data)) FROM chunks c WHERE c.blob = b.id) FROM results r JOIN blobs b ON b.id = r.blob`, func(r *sql.Rows) error {
		var job, length int64
		var x result
		err := r.Scan(&job, &x.digest, &x.bytes, &length)
		if x.bytes != length {
			b.Errorf("the inventory of job %d has %d bytes, want %d", job, length, x.bytes)
		}
		results[job] = x
		return err
	})
	for _, e := range b.jobs {
		if (results[e.id] != result{e.inventory, e.bytes}) {
			b.fault("another result than the job's", e)
		}
	}
	b.none("results without a job", `SELECT count(*) FROM results WHERE job NOT IN (SELECT id FROM jobs)`)
	b.none("blobs without a result", `SELECT count(*) FROM blobs WHERE id NOT IN (SELECT blob FROM results)`)
	b.none("incidents", `SELECT count(*) FROM incident_events`)
	b.none("images in quarantine", `SELECT count(*) FROM quarantine`)
}

func (b *books) none(what, text string) {
	b.Helper()
	b.each(text, func(r *sql.Rows) error {
		var n int
		err := r.Scan(&n)
		if n > 0 {
			b.Errorf("%d %s", n, what)
		}
		return err
	})
}

// checkWhole asks SQLite whether its file is as it should be.
func (b *books) checkWhole() {
	b.Helper()
	if b.db.Dialect() != "sqlite" {
		return
	}
	b.each(`PRAGMA integrity_check`, func(r *sql.Rows) error {
		var text string
		err := r.Scan(&text)
		if text != "ok" {
			b.Errorf("the database is damaged: %s", text)
		}
		return err
	})
	b.each(`PRAGMA foreign_key_check`, func(*sql.Rows) error {
		b.Error("a row refers to one that does not exist")
		return nil
	})
}

// checkResume measures, for each start of a server but those that were killed too
// early, how long it took until an attempt began.
func (b *books) checkResume(starts []start, most time.Duration) {
	b.Helper()
	begun := map[string][]int64{} // attempts, by server
	for _, e := range b.jobs {
		for _, a := range e.history {
			begun[a.instance] = append(begun[a.instance], a.started)
		}
	}
	for _, all := range begun {
		slices.Sort(all)
	}
	var took []time.Duration
	for i, s := range starts {
		all := begun[s.server]
		next, _ := slices.BinarySearch(all, s.at.UnixMicro())
		if next == len(all) {
			b.Errorf("after the start of server %s at %v no attempt began", s.server, s.at)
			continue
		}
		first := time.UnixMicro(all[next])
		killed := slices.ContainsFunc(starts[i+1:], func(x start) bool { return x.server == s.server && x.at.Before(first) })
		if !killed {
			took = append(took, first.Sub(s.at))
		}
	}
	slices.Sort(took)
	if len(took) == 0 {
		b.Fatal("no server was started again, and lived long enough to work")
	}
	b.Logf("from the start of a process to its first attempt: median %v, most %v, of %d", took[len(took)/2].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond), len(took))
	if took[len(took)-1] > most {
		b.Errorf("the longest was %v; at most %v is promised", took[len(took)-1], most)
	}
}
