package sse

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
)

// Reader reads a stream. It holds at most two times [MaxEvent].
type Reader struct {
	in   *bufio.Reader
	line []byte // buffer of the line being read
	// begun says that the first line was read, and cr that the last one ended with
	// a carriage return, so that a line feed right behind it is a part of its end.
	begun, cr bool
	id        string
}

// NewReader reads the body of an answer.
func NewReader(r io.Reader) *Reader { return &Reader{in: bufio.NewReader(r)} }

// Next returns the next event that has data. At the end of the stream it is io.EOF, also
// in the middle of an event: such an event is dropped, as it may be incomplete. Other
// errors are the underlying reader's, or match [ErrTooLong]. After an error there is no next event.
func (r *Reader) Next() (Event, error) {
	var e Event
	for {
		line, err := r.next()
		if err != nil {
			return Event{}, err
		}
		if len(line) > 0 {
			if err := r.field(&e, line); err != nil {
				return Event{}, err
			}
			continue
		}
		if e.Data != nil {
			e.ID, e.Data = r.id, bytes.TrimSuffix(e.Data, []byte("\n"))
			return e, nil
		}
		e = Event{}
	}
}

// field adds one line of an event to it.
func (r *Reader) field(e *Event, line []byte) error {
	name, value, _ := bytes.Cut(line, []byte(":"))
	value = bytes.TrimPrefix(value, []byte(" "))
	switch string(name) {
	case "event":
		e.Name = string(value)
	case "data":
		if len(e.Data)+len(value)+1 > MaxEvent {
			return fmt.Errorf("%w: more than %d bytes of data", ErrTooLong, MaxEvent)
		}
		e.Data = append(append(e.Data, value...), '\n')
	case "id":
		if !bytes.ContainsRune(value, 0) {
			r.id = string(value)
		}
	}
	return nil
}

// next returns a line without its end, valid until the next call. A carriage return
// ends a line at once: what comes behind it may not come for a while.
func (r *Reader) next() ([]byte, error) {
	r.line = r.line[:0]
	for {
		b, err := r.in.ReadByte()
		if err != nil {
			return nil, err
		}
		after := r.cr
		r.cr = b == '\r'
		switch {
		case b == '\n' && after:
			continue
		case b == '\n' || b == '\r':
			return r.first(), nil
		case len(r.line) >= MaxEvent:
			return nil, fmt.Errorf("%w: a line of more than %d bytes", ErrTooLong, MaxEvent)
		}
		r.line = append(r.line, b)
	}
}

// first is the line, without the byte order mark that the first one may have.
func (r *Reader) first() []byte {
	if r.begun {
		return r.line
	}
	r.begun = true
	return bytes.TrimPrefix(r.line, []byte("\ufeff"))
}
