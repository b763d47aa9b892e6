package stream

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// plain is a subscriber that is served by its request's handler.
type plain struct {
	*connection
	stop context.CancelFunc
}

// end implements ender.
func (p *plain) end(r Reason) {
	if p.because(r) {
		p.stop()
	}
}

// plain serves a subscriber from its request's handler: over TLS, where what is sent is encrypted for each, and over HTTP/2.
func (h *Hub) plain(w http.ResponseWriter, r *http.Request, c *connection, after uint64) {
	ctx, cancel := context.WithDeadline(r.Context(), c.expires)
	defer cancel()
	p := &plain{connection: c, stop: cancel}
	h.open(c, p)
	defer h.release(c)
	out := &answer{w, http.NewResponseController(w), h.o.WriteTimeout}
	defer out.leave()
	p.because(p.serve(ctx, out, after))
}

func (p *plain) serve(ctx context.Context, out *answer, after uint64) Reason {
	if err := out.send(hello()); err != nil {
		return lost(err)
	}
	beats := time.NewTicker(p.hub.o.Heartbeat)
	defer beats.Stop()
	at := place{cursor: after}
	for ctx.Err() == nil {
		page, state := p.feed.fetch(at.cursor)
		switch state {
		case ready:
			data, _ := page.rest(at)
			if err := out.send(data); err != nil {
				return lost(err)
			}
			var records int
			at, records = page.advance(at, len(data))
			p.lines.Add(int64(records))
			p.hub.stats.bytes.Add(int64(len(data)))
			continue
		case finished:
			return ReasonEnd
		case broken:
			return ReasonFailed
		}
		p.feed.extend(true)
		more := p.feed.more(at.cursor)
		if more == nil {
			continue // the end came with what was just sent
		}
		select {
		case <-more:
		case <-beats.C:
			p.feed.forget()
			if err := out.send([]byte(beat)); err != nil {
				return lost(err)
			}
		case <-ctx.Done():
		}
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return ReasonAge
	}
	return ReasonLeft
}

// answer is net/http's side of a plain subscriber.
type answer struct {
	w       http.ResponseWriter
	control *http.ResponseController
	timeout time.Duration
}

// send writes in time, or fails.
func (a *answer) send(data []byte) error {
	if err := a.control.SetWriteDeadline(time.Now().Add(a.timeout)); err != nil {
		return err
	}
	if _, err := a.w.Write(data); err != nil {
		return err
	}
	return a.control.Flush()
}

// leave lets net/http end the answer, in time too.
func (a *answer) leave() { _ = a.control.SetWriteDeadline(time.Now().Add(a.timeout)) }
