package queue_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"stella/internal/scanner"
	"stella/internal/scanner/queue"
)

// model is what the queue has acknowledged. At the end the database must agree.
type model struct {
	*env
	mu        sync.Mutex
	instances []*queue.Queue
	requests  map[int64]int // of jobs
	images    map[int64]int // the image that a job is of
	created   int
	claims    map[attemptID]bool
	ended     map[attemptID]scanner.Outcome
	fenced    map[attemptID]bool
	cancelled map[int64]bool
	ids       []int64
}

type attemptID struct {
	job    int64
	number int
}

// TestModel lets many submit, claim, end, crash, recover, take over and cancel at
// once, at random, and compares what they were told with what the database has.
func TestModel(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		seed := uint64(time.Now().UnixNano())
		t.Logf("seed %d", seed)
		m := &model{
			env: e, instances: []*queue.Queue{e.instance("a"), e.instance("b")},
			requests: map[int64]int{}, images: map[int64]int{}, claims: map[attemptID]bool{},
			ended: map[attemptID]scanner.Outcome{}, fenced: map[attemptID]bool{}, cancelled: map[int64]bool{},
		}
		putLarge(t, m.instances[0])
		requests := 300
		if testing.Short() {
			requests = 60
		}
		var submitters, others sync.WaitGroup
		enough := make(chan struct{})
		random := func(n uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, n)) }
		for i := range 3 {
			submitters.Go(func() { m.submitAll(random(uint64(i)), requests/3) })
		}
		for i := range 6 {
			others.Go(func() {
				r := random(uint64(10 + i))
				for more(enough) {
					m.work(r, m.instances[i%2], "default")
					m.work(r, m.instances[i%2], "large")
				}
			})
		}
		others.Go(func() {
			for r := random(20); more(enough); {
				m.disturb(r)
			}
		})
		submitters.Wait()
		close(enough)
		others.Wait()
		m.drain()
		m.check()
	})
}

func more(enough <-chan struct{}) bool {
	select {
	case <-enough:
		return false
	default:
		return true
	}
}

func (m *model) submitAll(r *rand.Rand, requests int) {
	for range requests {
		n := r.IntN(requests)
		s := submission(n)
		if r.IntN(5) == 0 {
			s.Digest = ""
		}
		s.Attach = r.IntN(4) == 0
		job, created, err := m.instances[r.IntN(2)].Submit(m.Context(), s, plan())
		if err != nil {
			m.Error(err)
			return
		}
		m.mu.Lock()
		if image, known := m.images[job.ID]; known && image != n {
			m.Errorf("job %d is of image %d and %d", job.ID, image, n)
		}
		if created {
			m.created++
		}
		m.images[job.ID] = n
		m.requests[job.ID]++
		m.ids = append(m.ids, job.ID)
		m.mu.Unlock()
	}
}

// work claims a job and ends its attempt in one of many ways, or not at all.
func (m *model) work(r *rand.Rand, q *queue.Queue, pool string) {
	p, _ := plan().Pool(pool)
	c, err := q.Claim(m.Context(), pool, fmt.Sprintf("%s-%d", pool, r.IntN(3)), p.Memory)
	if err != nil {
		m.Error(err)
	}
	if c == nil || err != nil {
		return
	}
	id := attemptID{c.Job.ID, c.Attempt.Number}
	m.mu.Lock()
	if m.claims[id] {
		m.Errorf("%v was claimed twice", id)
	}
	m.claims[id] = true
	image, known := m.images[c.Job.ID]
	m.mu.Unlock()
	if !known { // its submitter has not had its answer yet
		fmt.Sscanf(c.Job.Image, "example.test/image:%d", &image)
	}
	var ended queue.Ended
	switch outcome := []scanner.Outcome{"succeeded", "succeeded", "oom", "error", "killed", "timeout", "cancelled", ""}[r.IntN(8)]; outcome {
	case "":
		return // the worker's answer never comes
	case scanner.OutcomeSucceeded:
		ended = success(c, inventory(image, 1+r.IntN(2)*300_000))
	default:
		ended = failure(c, outcome, "so it happened")
		ended.Decision.Delay = 0
	}
	m.finish(q, ended)
	if r.IntN(4) == 0 { // told twice
		m.finish(q, ended)
	}
}

func (m *model) finish(q *queue.Queue, e queue.Ended) {
	id := attemptID{e.Job, e.Number}
	_, _, err := q.Finish(m.Context(), e)
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case errors.Is(err, queue.ErrFenced):
		m.fenced[id] = true
	case err != nil:
		m.Error(err)
	case m.ended[id] != "":
		m.Errorf("%v ended twice", id)
	default:
		m.ended[id] = e.Outcome
	}
}

// disturb is what happens to instances and jobs from outside.
func (m *model) disturb(r *rand.Rand) {
	q := m.instances[r.IntN(2)]
	var err error
	switch r.IntN(6) {
	case 0:
		_, err = q.Recover(m.Context())
	case 1:
		_, err = q.TakeOver(m.Context(), 0)
	case 2:
		_, err = q.Renew(m.Context(), nil)
	case 3:
		_, _, err = q.Prune(m.Context(), time.Now().Add(-time.Hour))
	default:
		m.mu.Lock()
		var id int64
		if len(m.ids) > 0 {
			id = m.ids[r.IntN(len(m.ids))]
		}
		m.mu.Unlock()
		if id == 0 {
			return
		}
		_, err = q.Cancel(m.Context(), id, "chaos")
		if err == nil {
			m.mu.Lock()
			m.cancelled[id] = true
			m.mu.Unlock()
		}
		if errors.Is(err, scanner.ErrConflict) {
			err = nil
		}
	}
	if err != nil {
		m.Error(err)
	}
}

// drain ends everything that is left, as after a restart.
func (m *model) drain() {
	for _, q := range m.instances {
		if _, err := q.Recover(m.Context()); err != nil {
			m.Fatal(err)
		}
	}
	for _, pool := range []string{"default", "large"} {
		for {
			c, err := m.instances[0].Claim(m.Context(), pool, "w", 1<<30)
			if err != nil {
				m.Fatal(err)
			}
			if c == nil {
				break
			}
			m.claims[attemptID{c.Job.ID, c.Attempt.Number}] = true
			m.finish(m.instances[0], success(c, inventory(m.images[c.Job.ID], 10)))
		}
	}
}

func (m *model) check() {
	statuses := map[scanner.Status]int{}
	for id, image := range m.images {
		d, err := m.instances[1].Details(m.Context(), id)
		if err != nil {
			m.Errorf("an acknowledged job: %v", err)
			continue
		}
		statuses[d.Status]++
		m.checkJob(d, image)
	}
	m.Logf("%d jobs of %d requests: %v; %d attempts, of which %d were acknowledged and %d fenced",
		len(m.images), len(m.ids), statuses, len(m.claims), len(m.ended), len(m.fenced))
	if m.created != len(m.images) {
		m.Errorf("%d jobs were said to be new", m.created)
	}
	for what, text := range map[string]string{
		"attempts that nobody claimed":                fmt.Sprintf(`SELECT count(*) - %d FROM attempts`, len(m.claims)),
		"jobs that nobody asked for":                  fmt.Sprintf(`SELECT count(*) - %d FROM jobs`, len(m.images)),
		"results without a succeeded job":             `SELECT count(*) FROM results WHERE job NOT IN (SELECT id FROM jobs WHERE status = 'succeeded')`,
		"inventories without a result":                `SELECT count(*) FROM blobs WHERE id NOT IN (SELECT blob FROM results)`,
		"attempts that run":                           `SELECT count(*) FROM attempts WHERE outcome = '' OR ended = 0`,
		"kills that are told without OOM":             `SELECT count(*) FROM attempts WHERE outcome <> 'oom' AND incident <> ''`,
		"OOMs that are not told once":                 `SELECT count(*) FROM attempts a WHERE outcome = 'oom' AND 1 <> (SELECT count(*) FROM incident_events e WHERE e.incident = a.incident AND e.id = 'attempt-' || CAST(a.number AS TEXT))`,
		"kills of no attempt":                         `SELECT count(*) - (SELECT count(*) FROM attempts WHERE outcome = 'oom') FROM incident_events WHERE kind = 'killed'`,
		"jobs that ended, but not for their incident": `SELECT count(*) FROM jobs j JOIN attempts a ON a.job = j.id JOIN incident_summaries s ON s.id = a.incident WHERE j.status IN ('succeeded', 'cancelled') AND s.ended = 0`,
	} {
		if n := m.number(text); n != 0 {
			m.Errorf("%d %s", n, what)
		}
	}
}

func (m *model) checkJob(d scanner.JobDetails, image int) {
	if !d.Status.Final() || d.Ended.IsZero() {
		m.Errorf("job %d is %s", d.ID, d.Status)
	}
	if d.Requests != m.requests[d.ID] {
		m.Errorf("job %d has %d requests; %d were acknowledged", d.ID, d.Requests, m.requests[d.ID])
	}
	if m.cancelled[d.ID] && d.Status != scanner.StatusCancelled {
		m.Errorf("job %d is %s, although it was cancelled", d.ID, d.Status)
	}
	ends := 0
	for _, event := range d.Events {
		if event.Kind == scanner.EventEnded {
			ends++
		}
	}
	if ends != 1 || d.Events[len(d.Events)-1].Kind != scanner.EventEnded {
		m.Errorf("job %d ended %d times: %+v", d.ID, ends, d.Events)
	}
	if len(d.History) != d.Attempts {
		m.Errorf("job %d counts %d attempts, and has %d", d.ID, d.Attempts, len(d.History))
	}
	succeeded := false
	for i, a := range d.History {
		id := attemptID{d.ID, a.Number}
		if a.Number != i+1 || !m.claims[id] || succeeded {
			m.Errorf("attempt %d of job %d, with number %d; claimed %v, after a success %v", i+1, d.ID, a.Number, m.claims[id], succeeded)
		}
		succeeded = a.Outcome == scanner.OutcomeSucceeded
		told, ok := m.ended[id]
		if ok && told != a.Outcome || !ok && a.Outcome != scanner.OutcomeLost {
			m.Errorf("attempt %v was acknowledged as %q, and is %q", id, told, a.Outcome)
		}
	}
	if (d.Result != nil) != (d.Status == scanner.StatusSucceeded) || d.Result != nil && !succeeded {
		m.Errorf("job %d is %s, with result %v and last attempt %v", d.ID, d.Status, d.Result, succeeded)
	}
	if d.Result == nil {
		return
	}
	var got bytes.Buffer
	if err := m.instances[0].Inventory(m.Context(), d.ID, &got); err != nil || !bytes.Equal(got.Bytes(), inventory(image, got.Len())) {
		m.Errorf("job %d of image %d has an inventory that begins %.20q, %v", d.ID, image, got.Bytes(), err)
	}
}
