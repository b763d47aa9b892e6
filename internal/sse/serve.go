package sse

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Serve answers r with a stream: it calls produce, which sends events until it
// returns. send may be called by several goroutines. Serve returns when produce has returned.
//
// The context that produce gets ends when the client goes away, does not read for
// [WriteTimeout], or has been served for about [MaxAge], and when closing is closed.
// Then Serve returns nil, whatever produce returned: there is nobody left to be told. Else
// it returns produce's error.
func Serve(w http.ResponseWriter, r *http.Request, closing <-chan struct{}, produce func(ctx context.Context, send func(Event) error) error) error {
	// A part of the age is random, so that clients which came together do not come back together.
	ctx, cancel := context.WithTimeout(r.Context(), MaxAge-rand.N(MaxAge/4))
	defer cancel()
	s := &stream{w: w, control: http.NewResponseController(w), cancel: cancel}
	s.begin()

	var beating sync.WaitGroup
	beating.Go(func() { s.beat(ctx, closing) })
	err := produce(ctx, s.send)
	gone := ctx.Err() != nil
	cancel()
	beating.Wait()
	// What net/http writes to end the answer has to be in time too.
	_ = s.control.SetWriteDeadline(time.Now().Add(WriteTimeout))
	if gone {
		return nil
	}
	return err
}

// stream is the server's end of one answer.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	cancel  context.CancelFunc

	mu  sync.Mutex
	buf bytes.Buffer // the event being written
	err error        // of the write that failed; the connection is of no use after it
}

// begin sends the headers, so that the client knows at once that it is being served.
func (s *stream) begin() {
	h := s.w.Header()
	h.Set("Content-Type", ContentType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx collects answers otherwise
	s.w.WriteHeader(http.StatusOK)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buf.WriteString(": stream of events\n\n")
	_ = s.flush() // which has ended the stream where it failed
}

// beat sends heartbeats until ctx ends, or ends the stream when closing is closed.
func (s *stream) beat(ctx context.Context, closing <-chan struct{}) {
	tick := time.NewTicker(Heartbeat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-closing:
			s.cancel()
			return
		case <-tick.C:
		}
		s.mu.Lock()
		s.buf.WriteString(":\n\n")
		err := s.flush()
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// send writes one event and sends it off.
func (s *stream) send(e Event) error {
	if strings.ContainsAny(e.ID, "\r\n\x00") || strings.ContainsAny(e.Name, "\r\n") {
		return fmt.Errorf("event %q, %q: the ID and the name of an event are one line", e.ID, e.Name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.ID != "" {
		s.field("id", []byte(e.ID))
	}
	if e.Name != "" {
		s.field("event", []byte(e.Name))
	}
	data := bytes.ReplaceAll(e.Data, []byte("\r\n"), []byte("\n"))
	for line := range bytes.SplitSeq(bytes.ReplaceAll(data, []byte("\r"), []byte("\n")), []byte("\n")) {
		s.field("data", line)
	}
	s.buf.WriteByte('\n')
	return s.flush()
}

func (s *stream) field(name string, value []byte) {
	s.buf.WriteString(name)
	s.buf.WriteString(": ")
	s.buf.Write(value)
	s.buf.WriteByte('\n')
}

// flush sends what is in the buffer, in time, or ends the stream.
func (s *stream) flush() error {
	defer s.buf.Reset()
	if s.err != nil {
		return s.err
	}
	err := s.control.SetWriteDeadline(time.Now().Add(WriteTimeout))
	if err == nil {
		_, err = s.w.Write(s.buf.Bytes())
	}
	if err == nil {
		err = s.control.Flush()
	}
	if err != nil {
		s.err = fmt.Errorf("stream of events: %w", err)
		s.cancel()
	}
	return s.err
}
