package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// attempts at one request: with the pauses between them, enough for a server
	// that is restarted, which takes less than two seconds.
	attempts = 7
	// comebacks is how often in a row a scanner service's stream is taken up again without any event
	// coming: with the pauses between them, for a quarter of a minute.
	comebacks = 13
	// tellAfter is after how many failures in a row somebody is told: some two seconds.
	tellAfter = 6
	firstWait = 100 * time.Millisecond
	maxWait   = 2 * time.Second
	// maxRetryAfter caps what a server may ask for: beyond it a person should know.
	maxRetryAfter = 30 * time.Second
)

// brokenError is a connection that broke: the server may or may not have done what was asked.
type brokenError struct{ error }

func (e *brokenError) Unwrap() error { return e.error }

// refusedError is an answer that is no success, and how long the server wants to be left alone.
type refusedError struct {
	error
	status int
	after  time.Duration
}

func (e *refusedError) Unwrap() error { return e.error }

// passes reports whether the answer may be better next time.
func (e *refusedError) passes(r request) bool {
	switch e.status {
	case http.StatusTooManyRequests: // the server did nothing
		return true
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return r.method == http.MethodGet
	}
	return false
}

// plain is an error without what only retrying needs to know. When ctx has ended, that is why.
func plain(ctx context.Context, err error) error {
	var (
		refused *refusedError
		broken  *brokenError
	)
	switch {
	case errors.As(err, &refused):
		err = refused.error
	case errors.As(err, &broken):
		err = broken.error
	}
	if err != nil && ctx.Err() != nil && !errors.Is(err, ctx.Err()) {
		return fmt.Errorf("%w (%w)", ctx.Err(), err)
	}
	return err
}

// tries counts the failures of one request, or of a stream since its last event.
type tries struct {
	limit    int
	failures int
	reached  bool // there was a server
	away     func(error)
}

// again waits, and reports whether the request is to be sent again after it failed like this.
func (t *tries) again(ctx context.Context, r request, err error) bool {
	var (
		refused *refusedError
		broken  *brokenError
	)
	t.failures++
	wait, again := backoff(t.failures), false
	switch {
	case errors.Is(err, ErrNoServer):
		again = t.reached // it may be starting again
	case errors.As(err, &broken):
		t.reached, again = true, r.again
	case errors.As(err, &refused):
		t.reached, again = true, refused.passes(r)
		wait = max(wait, refused.after)
	}
	if !again || t.failures >= t.limit {
		return false
	}
	if t.failures == tellAfter && t.away != nil && ctx.Err() == nil {
		t.away(plain(ctx, err))
	}
	return sleep(ctx, wait)
}

// backoff doubles from one failure to the next. Half of it is random, so that many clients do
// not come back at once.
func backoff(failures int) time.Duration {
	d := min(firstWait<<min(failures-1, 16), maxWait)
	return d/2 + rand.N(d/2+1)
}

// retryAfter reads the header, in seconds as the API sends it.
func retryAfter(value string) time.Duration {
	s, err := strconv.ParseUint(strings.TrimSpace(value), 10, 32)
	if err != nil {
		return 0
	}
	return min(time.Duration(s)*time.Second, maxRetryAfter)
}

// sleep reports whether the time passed before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
