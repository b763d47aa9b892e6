// Package stream serves the log of one command to many subscribers, as server-sent
// events: https://html.spec.whatwg.org/multipage/server-sent-events.html.
//
// Words: a subscriber is one connection; its cursor is the number of the last record
// that it was sent. A feed is one command's log with all its subscribers. A page is a
// piece of the log as it goes over the wire, encoded once for all who need it. Who is at the end
// of the log rests; who has to be sent what was before, or does not read as fast as the command writes, chases.
//
// A connection is taken from net/http, and its handler returns. What rests has no goroutine and no buffer: it is an entry in a
// list, and costs the process some 2 KiB ([Hub.Serve]). A lane is a goroutine that walks such a list: it
// tries to write, without waiting, all that is new by the time it comes to a subscriber, so that where there are too many
// to be written to for each line, each gets more lines at a time, not later ones. Whose socket takes no more gets a goroutine
// of its own until it has caught up, and delays nobody. It holds no buffer either: it remembers its cursor, and how much of the
// next event was sent. What one that does not read can pin is one goroutine and [sendBuffer] in the kernel, for [WriteTimeout].
//
// The events, whose data is JSON in one line; the id of each is the cursor behind it:
//
//	output     a record ([Output])
//	gap        records that are not kept, in the place where they would be ([Gap])
//	truncated  before the end of a log of which not everything is kept ([Truncated]); without an id
//	end        how the command ended ([rdev.End]); then the server closes, and who comes back gets 204
//
// Hazards:
//
//   - A client that stopped and one that is slow look the same to TCP. A write that is not taken within
//     [WriteTimeout] ends the connection with a reset, as else the kernel would keep what was not read for minutes.
//   - What the client's kernel takes counts as taken: a client that is stopped is noticed when its kernel's window is full, and by its age at the latest.
//   - A connection that was taken over does not notice by itself that its client is gone. The kernel
//     is asked for that (epoll), and to end what does not answer (TCP_USER_TIMEOUT).
//   - An event that was sent in part can be completed only by the same bytes. Records never change; where the rest of one is no longer kept, the connection ends,
//     the client drops what it has of it, comes back, and is told the gap.
package stream

import (
	"errors"
	"os"
	"syscall"
	"time"

	"stella/internal/rdev"
	"stella/internal/rdev/outlog"
)

const (
	// Heartbeat is the longest time in which nothing is sent: proxies cut what is silent for 60 seconds.
	Heartbeat = 15 * time.Second
	// WriteTimeout is how long a subscriber may take nothing while there is something for it.
	WriteTimeout = 10 * time.Second
	// MaxAge is about how long a connection lives, a tenth more or less: then the client comes back, and is asked again whether it may.
	MaxAge = time.Hour
	// pace is the least time between two visits to a resting subscriber. It makes one write of what a fast
	// command prints meanwhile: a write costs some 10 µs however long it is.
	pace = 20 * time.Millisecond
	// look is how often a lane looks at all that rest: for heartbeats, and for who is too old or gone.
	look = time.Second
	// sendBuffer is what the kernel may keep for one subscriber, in bytes; it takes twice that for its own books, and would let it grow to 4 MiB.
	sendBuffer = 64 << 10
	// pageSize is about how many bytes of events are encoded at a time: as many as a send buffer takes. A page can be
	// longer by one event.
	pageSize = 64 << 10
	// maxPages is the most pages that a feed keeps: those that subscribers who rest or came at the same time share.
	maxPages = 8
	// allPages is how many pages all feeds of a hub keep together, some 6 MiB with what finds events in them. Each has an equal share: of more feeds than
	// there are pages none keeps any, and what a subscriber is sent is read for it alone. Beside these, each feed with something new has the page that grows.
	allPages = 64
)

// The names of the events.
const (
	EventOutput    = "output"
	EventGap       = "gap"
	EventTruncated = "truncated"
	EventEnd       = "end"
)

// Output is the data of an output event: what the program wrote is Text or Base64, and then End.
type Output struct {
	Stream rdev.Stream `json:"stream"`
	// Time is when it was written, to the millisecond.
	Time time.Time `json:"time"`
	Text string    `json:"text"`
	// Base64 is in the place of Text where that is not UTF-8, or so full of control characters that base64 is shorter.
	Base64 []byte `json:"base64,omitempty"`
	// End is how the record ended: "\n", "\r", or nothing, where more of the line follows or the program wrote no more.
	End string `json:"end"`
}

// Gap is the data of a gap event: the records From to To, both of them too, are not kept.
type Gap struct {
	From    uint64 `json:"from"`
	To      uint64 `json:"to"`
	Dropped uint64 `json:"dropped"`
}

// Truncated is the data of a truncated event: so many records of the log are not kept, whether this subscriber saw them or not.
type Truncated struct {
	Dropped int64 `json:"dropped"`
}

// Source is the log of one command; *[outlog.Log] is one.
type Source interface {
	// Read tells records behind a cursor.
	Read(after uint64, buf []byte, fn func(outlog.Record) bool) (outlog.Position, error)
	// More is closed when there is something behind last, or the end.
	More(last uint64) <-chan struct{}
	// State says where the log ends, whether it has, and how much of it is not kept.
	State() outlog.State
}

// Subscriber says who is served what.
type Subscriber struct {
	// Key is the name of the API key, by which connections are counted and logged.
	Key string
	// Command is the id of the command: all subscribers of one command share its log.
	Command string
	// Until is when the key expires; zero is never. The connection ends by then.
	Until time.Time
}

// Reason says why a connection ended.
type Reason string

// The reasons.
const (
	ReasonEnd     Reason = "end"     // everything was sent
	ReasonLeft    Reason = "left"    // the client went away
	ReasonStalled Reason = "stalled" // the client took nothing for WriteTimeout
	ReasonLagged  Reason = "lagged"  // the rest of a half-sent event is no longer kept
	ReasonAge     Reason = "age"     // MaxAge is over, or the key expired
	ReasonClosing Reason = "closing" // the service stops, or ended the connections of a key
	ReasonFailed  Reason = "failed"  // the log could not be read
)

// Reasons lists all reasons.
func Reasons() []Reason {
	return []Reason{ReasonEnd, ReasonLeft, ReasonStalled, ReasonLagged, ReasonAge, ReasonClosing, ReasonFailed}
}

// lost is the reason of a connection on which a write failed.
func lost(err error) Reason {
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, syscall.ETIMEDOUT) {
		return ReasonStalled
	}
	return ReasonLeft
}
