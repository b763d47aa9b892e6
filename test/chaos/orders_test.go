package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"stella/internal/client"
	"stella/internal/scanner"
)

// clients is how many submit, and later fetch results, at the same time.
const clients = 4

// orders are the scans that clients ask for.
type orders struct {
	*testing.T
	images []image
	next   atomic.Int64 // of images, which is to be submitted
	// done is closed by end: when all were acknowledged, or one never will be.
	done chan struct{}
	end  func()
	// deepest is the most jobs that were seen to wait.
	deepest int64

	mu sync.Mutex
	// acknowledged are the jobs that the server has said to have, and their images.
	acknowledged map[int64]image
}

func newOrders(t *testing.T, images []image) *orders {
	done := make(chan struct{})
	return &orders{T: t, images: images, done: done, end: sync.OnceFunc(func() { close(done) }), acknowledged: map[int64]image{}}
}

// submit asks a server for scans, by several clients, until each image's was acknowledged
// by one of the servers. It returns at once; o.done says when that is so.
func (o *orders) submit(c *client.Client) {
	var work sync.WaitGroup
	for range clients {
		work.Go(func() {
			for {
				i := int(o.next.Add(1)) - 1
				if i >= len(o.images) || !o.order(c, o.images[i]) {
					return
				}
			}
		})
	}
	o.Cleanup(work.Wait)
}

// order asks for a scan of one image; it reports whether that was acknowledged.
func (o *orders) order(c *client.Client, i image) bool {
	for {
		job, err := c.Submit(o.Context(), scanner.Request{Image: i.ref})
		switch {
		case err == nil:
			o.acknowledge(job, i)
			return true
		case o.Context().Err() != nil:
			return false
		case !away(err):
			o.Errorf("submit %s: %v", i.name, err)
			o.end()
			return false
		}
		time.Sleep(look)
	}
}

// away reports whether an error is what a killed server looks like from outside.
func away(err error) bool {
	for _, e := range []error{client.ErrNoServer, io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (o *orders) acknowledge(job scanner.Job, i image) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if job.Image != i.ref {
		o.Errorf("asked for %s, job %d is of %s", i.ref, job.ID, job.Image)
	}
	if other, ok := o.acknowledged[job.ID]; ok {
		o.Errorf("job %d is of %s and of %s", job.ID, other.name, i.name)
	}
	o.acknowledged[job.ID] = i
	if len(o.acknowledged) == len(o.images) {
		o.end()
	}
}

// ended is how many of the acknowledged jobs have ended, at least; ok is false
// while the server does not answer.
func (o *orders) ended(c *client.Client) (n int, ok bool) {
	o.mu.Lock()
	n = len(o.acknowledged)
	o.mu.Unlock()
	status, err := c.Queue(o.Context())
	if err != nil {
		if !away(err) {
			o.Errorf("the queue: %v", err)
		}
		return 0, false
	}
	o.deepest = max(o.deepest, status.Pending)
	return n - int(status.Pending) - int(status.Running), true
}

// waitFor waits until so many jobs have ended.
func (o *orders) waitFor(c *client.Client, jobs int) {
	o.Helper()
	best, since := 0, time.Now()
	for {
		n, ok := o.ended(c)
		if ok && n >= jobs {
			return
		}
		if n > best {
			best, since = n, time.Now()
		}
		if time.Since(since) > patience {
			o.Fatalf("stuck: %d of %d jobs have ended, and no other for %v", best, len(o.images), patience)
		}
		time.Sleep(look)
	}
}

// wait waits until everything has been submitted, and has ended.
func (o *orders) wait(c *client.Client) {
	o.Helper()
	<-o.done
	o.waitFor(c, len(o.acknowledged))
}

// checkResults fetches the SBOM of every job that the server knows, and looks for the package of its image.
func checkResults(t *testing.T, c *client.Client, images []image) {
	t.Helper()
	byRef := map[string]image{}
	for _, i := range images {
		byRef[i.ref] = i
	}
	var work errgroup.Group
	work.SetLimit(clients)
	var before int64
	total := 0
	for {
		jobs, err := c.Jobs(t.Context(), scanner.JobFilter{Before: before, Limit: scanner.MaxPage})
		if err != nil {
			t.Fatal(err)
		}
		for _, j := range jobs {
			work.Go(func() error { return checkSBOM(t.Context(), c, j.ID, byRef[j.Image].purl()) })
		}
		if total += len(jobs); len(jobs) < scanner.MaxPage {
			break
		}
		before = jobs[len(jobs)-1].ID
	}
	if err := work.Wait(); err != nil {
		t.Error(err)
	}
	t.Logf("%d results fetched, and each is its own image's", total)
}

func checkSBOM(ctx context.Context, c *client.Client, job int64, purl string) error {
	var text bytes.Buffer
	if err := c.SBOM(ctx, job, "json", &text); err != nil {
		return fmt.Errorf("result of job %d: %w", job, err)
	}
	var doc struct {
		Components []struct {
			Purl string `json:"purl"`
		} `json:"components"`
	}
	if err := json.Unmarshal(text.Bytes(), &doc); err != nil {
		return fmt.Errorf("result of job %d: %w", job, err)
	}
	if len(doc.Components) != 1 || doc.Components[0].Purl != purl {
		return fmt.Errorf("job %d has %+v, want %s alone", job, doc.Components, purl)
	}
	return nil
}
