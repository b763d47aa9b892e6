package stream

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

// Serve answers r with the records of log behind the cursor after, or behind the one that the client came to
// (the header Last-Event-ID), until the end. The log is one for all of a command.
//
// Of an HTTP/1 connection without TLS it takes possession and returns at once; the connection then costs some 2 KiB in this
// process while it rests. Others are served from here, and cost what net/http needs for a request: some 30 KiB, and more with TLS.
//
// The error is nil, or a [*Refused], and then nothing was written.
func (h *Hub) Serve(w http.ResponseWriter, r *http.Request, log Source, after uint64, who Subscriber) error {
	state := log.State()
	after, done, err := cursor(r, after, state.Last, !state.Ended.IsZero())
	if err != nil {
		return err
	}
	if done {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	c, err := h.admit(who, log, state.Last)
	if err != nil {
		return err
	}
	header := w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Accel-Buffering", "no") // nginx collects answers otherwise
	if !h.direct(w, r, c, after) {
		h.plain(w, r, c, after)
	}
	return nil
}

// cursor says from where on a client is to be served; done is that it was told all, the end too.
func cursor(r *http.Request, after, last uint64, ended bool) (from uint64, done bool, err error) {
	id := r.Header.Get("Last-Event-ID")
	if id == "" {
		return after, false, nil
	}
	from, err = strconv.ParseUint(id, 10, 64)
	switch {
	case err != nil:
		return 0, false, &Refused{Status: http.StatusBadRequest, Detail: fmt.Sprintf("Last-Event-ID is %.40q, and must be the number of an event", id)}
	case ended && from == last+1:
		return 0, true, nil
	case from > last:
		return 0, false, &Refused{Status: http.StatusBadRequest, Detail: fmt.Sprintf("Last-Event-ID is %d, and the last event of this command has %d: that is of another command", from, last)}
	}
	return from, false, nil
}

// hello is what a stream begins with, so that the client knows at once that it is served, and comes back at another
// time than the others if the connection ends.
func hello() []byte {
	return appendRetry([]byte(": output of a command\n"), time.Second+rand.N(4*time.Second))
}
