package main

import (
	"context"
	"fmt"
	"time"

	"stella/bench/daemon"
)

// rest looks at a stellad that has nothing to do, after its start and after many jobs.
func (b *bench) rest(ctx context.Context) ([]table, error) {
	d, err := b.start(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = d.Stop() }() // the figures are there by then, and its log says more
	t := table{{"stellad at rest", "resident (target: less than 40 MiB)", "highest", "CPU (target: about none)"}}
	t.add(fmt.Sprintf("after its start (which took %s)", ms(d.Started)))
	if err := b.look(ctx, d, &t); err != nil {
		return nil, err
	}
	t.add(fmt.Sprintf("after %d jobs", b.jobs))
	b.say("%d jobs", b.jobs)
	for done := 0; done < b.jobs; done += b.images {
		if _, err := b.all(clientsEach, func(layout string) error { return job(ctx, d.Client, layout, nil) }); err != nil {
			return nil, err
		}
	}
	err = b.look(ctx, d, &t)
	return []table{t}, err
}

// look waits, and adds to the last row of the table what stellad uses while nothing happens.
func (b *bench) look(ctx context.Context, d *daemon.Daemon, t *table) error {
	b.say("watching stellad at rest for %v", 2*b.pause)
	if err := sleep(ctx, b.pause); err != nil {
		return err
	}
	before, err := daemon.UsageOf(d.PID)
	if err != nil {
		return err
	}
	if err := sleep(ctx, b.pause); err != nil {
		return err
	}
	after, err := daemon.UsageOf(d.PID)
	if err != nil {
		return err
	}
	last := &(*t)[len(*t)-1]
	*last = append(*last, size(after.RSS), size(after.Peak), share(after.CPU-before.CPU, b.pause))
	return nil
}

// sleep lets time go by: what is measured is what happens in it.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
