package service

import (
	"sync"
	"sync/atomic"
)

// watches tell those who follow a job that something about it changed. The zero
// value is ready. It holds an entry for each follower, and the API bounds those.
type watches struct {
	mu   sync.Mutex
	jobs map[int64]map[*watch]struct{}
}

// watch is one follower's.
type watch struct {
	// changed has a value whenever something has changed since it was last read.
	changed chan struct{}
	// events says that it may have been more than progress: there may be new events.
	// Who takes it back must do so before it reads them.
	events atomic.Bool
}

// watch begins to watch a job. The caller must call the function it gets.
func (w *watches) watch(job int64) (*watch, func()) {
	one := &watch{changed: make(chan struct{}, 1)}
	one.events.Store(true)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.jobs == nil {
		w.jobs = map[int64]map[*watch]struct{}{}
	}
	if w.jobs[job] == nil {
		w.jobs[job] = map[*watch]struct{}{}
	}
	w.jobs[job][one] = struct{}{}
	return one, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.jobs[job], one)
		if len(w.jobs[job]) == 0 {
			delete(w.jobs, job)
		}
	}
}

// changed tells those who watch the job that there may be new events.
func (w *watches) changed(job int64) { w.tell(job, true) }

// progressed tells those who watch the job that it got further.
func (w *watches) progressed(job int64) { w.tell(job, false) }

// tell does not wait for anybody.
func (w *watches) tell(job int64, events bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for one := range w.jobs[job] {
		if events {
			one.events.Store(true)
		}
		select {
		case one.changed <- struct{}{}:
		default: // it has not looked since the last time
		}
	}
}
