package pods

import (
	"bufio"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// Opcodes of frames (RFC 6455, section 5.2).
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xa
)

const (
	// chunk is how much of a message is held at once, in both directions.
	chunk = 32 << 10
	// maxControl is the longest payload of a control frame (section 5.5).
	maxControl = 125
	// writeTimeout bounds one write to the server: nobody who takes nothing for so long will.
	writeTimeout = 30 * time.Second
)

// errFrame says that what came is not of the protocol.
var errFrame = errors.New("the server does not keep to the WebSocket protocol")

// socket is a WebSocket as the client has it. One goroutine may read while others write.
type socket struct {
	conn io.ReadWriteCloser
	in   *bufio.Reader
	buf  [chunk]byte
	life *time.Timer // closes the connection when nothing came for a while

	mu  sync.Mutex // of writes
	out []byte
}

// newSocket is one that closes the connection when nothing comes for that long.
func newSocket(conn io.ReadWriteCloser, silence time.Duration) *socket {
	s := &socket{conn: conn, life: time.AfterFunc(silence, func() { conn.Close() })}
	s.in = bufio.NewReaderSize(watched{conn, s.life, silence}, 4<<10)
	return s
}

// close closes the connection; a second one does nothing.
func (s *socket) close() {
	s.life.Stop()
	_ = s.conn.Close() // whatever there was to say is said
}

// watched starts a timer anew whenever something comes.
type watched struct {
	io.Reader
	timer *time.Timer
	after time.Duration
}

func (w watched) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	if err == nil {
		w.timer.Reset(w.after)
	}
	return n, err
}

// header is that of a frame from the server.
type header struct {
	last    bool // of its message
	op      byte
	control bool
	length  uint64
}

func readHeader(r io.Reader) (header, error) {
	var b [8]byte
	if _, err := io.ReadFull(r, b[:2]); err != nil {
		return header{}, err // io.EOF between frames, and only there
	}
	h := header{last: b[0]&0x80 != 0, op: b[0] & 0x0f, control: b[0]&0x08 != 0, length: uint64(b[1] & 0x7f)}
	masked, reserved := b[1]&0x80 != 0, b[0]&0x70 != 0
	if masked || reserved || h.control && (!h.last || h.length > maxControl) {
		return header{}, errFrame
	}
	more := 0
	switch h.length {
	case 126:
		more = 2
	case 127:
		more = 8
	default:
		return h, nil
	}
	b = [8]byte{}
	if _, err := io.ReadFull(r, b[8-more:]); err != nil {
		return header{}, unexpected(err)
	}
	h.length = binary.BigEndian.Uint64(b[:])
	if h.length>>63 != 0 {
		return header{}, errFrame
	}
	return h, nil
}

// read gives each piece of each message to data: first is that the piece begins a message. It returns nil when the
// server closes the connection, and the error of data as it is. What a piece has is valid until data returns.
func (s *socket) read(data func(piece []byte, first bool) error) error {
	inside, first := false, false // a message that goes on; of which nothing has come
	for {
		h, err := readHeader(s.in)
		if err != nil {
			return err
		}
		if h.control {
			if closed, err := s.control(h); closed || err != nil {
				return err
			}
			continue
		}
		if inside != (h.op == opContinuation) || h.op > opBinary {
			return errFrame
		}
		first = first || !inside // its first frame can be empty
		for left := h.length; left > 0; first = false {
			n := min(left, chunk)
			if _, err := io.ReadFull(s.in, s.buf[:n]); err != nil {
				return unexpected(err)
			}
			if err := data(s.buf[:n], first); err != nil {
				return err
			}
			left -= n
		}
		inside = !h.last
	}
}

// control answers a control frame, and reports whether it was the last.
func (s *socket) control(h header) (closed bool, err error) {
	payload := s.buf[:h.length]
	if _, err := io.ReadFull(s.in, payload); err != nil {
		return false, unexpected(err)
	}
	switch h.op {
	case opPing:
		return false, s.write(opPong, payload)
	case opPong:
		return false, nil
	case opClose:
		_ = s.write(opClose, payload) // it may be gone already, which is what is wanted
		if code, why := closing(payload); code != normalClose && code != noStatus {
			return true, fmt.Errorf("the server ended the connection: %s (code %d)", why, code)
		}
		return true, nil
	}
	return false, errFrame
}

// Codes of a close (section 7.4.1).
const (
	normalClose = 1000
	noStatus    = 1005
)

func closing(payload []byte) (code int, why string) {
	if len(payload) < 2 {
		return noStatus, ""
	}
	return int(binary.BigEndian.Uint16(payload)), fmt.Sprintf("%q", payload[2:])
}

// write sends a message of one frame, masked as a client has to.
func (s *socket) write(op byte, parts ...[]byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	length := 0
	for _, p := range parts {
		length += len(p)
	}
	s.out = append(s.out[:0], 0x80|op)
	switch {
	case length < 126:
		s.out = append(s.out, 0x80|byte(length))
	case length <= 0xffff:
		s.out = append(s.out, 0x80|126)
		s.out = binary.BigEndian.AppendUint16(s.out, uint16(length))
	default:
		s.out = append(s.out, 0x80|127)
		s.out = binary.BigEndian.AppendUint64(s.out, uint64(length))
	}
	var mask [4]byte
	_, _ = rand.Read(mask[:]) // never fails
	s.out = append(s.out, mask[:]...)
	i := 0
	for _, p := range parts {
		for _, b := range p {
			s.out = append(s.out, b^mask[i%4])
			i++
		}
	}
	late := time.AfterFunc(writeTimeout, func() { s.conn.Close() })
	defer late.Stop()
	_, err := s.conn.Write(s.out)
	return err
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
