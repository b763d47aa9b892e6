package scanner

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"stella/internal/bytesize"
)

const (
	// firstBackoff is before the second try of what may pass by itself, such as a
	// registry that does not answer; it doubles with each try, up to maxBackoff.
	firstBackoff = 2 * time.Second
	maxBackoff   = 5 * time.Minute
)

// Plan is what routing needs to know of the pools and the settings, at one moment.
type Plan struct {
	Pools    []Pool
	Settings Settings
}

// sorted are the pools by memory, the smallest first; of equals, default first.
func (p Plan) sorted() []Pool {
	pools := slices.Clone(p.Pools)
	slices.SortFunc(pools, func(a, b Pool) int {
		return cmp.Or(cmp.Compare(a.Memory, b.Memory), cmp.Compare(b2i(a.Name != DefaultPool), b2i(b.Name != DefaultPool)), cmp.Compare(a.Name, b.Name))
	})
	return pools
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Pool finds a pool by name.
func (p Plan) Pool(name string) (Pool, bool) {
	i := slices.IndexFunc(p.Pools, func(x Pool) bool { return x.Name == name })
	if i < 0 {
		return Pool{}, false
	}
	return p.Pools[i], true
}

// Largest is the pool with the most memory.
func (p Plan) Largest() Pool {
	pools := p.sorted()
	if len(pools) == 0 {
		return Pool{}
	}
	return pools[len(pools)-1]
}

// larger is the next pool whose workers may use more than so many bytes.
func (p Plan) larger(memory int64) (Pool, bool) {
	for _, x := range p.sorted() {
		if x.Memory > memory && x.Count > 0 {
			return x, true
		}
	}
	return Pool{}, false
}

// First is the pool that tries an image first: the one that was asked for, the
// pool for large images where the image is one, or the default pool.
func (p Plan) First(asked string, t Target) string {
	s := p.Settings
	large := s.LargeThreshold > 0 && t.Size >= s.LargeThreshold || s.LargeLayers > 0 && t.Layers >= s.LargeLayers
	if _, ok := p.Pool(asked); ok && asked != "" {
		return asked
	}
	if _, ok := p.Pool(s.LargePool); ok && large {
		return s.LargePool
	}
	return DefaultPool
}

// Mode is how an image of this size is scanned by a worker. An image whose size
// nobody knows is streamed, and so is every image where no cgroup keeps the limit.
func (p Plan) Mode(t Target, cgroup bool) Mode {
	if cgroup && t.Size >= 0 && t.Size < p.Settings.StreamingThreshold {
		return ModeMemory
	}
	return ModeStreaming
}

// ActionRerouted begins the action of a job that a larger pool tries next.
const ActionRerouted = "re-routed to"

// Decision is what becomes of a job after an attempt.
type Decision struct {
	// Status is pending, to try again in Pool after Delay, or final.
	Status Status
	Pool   string
	Delay  time.Duration
	// Reason and Message are for a job that has failed.
	Reason  string
	Message string
	// Quarantine says that the image is not to be tried again by itself.
	Quarantine bool
	// Action is what an incident says was done; empty where the outcome makes no incident.
	Action string
}

// Route decides what becomes of a job whose attempt ended so, in a worker with
// this limit. failures counts the attempts of this job so far, this one included,
// that ended as error, killed, oom or memory: what the image itself may have caused.
func (p Plan) Route(j Job, o Outcome, limit int64, retryable bool, failures int, message string) Decision {
	failed := func(s Status) Decision {
		return Decision{Status: s, Pool: j.Pool, Reason: string(o), Message: message}
	}
	again := Decision{Status: StatusPending, Pool: j.Pool}
	if _, ok := p.Pool(again.Pool); !ok { // it was removed meanwhile
		again.Pool = p.First("", j.Target)
	}
	switch o {
	case OutcomeSucceeded:
		return Decision{Status: StatusSucceeded, Pool: j.Pool}
	case OutcomeCancelled:
		return Decision{Status: StatusCancelled, Pool: j.Pool, Message: message}
	case OutcomeTimeout:
		return failed(StatusTimeout)
	case OutcomeLost:
		return again // never the image's fault
	case OutcomeOOM, OutcomeMemory:
		return p.routeMemory(j, o, limit, message)
	}
	if !retryable || failures >= p.Settings.MaxAttempts {
		return failed(StatusFailed)
	}
	if o == OutcomeError {
		again.Delay = min(firstBackoff<<max(0, min(failures-1, 16)), maxBackoff)
	}
	return again
}

// routeMemory sends a job to the next larger pool, without counting attempts: each
// time the pool is larger, so it ends.
func (p Plan) routeMemory(j Job, o Outcome, limit int64, message string) Decision {
	if next, ok := p.larger(limit); ok {
		d := Decision{Status: StatusPending, Pool: next.Name}
		if o == OutcomeOOM {
			d.Action = fmt.Sprintf(ActionRerouted+" pool %s (%s)", next.Name, bytesize.Size(next.Memory))
		}
		return d
	}
	d := Decision{Status: StatusFailed, Pool: j.Pool, Reason: string(o), Message: message}
	if o == OutcomeOOM {
		d.Quarantine, d.Action = true, "quarantined: no pool has more memory"
	}
	return d
}
