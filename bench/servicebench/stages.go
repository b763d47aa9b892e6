package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"stella/bench/daemon"
	"stella/internal/scanner"
)

// times are what a client saw of jobs.
type times struct {
	ids                    []int64
	begin, submitted, told []time.Time
}

func (t *times) add(id int64, begin, submitted, told time.Time) {
	t.ids = append(t.ids, id)
	t.begin, t.submitted, t.told = append(t.begin, begin), append(t.submitted, submitted), append(t.told, told)
}

// stages are the parts of a job, in order.
var stages = []string{
	"submit: the request, the image's manifest is read, the job is written",
	"queue: until a worker has it",
	"start: until the worker has begun",
	"scan: in the worker",
	"finish: the result and the end are written",
	"tell: until the client has seen the end",
}

// halfStep makes times of SQLite's clock right on average, which cuts off what is below a millisecond.
const halfStep = time.Millisecond / 2

// stages takes jobs apart that run one at a time, by the events and the log of the
// service. All clocks are this machine's, but not as fine, so means are shown.
func (b *bench) stages(ctx context.Context, d *daemon.Daemon) (table, error) {
	var seen times
	if _, err := b.all(1, func(layout string) error { return job(ctx, d.Client, layout, &seen) }); err != nil {
		return nil, err
	}
	took := make([][]time.Duration, len(stages))
	for i, id := range seen.ids {
		details, err := d.Job(ctx, id)
		if err != nil {
			return nil, err
		}
		at := map[scanner.EventKind]time.Time{}
		for _, e := range details.Events {
			at[e.Kind] = e.At.Add(halfStep)
		}
		begun, done, err := spans(ctx, d, id)
		if err != nil {
			return nil, err
		}
		moments := []time.Time{seen.begin[i], at[scanner.EventSubmitted], at[scanner.EventStarted], begun, done, at[scanner.EventEnded], seen.told[i]}
		for s := range stages {
			took[s] = append(took[s], moments[s+1].Sub(moments[s]))
		}
	}
	t := table{{"stage of a job, one at a time", "mean"}}
	for s, name := range stages {
		t.add(name, ms(mean(took[s])))
	}
	return t, nil
}

// spans are when a job's worker said first and last that it works on it.
func spans(ctx context.Context, d *daemon.Daemon, id int64) (begun, done time.Time, err error) {
	f := scanner.LogFilter{Job: id, Level: "debug", Tail: scanner.MaxLogPage}
	err = d.Logs(ctx, f, false, func(l scanner.LogLine) error {
		if l.Source != "worker" {
			return nil
		}
		if begun.IsZero() {
			begun = l.At
		}
		if strings.HasPrefix(l.Message, "sbom: the inventory is complete") {
			done = l.At
		}
		return nil
	})
	if err == nil && (begun.IsZero() || done.IsZero()) {
		err = fmt.Errorf("the log says nothing of the worker of job %d", id)
	}
	return begun, done, err
}
