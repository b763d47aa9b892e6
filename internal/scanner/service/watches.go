package service

import "sync"

// watches tell those who follow a job that something about it changed. The zero
// value is ready. It holds an entry for each follower, and the API bounds those.
type watches struct {
	mu   sync.Mutex
	jobs map[int64]map[chan struct{}]struct{}
}

// watch returns a channel that has a value whenever the job changed since it was
// last read. The caller must call the function it gets.
func (w *watches) watch(job int64) (<-chan struct{}, func()) {
	c := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.jobs == nil {
		w.jobs = map[int64]map[chan struct{}]struct{}{}
	}
	if w.jobs[job] == nil {
		w.jobs[job] = map[chan struct{}]struct{}{}
	}
	w.jobs[job][c] = struct{}{}
	return c, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.jobs[job], c)
		if len(w.jobs[job]) == 0 {
			delete(w.jobs, job)
		}
	}
}

// changed tells those who watch the job. It does not wait for them.
func (w *watches) changed(job int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.jobs[job] {
		select {
		case c <- struct{}{}:
		default: // it has not looked since the last time
		}
	}
}
