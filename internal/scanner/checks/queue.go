package checks

import (
	"context"
	"fmt"
	"time"

	"stella/internal/doctor"
	"stella/internal/scanner"
)

const (
	// slowWait and longWait are how long the oldest job of a pool may wait. Most
	// scans take seconds, and the slowest may take timeouts.scan, 30 minutes unless it was set.
	slowWait, longWait = 10 * time.Minute, time.Hour
)

// queue looks for jobs that wait too long.
type queue struct{ Service }

func (c queue) run(ctx context.Context) (doctor.Finding, error) {
	plan, err := c.Plan(ctx)
	if err != nil {
		return doctor.Finding{}, err
	}
	status, err := c.QueueStatus(ctx)
	if err != nil {
		return doctor.Finding{}, err
	}
	workers, err := c.Workers(ctx)
	if err != nil {
		return doctor.Finding{}, err
	}
	f := begin()
	f.show(doctor.Count("jobs that wait", status.Pending, "queue"), doctor.Count("jobs that run", status.Running, "queue"), doctor.Seconds("the oldest has waited", status.Oldest, "queue"))
	for _, q := range status.Pools {
		f.pool(plan, q, running(workers, q.Pool))
	}
	return f.end(fmt.Sprintf("%d jobs wait and %d run", status.Pending, status.Running)), nil
}

// running counts a pool's processes.
func running(workers []scanner.Worker, pool string) (n int64) {
	for _, w := range workers {
		if w.Pool == pool && w.State != scanner.WorkerWaiting {
			n++
		}
	}
	return n
}

// pool judges what waits for one pool.
func (f *finding) pool(plan scanner.Plan, q scanner.QueuePool, workers int64) {
	oldest := time.Duration(q.Oldest * float64(time.Second))
	// Delayed jobs wait on purpose, for minutes at most.
	if q.Pending == q.Delayed || oldest < slowWait {
		return
	}
	state := doctor.Warn
	if oldest >= longWait || workers == 0 {
		state = doctor.Fail
	}
	source := "pool " + q.Pool
	f.show(doctor.Count("jobs that wait", q.Pending, source), doctor.Seconds("the oldest has waited", q.Oldest, source),
		doctor.Count("jobs that run", q.Running, source), doctor.Count("workers that run", workers, source))
	what := fmt.Sprintf("jobs wait for pool %s for up to %v", q.Pool, scanner.Duration(oldest.Round(time.Second)))
	p, known := plan.Pool(q.Pool)
	switch {
	case !known:
		f.say(state, "the pool was removed, and no server has routed its jobs again yet", "%s, which does not exist", what)
		f.do(fmt.Sprintf("stella scanner jobs list --status pending --pool %s", q.Pool), "stella scanner status")
	case workers == 0:
		f.say(state, "the machine has no memory for the pool's workers now, or they cannot be started", "%s, and none of its workers runs", what)
		f.do("stella scanner workers list --pool "+q.Pool, "stella scanner logs --level error --last 1h")
	default:
		f.say(state, "more is asked for than the pool's workers can do, or some of them are stuck", "%s", what)
		f.do("stella scanner queue status", "stella scanner workers stats", addWorkers(p))
	}
}
