package api

import (
	"fmt"
	"math"
	"net/http"
	"time"

	"stella/internal/rdev"
	"stella/internal/rdev/keys"
	"stella/internal/rdev/stream"
	"stella/internal/routes"
)

// retryMemory is when to come back with a stream that there is no memory for: collecting garbage takes seconds.
const retryMemory = 15 * time.Second

// events streams a command's output from a cursor on, until its end.
func (a *API) events(w http.ResponseWriter, r *http.Request, id keys.Identity) error {
	if r.Method != http.MethodGet { // a HEAD would wait for the end of what it does not want
		return fmt.Errorf("%w: GET", routes.ErrMethod)
	}
	if refuse, why := a.RefuseStreams(); refuse {
		return rdev.Errorf(rdev.ErrUnavailable, "no new streams now: %s", why).After(retryMemory)
	}
	q := r.URL.Query()
	tail, err := number(q, "tail", 0, math.MaxInt64, -1)
	if err != nil {
		return err
	}
	command := r.PathValue("id")
	log, err := a.Service.Log(r.Context(), r.PathValue("project"), command)
	if err != nil {
		return err
	}
	if last := q.Get("last_event_id"); last != "" && r.Header.Get("Last-Event-ID") == "" {
		r.Header.Set("Last-Event-ID", last)
	}
	var after uint64
	if tail >= 0 {
		if after, err = log.Tail(tail); err != nil {
			return err
		}
	}
	return a.Hub.Serve(w, r, log, after, stream.Subscriber{Key: id.Name, Command: command, Until: id.Until})
}
