package main

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"stella/bench/daemon"
	"stella/bench/hungry"
	"stella/internal/client"
	"stella/internal/scan"
	"stella/internal/scan/extract/all"
	"stella/internal/scanner"
	"stella/internal/scanner/resolve"
)

// clientsEach is how many clients there are for each worker at full load: one whose job
// runs, and one whose job waits, so that no worker waits for a client.
const clientsEach = 2

func (b *bench) makeImages() error {
	var work errgroup.Group
	work.SetLimit(runtime.NumCPU())
	for i := range b.images {
		layout := filepath.Join(b.dir, fmt.Sprintf("image-%d", i))
		b.layouts = append(b.layouts, layout)
		work.Go(func() error {
			return hungry.Image{Package: fmt.Sprintf("small-%d", i), Below: 2}.Write(layout)
		})
	}
	return work.Wait()
}

// throughput compares jobs with plain calls on the same images and the same cache.
func (b *bench) throughput(ctx context.Context) ([]table, error) {
	d, err := b.start(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = d.Stop() }() // the figures are there by then, and its log says more
	workers := runtime.NumCPU()
	if _, err := d.Set(ctx, "worker.count", fmt.Sprint(workers)); err != nil {
		return nil, err
	}
	b.say("filling the cache")
	if _, err := b.all(workers, func(layout string) error { return job(ctx, d.Client, layout, nil) }); err != nil {
		return nil, err
	}
	plain := func(layout string) error { return b.plain(ctx, d, layout) }
	service := func(layout string) error { return job(ctx, d.Client, layout, nil) }
	var plainOne, plainAll, serviceOne, serviceAll, overOne, overAll []time.Duration
	for round := range b.rounds {
		b.say("round %d of %d: %d plain calls and as many jobs, in order and %d at a time", round+1, b.rounds, b.images, workers)
		var took [4]time.Duration
		for i, way := range []struct {
			at  int
			run func(string) error
		}{{1, plain}, {1, service}, {workers, plain}, {clientsEach * workers, service}} {
			if took[i], err = b.all(way.at, way.run); err != nil {
				return nil, err
			}
		}
		plainOne, serviceOne, overOne = append(plainOne, took[0]), append(serviceOne, took[1]), append(overOne, took[1]-took[0])
		plainAll, serviceAll, overAll = append(plainAll, took[2]), append(serviceAll, took[3]), append(overAll, took[3]-took[2])
	}
	t := table{{fmt.Sprintf("%d small cached images, medians of %d rounds", b.images, b.rounds), "one at a time", fmt.Sprintf("%d workers, %d clients", workers, clientsEach*workers)}}
	each := func(rounds []time.Duration) string { return ms(median(rounds) / time.Duration(b.images)) }
	rate := func(rounds []time.Duration) string {
		return fmt.Sprintf("%.0f", float64(b.images)/median(rounds).Seconds())
	}
	t.add("plain function calls a second", rate(plainOne), rate(plainAll))
	t.add("jobs a second", rate(serviceOne), rate(serviceAll))
	t.add("plain function call", each(plainOne), each(plainAll))
	t.add("job, from the request to the end as the client sees it", each(serviceOne), each(serviceAll))
	t.add("**overhead of a job** (target: less than 10 ms)", "**"+each(overOne)+"**", "**"+each(overAll)+"**")
	stages, err := b.stages(ctx, d)
	return []table{t, stages}, err
}

// all gives every image to f, so many at a time, and returns how long that took.
func (b *bench) all(at int, f func(layout string) error) (time.Duration, error) {
	var next atomic.Int64
	var work errgroup.Group
	begin := time.Now()
	for range at {
		work.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(b.layouts) {
					return nil
				}
				if err := f(b.layouts[i]); err != nil {
					return err
				}
			}
		})
	}
	err := work.Wait()
	return time.Since(begin), err
}

// plain is what a job comes to without the service: the image is opened and scanned in
// this process, with the service's own cache.
func (b *bench) plain(ctx context.Context, d *daemon.Daemon, layout string) error {
	m, err := resolve.Open(ctx, layout, "", resolve.Policy{}, true, resolve.Options{})
	if err != nil {
		return err
	}
	defer m.Close()
	settings := scanner.DefaultSettings()
	result, err := scan.Run(ctx, scan.Options{
		Image: m, Extractors: all.Extractors(), TempDir: filepath.Join(d.Data, "tmp"),
		CacheDir: filepath.Join(d.Data, "cache"), CacheSize: settings.CacheSize, Memory: scan.DefaultMemory,
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	if !result.Stats.FromCache {
		return fmt.Errorf("%s was not in the cache", layout)
	}
	return result.Close()
}

// job is one scan by the service: the request, and the events until its end, which t gets.
func job(ctx context.Context, c *client.Client, layout string, t *times) error {
	begin := time.Now()
	j, err := c.Submit(ctx, scanner.Request{Image: layout})
	if err != nil {
		return err
	}
	submitted := time.Now()
	var last scanner.Event
	err = c.Events(ctx, j.ID, 0, func(e scanner.Event) error {
		last = e
		return nil
	})
	if err != nil {
		return err
	}
	if last.Status != scanner.StatusSucceeded {
		return fmt.Errorf("job %d, %s: %s: %s", j.ID, layout, last.Status, last.Message)
	}
	if t != nil {
		t.add(j.ID, begin, submitted, time.Now())
	}
	return nil
}
