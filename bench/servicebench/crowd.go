package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"stella/bench/daemon"
	"stella/bench/hungry"
	"stella/internal/client"
	"stella/internal/scanner"
)

const (
	mib = 1 << 20

	// busy workers, each with an image whose end does not come, and as many followers
	// of their jobs as the API lets in, of as many callers as that takes.
	busy      = 50
	callers   = 8
	followers = 32 // of each caller
	// crowdTime is how long all of them are watched.
	crowdTime = 10 * time.Second
)

// crowd looks at a stellad whose workers and followers are many.
func (b *bench) crowd(ctx context.Context) (_ []table, err error) {
	b.say("%d busy workers, %d followers", busy, callers*followers)
	registry, err := b.unfinished()
	if err != nil {
		return nil, err
	}
	defer registry.Close()
	address, err := daemon.FreePort(ctx)
	if err != nil {
		return nil, err
	}
	d, err := b.start(ctx, "--listen", address)
	if err != nil {
		return nil, err
	}
	defer func() { _ = d.Stop() }() // the figures are there by then, and its log says more
	if _, err := d.Set(ctx, "worker.count", fmt.Sprint(busy)); err != nil {
		return nil, err
	}
	var jobs []int64
	for i := range busy {
		j, err := d.Submit(ctx, scanner.Request{Image: registry.Ref(fmt.Sprint("busy-", i))})
		if err != nil {
			return nil, err
		}
		jobs = append(jobs, j.ID)
	}
	if _, err := until(ctx, d, func(ws []scanner.Worker) bool { return count(ws, scanner.WorkerBusy) == busy }); err != nil {
		return nil, err
	}
	t := table{{fmt.Sprintf("stellad with %d busy workers", busy), "resident", "highest", "CPU", "threads"}}
	if err := watchCrowd(ctx, d, &t, "alone"); err != nil {
		return nil, err
	}
	follow, stop := context.WithCancel(ctx)
	defer stop()
	var work errgroup.Group
	var clients []*client.Client
	defer func() {
		for _, c := range clients {
			c.Close()
		}
	}()
	seen := make(chan struct{}, callers*followers)
	for n := range callers {
		c, err := caller(ctx, d, address, n)
		if err != nil {
			return nil, err
		}
		clients = append(clients, c)
		for i := range followers {
			id := jobs[(n*followers+i)%busy]
			first := true
			work.Go(func() error {
				err := c.Events(follow, id, 0, func(scanner.Event) error {
					if first {
						seen <- struct{}{}
					}
					first = false
					return nil
				})
				if follow.Err() == nil {
					return fmt.Errorf("a follower of job %d was not let in, or left: %w", id, err)
				}
				return nil
			})
		}
	}
	for range callers * followers {
		select {
		case <-seen:
		case <-time.After(crowdTime):
			return nil, errors.New("not all followers have seen an event")
		}
	}
	if err := watchCrowd(ctx, d, &t, fmt.Sprintf("and %d followers", callers*followers)); err != nil {
		return nil, err
	}
	stop()
	return []table{t}, work.Wait()
}

// unfinished is a registry of images whose ends do not come.
func (b *bench) unfinished() (*hungry.Registry, error) {
	layouts := map[string]string{}
	for i := range busy {
		name := fmt.Sprint("busy-", i)
		layouts[name] = filepath.Join(b.dir, name)
		m := hungry.Image{Package: name, File: "opt/app.jar", Early: mib, Late: mib}
		if err := m.Write(layouts[name]); err != nil {
			return nil, err
		}
	}
	return hungry.Serve(layouts, hungry.Held/2)
}

// caller is a client with a key of its own.
func caller(ctx context.Context, d *daemon.Daemon, address string, n int) (*client.Client, error) {
	key, err := d.CreateKey(ctx, scanner.KeyRequest{Name: fmt.Sprint("follower-", n), Scope: scanner.ScopeRead})
	if err != nil {
		return nil, err
	}
	return client.New(client.Options{Address: "http://" + address, Key: key.Secret})
}

func watchCrowd(ctx context.Context, d *daemon.Daemon, t *table, what string) error {
	before, err := daemon.UsageOf(d.PID)
	if err != nil {
		return err
	}
	if err := sleep(ctx, crowdTime); err != nil {
		return err
	}
	after, err := daemon.UsageOf(d.PID)
	if err != nil {
		return err
	}
	t.add(what, size(after.RSS), size(after.Peak), share(after.CPU-before.CPU, crowdTime), fmt.Sprint(after.Threads))
	return nil
}

// patience bounds how long workers may take for anything, and glance is between two looks at them.
const (
	patience = time.Minute
	glance   = 20 * time.Millisecond
)

// until waits for a condition of the workers.
func until(ctx context.Context, d *daemon.Daemon, is func([]scanner.Worker) bool) ([]scanner.Worker, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		ws, err := d.Workers(ctx)
		if err != nil || is(ws) {
			return ws, err
		}
		if err := sleep(ctx, glance); err != nil {
			return ws, fmt.Errorf("the workers did not get there: %w: %+v", err, ws)
		}
	}
}

func count(ws []scanner.Worker, state scanner.WorkerState) (n int) {
	for _, w := range ws {
		if w.State == state {
			n++
		}
	}
	return n
}
