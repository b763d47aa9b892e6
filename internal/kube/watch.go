package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

// Change is what an [Event] tells.
type Change int

// The changes.
const (
	// Reset: all objects are told again, by Put. What is known is from before.
	Reset Change = iota + 1
	// Synced: that was all of them. What was not told since Reset is gone.
	Synced
	// Put: the object is there, new or changed.
	Put
	// Delete: the object is gone. This is how it was.
	Delete
)

// Event is a step of a [Watch]. Object is nil with Reset and Synced.
type Event[T any] struct {
	Change Change
	Object *T
}

const (
	// minBackoff and maxBackoff bound the wait before the server is asked again. Half of it is chance, so that the
	// agents of all nodes do not come back at once.
	minBackoff = time.Second
	maxBackoff = time.Minute
	// watchTime is how long one request watches. A server whose connection broke without a
	// word, and that answers no ping (HTTP/1), is given up a little later.
	watchTime = 5 * time.Minute
)

// Watch calls each with all objects that a query chooses and then with each change, until ctx ends or each returns an
// error: it returns that. Trouble with the server does not end it: it tries again, after longer and longer waits, and calls
// trouble with the error, and with nil when things are well again; trouble may be nil.
func Watch[T any](ctx context.Context, c *Client, q Query, each func(Event[T]) error, trouble func(error)) error {
	w := watcher[T]{client: c, query: q, each: each, trouble: trouble}
	var wait backoff
	for {
		progress, err := w.round(ctx)
		var stopped stop
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &stopped):
			return stopped.error
		case errors.Is(err, ErrExpired):
			w.version = "" // list anew; at once if the watch went well before
		}
		if progress {
			wait = 0
		}
		if err == nil || progress && errors.Is(err, ErrExpired) {
			continue
		}
		w.tell(err)
		if err := wait.sleep(ctx, err); err != nil {
			return err
		}
	}
}

// watcher is a watch that goes on over many requests.
type watcher[T any] struct {
	client  *Client
	query   Query
	each    func(Event[T]) error
	trouble func(error)
	ill     bool
	// version is the last that was seen, "" for a list first; listed says that there was one before, which
	// may have been of any age: from now on a newer one is wanted.
	version string
	listed  bool
}

func (w *watcher[T]) tell(err error) {
	if w.trouble != nil && (err != nil || w.ill) {
		w.trouble(err)
	}
	w.ill = err != nil
}

// round lists if need be, and watches as long as one request lasts. It reports whether the watch went well for a while.
func (w *watcher[T]) round(ctx context.Context) (progress bool, err error) {
	if w.version == "" {
		if err := w.list(ctx); err != nil {
			return false, err
		}
	}
	return w.watch(ctx)
}

func (w *watcher[T]) list(ctx context.Context) error {
	if err := w.each(Event[T]{Change: Reset}); err != nil {
		return stop{err}
	}
	from := "0" // what the server has in its memory: agents of a thousand nodes start at once
	if w.listed {
		from = ""
	}
	version, err := list(ctx, w.client, w.query, from, func(object *T) error {
		if err := w.each(Event[T]{Put, object}); err != nil {
			return stop{err}
		}
		return nil
	})
	w.listed = true
	if err != nil {
		return err
	}
	if version == "" {
		return fmt.Errorf("list %s: the answer has no version to go on from", w.query)
	}
	if err := w.each(Event[T]{Change: Synced}); err != nil {
		return stop{err}
	}
	w.version = version
	w.tell(nil)
	return nil
}

// frame is one event of the server.
type frame struct {
	Type   string          `json:"type"`
	Object json.RawMessage `json:"object"`
}

// watch follows changes until the request ends, which without an error is after [watchTime].
func (w *watcher[T]) watch(ctx context.Context) (progress bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, watchTime+pingAfter)
	defer cancel()
	params := w.query.params()
	params.Set("watch", "true")
	params.Set("allowWatchBookmarks", "true")
	params.Set("resourceVersion", w.version)
	params.Set("timeoutSeconds", strconv.Itoa(int(watchTime/time.Second)))
	body, err := w.client.get(ctx, w.query.Resource.path(w.query.Namespace, ""), params, accept(w.query.Metadata, "PartialObjectMetadata"))
	if err != nil {
		return false, fmt.Errorf("watch %s: %w", w.query, err)
	}
	defer body.Close()
	w.tell(nil)
	return w.follow(body)
}

// follow handles the events of one answer. Its end is what was to be expected if there was an event, or some time.
func (w *watcher[T]) follow(body io.Reader) (progress bool, err error) {
	in := &budget{r: body}
	d := json.NewDecoder(in)
	for started := time.Now(); ; progress = true {
		in.next(d)
		var f frame
		err := d.Decode(&f)
		if err == io.EOF && (progress || time.Since(started) >= minBackoff) {
			return true, nil
		}
		if err == nil {
			err = w.frame(f)
		}
		var stopped stop
		switch {
		case errors.As(err, &stopped):
			return progress, err
		case err != nil:
			return progress, fmt.Errorf("watch %s: %w", w.query, early(err))
		}
	}
}

// frame handles one event.
func (w *watcher[T]) frame(f frame) error {
	if f.Type == "ERROR" {
		var s status
		if err := json.Unmarshal(f.Object, &s); err != nil {
			return err
		}
		return s.error(s.Code)
	}
	var meta struct {
		Metadata struct {
			ResourceVersion string `json:"resourceVersion"`
		} `json:"metadata"`
	}
	if err := json.Unmarshal(f.Object, &meta); err != nil {
		return err
	}
	event := Event[T]{Change: Put}
	switch f.Type {
	case "ADDED", "MODIFIED":
	case "DELETED":
		event.Change = Delete
	case "BOOKMARK":
		event.Change = 0
	default:
		return fmt.Errorf("an event of type %q", f.Type)
	}
	if event.Change != 0 {
		event.Object = new(T)
		if err := json.Unmarshal(f.Object, event.Object); err != nil {
			return err
		}
		if err := w.each(event); err != nil {
			return stop{err}
		}
	}
	if meta.Metadata.ResourceVersion != "" {
		w.version = meta.Metadata.ResourceVersion
	}
	return nil
}

// backoff is the wait before the server is asked again.
type backoff time.Duration

// sleep waits longer than the time before, or as long as the server asked for.
func (b *backoff) sleep(ctx context.Context, err error) error {
	*b = min(max(*b*2, backoff(minBackoff)), backoff(maxBackoff))
	wait := time.Duration(*b)
	wait = wait/2 + rand.N(wait/2)
	var said *StatusError
	if errors.As(err, &said) && (said.Code == http.StatusTooManyRequests || said.Code == http.StatusServiceUnavailable) {
		wait = max(wait, said.RetryAfter)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
