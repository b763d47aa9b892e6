package pods

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"testing/iotest"
	"time"
)

// wire is a connection that gives what a server sent, and keeps what is written.
type wire struct {
	io.Reader
	bytes.Buffer
}

func (w *wire) Read(p []byte) (int, error) { return w.Reader.Read(p) }
func (*wire) Close() error                 { return nil }

// frame is one of a server's.
func frame(first byte, payload []byte) []byte {
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, byte(n))
	case n <= 0xffff:
		b = binary.BigEndian.AppendUint16(append(b, 126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 127), uint64(n))
	}
	return append(b, payload...)
}

// readAll gives the messages of a stream.
func readAll(t testing.TB, in io.Reader) (messages [][]byte, answer []byte, err error) {
	t.Helper()
	w := &wire{Reader: in}
	s := newSocket(w, time.Hour)
	defer s.close()
	err = s.read(func(piece []byte, first bool) error {
		if first {
			messages = append(messages, nil)
		}
		if len(piece) == 0 || len(piece) > chunk {
			t.Errorf("a piece of %d bytes", len(piece))
		}
		messages[len(messages)-1] = append(messages[len(messages)-1], piece...)
		return nil
	})
	return messages, w.Bytes(), err
}

// However a message is cut into frames, and they into reads, it comes out whole, with control frames between.
func FuzzMessages(f *testing.F) {
	f.Add([]byte("message"), 3, true)
	f.Add(bytes.Repeat([]byte("long"), 50_000), 1000, false)
	f.Add(bytes.Repeat([]byte{0}, 126), 126, true)
	f.Fuzz(func(t *testing.T, message []byte, size int, slow bool) {
		if len(message) == 0 || size <= 0 {
			t.Skip()
		}
		size = max(size, len(message)/1000) // so that it ends
		var stream []byte
		op := byte(opBinary)
		for left := message; ; op = opContinuation {
			n := min(size, len(left))
			last := byte(0)
			if n == len(left) {
				last = 0x80
			}
			stream = append(stream, frame(last|op, left[:n])...)
			stream = append(stream, frame(0x80|opPing, []byte("p"))...)
			if left = left[n:]; len(left) == 0 {
				break
			}
		}
		stream = append(stream, frame(0x80|opClose, []byte{3, 232})...)
		var in io.Reader = bytes.NewReader(stream)
		if slow {
			in = iotest.OneByteReader(in)
		}
		got, answer, err := readAll(t, in)
		if err != nil || len(got) != 1 || !bytes.Equal(got[0], message) || len(answer) < 7 || answer[0] != 0x80|opPong {
			t.Errorf("%d messages, %v, answer %x", len(got), err, answer[:min(len(answer), 7)])
		}
	})
}

// Whatever a server sends, reading ends, and holds no more than a chunk.
func FuzzHostile(f *testing.F) {
	for _, b := range hostile {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, stream []byte) { _, _, _ = readAll(t, bytes.NewReader(stream)) })
}

var hostile = map[string][]byte{
	"masked":               {0x82, 0x81, 0, 0, 0, 0, 1},
	"reserved bits":        {0xc2, 0x01, 1},
	"long ping":            append([]byte{0x89, 126, 0, 126}, make([]byte, 126)...),
	"ping in pieces":       {0x09, 0x01, 1},
	"unknown opcode":       {0x83, 0x01, 1},
	"unknown control":      {0x8b, 0x00},
	"nothing to continue":  {0x80, 0x01, 1},
	"message in a message": {0x02, 0x01, 1, 0x82, 0x01, 1},
	"negative length":      {0x82, 127, 0xff, 0, 0, 0, 0, 0, 0, 0},
}

func TestHostile(t *testing.T) {
	for name, b := range hostile {
		if _, _, err := readAll(t, bytes.NewReader(b)); !errors.Is(err, errFrame) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got, _, err := readAll(t, bytes.NewReader([]byte{0x02, 0, 0x00, 0, 0x80, 2, 'a', 'b'})); len(got) != 1 || string(got[0]) != "ab" || !errors.Is(err, io.EOF) {
		t.Errorf("a message that begins with empty frames: %q, %v", got, err)
	}
	whole := frame(0x82, bytes.Repeat([]byte("x"), 300))
	for n := range whole {
		want := io.ErrUnexpectedEOF
		if n == 0 {
			want = io.EOF
		}
		if _, _, err := readAll(t, bytes.NewReader(whole[:n])); n != 1 && !errors.Is(err, want) {
			t.Errorf("cut after %d: %v, want %v", n, err, want)
		}
	}
	if _, _, err := readAll(t, bytes.NewReader(frame(0x88, []byte{3, 243, 'n', 'o'}))); err == nil || errors.Is(err, errFrame) {
		t.Errorf("closed with an error: %v", err)
	}
}

// What a client sends is masked, and is what was to be sent.
func TestWrite(t *testing.T) {
	for _, n := range []int{0, 1, 125, 126, 0xffff, 0x10000} {
		w := &wire{Reader: bytes.NewReader(nil)}
		s := newSocket(w, time.Hour)
		payload := bytes.Repeat([]byte("abc"), n/3+1)[:n]
		if err := s.write(opBinary, []byte{7}, payload); err != nil {
			t.Fatal(err)
		}
		s.close()
		b := w.Bytes()
		skip := map[bool]int{true: 2, false: 4}[n+1 < 126]
		if n+1 > 0xffff {
			skip = 10
		}
		if b[0] != 0x82 || b[1]&0x80 == 0 || len(b) != skip+4+n+1 {
			t.Fatalf("%d: %d bytes, %x", n, len(b), b[:2])
		}
		mask, body := b[skip:skip+4], b[skip+4:]
		for i := range body {
			body[i] ^= mask[i%4]
		}
		if body[0] != 7 || !bytes.Equal(body[1:], payload) {
			t.Errorf("%d bytes came out otherwise", n)
		}
	}
}
