package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"stella/bench/daemon"
	"stella/bench/hungry"
	"stella/internal/scanner"
	"stella/internal/scanner/worker"
)

// starts is how many workers are started for the median.
const starts = 20

// workers looks at workers that have nothing to do.
func (b *bench) workers(ctx context.Context) ([]table, error) {
	b.say("starting %d workers, one after the other", starts)
	var took []time.Duration
	var resident, charged []int64
	for range starts {
		begin := time.Now()
		p, err := worker.Start(ctx, worker.Config{
			Program: filepath.Join(b.dir, "stella"), Name: "bench", Group: fmt.Sprintf("bench-%d", os.Getpid()), Limit: 64 * mib,
			Log: func(slog.Level, string, string) {},
		})
		if err != nil {
			return nil, err
		}
		took = append(took, time.Since(begin))
		sample, err := p.Sample()
		if err == nil {
			charged = append(charged, sample.Memory)
			var u daemon.Usage
			if u, err = daemon.UsageOf(p.PID()); err == nil {
				resident = append(resident, u.RSS)
			}
		}
		if e := p.Close(); err == nil {
			err = e
		}
		if err != nil {
			return nil, err
		}
	}
	t := table{{"worker", "median", "highest"}}
	t.add("start, until it takes a task", ms(median(took)), ms(quantile(took, 100)))
	t.add("memory of its cgroup before its first task", size(median(charged)), size(quantile(charged, 100)))
	t.add("resident, with pages of the program that all of them share", size(median(resident)), size(quantile(resident, 100)))
	return []table{t}, nil
}

// killed has workers killed one after the other, for want of memory.
func (b *bench) killed(ctx context.Context) ([]table, error) {
	b.say("%d kills, one after the other", b.kills)
	d, err := b.start(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = d.Stop() }() // the figures are there by then, and its log says more
	ws, err := until(ctx, d, func(ws []scanner.Worker) bool { return count(ws, scanner.WorkerIdle) > 0 })
	if err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(ws, func(w scanner.Worker) bool { return w.State == scanner.WorkerIdle }); !strings.HasPrefix(ws[i].Isolation, "cgroup") {
		return []table{{{"after a kill for want of memory"}, {"not measured, for want of memory cgroups: " + ws[i].Isolation}}}, nil
	}
	for key, value := range map[string]string{"worker.count": "1", "sbom.streaming_threshold": "1Gi"} {
		if _, err := d.Set(ctx, key, value); err != nil {
			return nil, err
		}
	}
	if _, err := d.PutPool(ctx, scanner.Pool{Name: "large", Memory: 128 * mib, Count: 1}); err != nil {
		return nil, err
	}
	var queued, tried, replaced []time.Duration
	for i := range b.kills {
		layout := filepath.Join(b.dir, fmt.Sprint("hungry-", i))
		if err := (hungry.Image{Package: fmt.Sprint("hungry-", i), File: "opt/app.jar", Early: 72 * mib}).Write(layout); err != nil {
			return nil, err
		}
		ws, err := until(ctx, d, func(ws []scanner.Worker) bool { return len(ws) == 2 && count(ws, scanner.WorkerIdle) == 2 })
		if err != nil {
			return nil, err
		}
		if i > 0 { // the one before has been replaced
			replaced = append(replaced, ws[0].Started.Sub(ws[0].LastExit.At))
		}
		j, err := d.Submit(ctx, scanner.Request{Image: layout})
		if err != nil {
			return nil, err
		}
		if err := d.Events(ctx, j.ID, 0, func(scanner.Event) error { return nil }); err != nil {
			return nil, err
		}
		details, err := d.Job(ctx, j.ID)
		if err != nil {
			return nil, err
		}
		if len(details.History) != 2 || details.History[0].Outcome != scanner.OutcomeOOM || details.Status != scanner.StatusSucceeded {
			return nil, fmt.Errorf("job %d was to be killed once: %+v", j.ID, details)
		}
		if ws, err = d.Workers(ctx); err != nil {
			return nil, err
		}
		died := ws[0].LastExit.At
		queued = append(queued, details.History[0].Ended.Add(halfStep).Sub(died))
		tried = append(tried, details.History[1].Started.Add(halfStep).Sub(died))
	}
	t := table{{fmt.Sprintf("after a kill for want of memory, of %d", b.kills), "median", "longest"}}
	t.add("until the job waits for the larger pool", ms(median(queued)), ms(quantile(queued, 100)))
	t.add("until its next attempt begins (target: less than 1 s)", ms(median(tried)), ms(quantile(tried, 100)))
	if len(replaced) > 0 {
		t.add("until the worker is replaced", ms(median(replaced)), ms(quantile(replaced, 100)))
	}
	return []table{t}, nil
}
