package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"stella/internal/scanner"
	"stella/internal/sse"
)

const (
	// idleTimeout is how long a stream may be silent: the server sends a heartbeat
	// every 15 seconds, and an SBOM without pause.
	idleTimeout = 60 * time.Second
	// aliveTime is after what time a stream was well though no event came: there were
	// heartbeats. Servers end each connection after a while.
	aliveTime = 2 * idleTimeout
	// maxLine is the most bytes of a line of the log, as JSON.
	maxLine = sse.MaxEvent
)

// errIdle is the cause of a stream's end when nothing came for too long.
var errIdle = fmt.Errorf("the server sent nothing for %v", idleTimeout)

// Events calls fn with the events of a job after the one with that ID, 0 for all, and with its
// progress, until the job has ended. It comes back by itself when the connection
// breaks, and misses nothing but progress. An error of fn ends it, and is returned.
func (c *Client) Events(ctx context.Context, id, after int64, fn func(scanner.Event) error) error {
	last := ""
	if after > 0 {
		last = strconv.FormatInt(after, 10)
	}
	r := request{method: http.MethodGet, path: jobPath(id) + "/events", accept: sse.ContentType, lastID: last}
	return c.follow(ctx, r, func(sent sse.Event) (bool, error) {
		var e scanner.Event
		if err := json.Unmarshal(sent.Data, &e); err != nil {
			return false, c.strange(err)
		}
		return e.Kind == scanner.EventEnded, fn(e)
	})
}

// Logs calls fn with lines of the service's log, in the order in which they were
// written. With follow it goes on with those to come, until ctx ends or fn returns an error.
func (c *Client) Logs(ctx context.Context, f scanner.LogFilter, follow bool, fn func(scanner.LogLine) error) error {
	q := url.Values{}
	set(q, "text", f.Text)
	set(q, "level", f.Level)
	setInt(q, "job", f.Job)
	setTime(q, "since", f.Since)
	setInt(q, "after", f.After)
	setInt(q, "tail", int64(f.Tail))
	one := func(data []byte) (bool, error) {
		var l scanner.LogLine
		if err := json.Unmarshal(data, &l); err != nil {
			return false, c.strange(err)
		}
		return false, fn(l)
	}
	if follow {
		q.Set("follow", "true")
		return c.follow(ctx, request{method: http.MethodGet, path: "/v1/logs", query: q, accept: sse.ContentType}, func(e sse.Event) (bool, error) { return one(e.Data) })
	}
	return c.read(ctx, get("/v1/logs", q), func(body io.Reader) error {
		lines := bufio.NewScanner(body)
		lines.Buffer(nil, maxLine)
		for lines.Scan() {
			if _, err := one(lines.Bytes()); err != nil {
				return err
			}
		}
		return lines.Err()
	})
}

// SBOM writes the SBOM of a job that has succeeded, in a format that
// sbom.ParseFormat takes. After an error w may have a part of it.
func (c *Client) SBOM(ctx context.Context, id int64, format string, w io.Writer) error {
	q := url.Values{}
	set(q, "format", format)
	return c.read(ctx, get(jobPath(id)+"/sbom", q), func(body io.Reader) error {
		_, err := io.Copy(w, body)
		return err
	})
}

func (c *Client) strange(err error) error {
	return fmt.Errorf("%s sent what this version does not understand: %w", c.address, err)
}

// read gives the body of an answer of any length to fn. It is asked for again only
// while there was no answer.
func (c *Client) read(ctx context.Context, r request, fn func(io.Reader) error) error {
	t := tries{limit: attempts}
	for {
		resp, err := c.open(ctx, r)
		if err == nil {
			err = fn(resp.Body)
			resp.Body.Close()
			return err
		}
		if !t.again(ctx, r, err) {
			return plain(ctx, err)
		}
	}
}

// follow calls fn with each event of a stream until fn says that it was the last, or
// returns an error. It takes the stream up again behind the last event.
func (c *Client) follow(ctx context.Context, r request, fn func(sse.Event) (done bool, err error)) error {
	r.again = true
	t := tries{limit: c.peer.comebacks, away: c.away}
	for {
		resp, err := c.open(ctx, r)
		if err == nil {
			t.reached = true
			begun := time.Now()
			done, err := c.events(resp, &r, &t, fn)
			resp.Body.Close()
			if time.Since(begun) > aliveTime {
				t.failures = 0
			}
			if done || !t.again(ctx, r, err) {
				return plain(ctx, err)
			}
			continue
		}
		if !t.again(ctx, r, err) {
			return plain(ctx, err)
		}
	}
}

// events is one connection of follow. It returns whether there is no more to come, and
// the error of fn, or why the stream broke off.
func (c *Client) events(resp *http.Response, r *request, t *tries, fn func(sse.Event) (bool, error)) (bool, error) {
	if resp.StatusCode == http.StatusNoContent {
		return true, nil // it ended before
	}
	stream := sse.NewReader(resp.Body)
	for {
		e, err := stream.Next()
		if errors.Is(err, sse.ErrTooLong) {
			return true, c.strange(err)
		}
		if err != nil {
			return false, &brokenError{fmt.Errorf("the stream of %s broke off: %w", c.address, err)}
		}
		if done, err := fn(e); done || err != nil {
			return true, err
		}
		t.failures = 0
		if e.ID != "" { // an event without one, the first of a connection, is not the beginning
			r.lastID = e.ID
		}
	}
}

// watched is a body that ends when nothing comes for [idleTimeout]. Only the time
// inside Read counts: a slow consumer is not silence.
type watched struct {
	body   io.ReadCloser
	cancel context.CancelCauseFunc
	ctx    context.Context // of this one request; its cause tells silence from a cancellation
	timer  *time.Timer
}

// open sends a request for an answer of any length, whose body ends when it is silent.
func (c *Client) open(ctx context.Context, r request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	resp, err := c.send(ctx, r)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	w := &watched{body: resp.Body, cancel: cancel, ctx: ctx}
	w.timer = time.AfterFunc(idleTimeout, func() { cancel(errIdle) })
	w.timer.Stop()
	resp.Body = w
	return resp, nil
}

// Read implements io.Reader.
func (w *watched) Read(p []byte) (int, error) {
	w.timer.Reset(idleTimeout)
	n, err := w.body.Read(p)
	w.timer.Stop()
	if err != nil && err != io.EOF && w.ctx.Err() != nil {
		err = context.Cause(w.ctx)
	}
	return n, err
}

// Close ends the request.
func (w *watched) Close() error {
	w.timer.Stop()
	w.cancel(nil)
	return w.body.Close()
}
