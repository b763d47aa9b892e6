// Package sse carries events from a server to a client over one long HTTP answer:
// server-sent events, https://html.spec.whatwg.org/multipage/server-sent-events.html.
//
// Words: a stream is one answer. An [Event] has a name, data, and an ID where the
// client can go on from it: it sends the last one that it saw back, as the header
// Last-Event-ID. A heartbeat is a comment, which says only that the server lives.
//
// [Serve] is the server's side, [Reader] the client's.
//
// Hazards:
//
//   - A reader that stopped and one that is slow look the same to TCP. Every write
//     has [WriteTimeout], and a stream whose write is not done by then is over.
//   - http.Server's WriteTimeout would end a stream in the middle, silently; Serve
//     puts its own deadlines in its place.
//   - A stream that ends says nothing about why. Tell the client by an event that no
//     more come; else it must come back.
package sse

import (
	"errors"
	"time"
)

const (
	// Heartbeat is how often something is sent: proxies cut what is silent for 60 seconds.
	Heartbeat = 15 * time.Second
	// WriteTimeout is how long one write may take. The kernel's buffers hold some
	// thousand events, so a reader that is late by this has stopped.
	WriteTimeout = 10 * time.Second
	// MaxAge is about how long a stream lives: then the client comes back, and is
	// asked again whether it may.
	MaxAge = 30 * time.Minute
	// MaxEvent is the most bytes of an event's data, and of a line, that a [Reader]
	// takes: a message of 4 KiB, six-fold when it is escaped, and much room.
	MaxEvent = 256 << 10
	// ContentType is that of a stream.
	ContentType = "text/event-stream"
)

// Event is one message of a stream.
type Event struct {
	// ID is where a client can go on; "" for an event that is of the moment. From a
	// [Reader] it is the last ID that was seen, of this event or of one before it.
	ID string
	// Name is the kind of event; "" is "message".
	Name string
	// Data is text in UTF-8, of any number of lines.
	Data []byte
}

// ErrTooLong is matched by the error of a stream with an event above [MaxEvent].
var ErrTooLong = errors.New("event of the stream is too long")
