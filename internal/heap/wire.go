package heap

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The wire types of protocol buffers that profiles have, or may have (protobuf.dev/programming-guides/encoding).
const (
	wireVarint = 0
	wire64     = 1
	wireBytes  = 2
	wire32     = 5
)

// errBroken is that a profile ends within a field, or has what no encoder writes.
var errBroken = errors.New("it is broken: no protocol buffer of runtime/pprof")

// field is one of a message: a number, or bytes that are valid until the next one.
type field struct {
	tag    int
	number uint64
	bytes  []byte
}

// messages calls fn with each field of a stream.
func messages(r io.Reader, fn func(field) error) error {
	in := bufio.NewReader(r)
	var buf []byte
	for {
		key, err := binary.ReadUvarint(in)
		if err == io.EOF {
			return nil
		} else if err != nil {
			return readError(err)
		}
		f := field{tag: int(key >> 3)}
		switch key & 7 {
		case wireVarint:
			f.number, err = binary.ReadUvarint(in)
		case wireBytes:
			var n uint64
			if n, err = binary.ReadUvarint(in); err != nil {
				break
			}
			if n > maxMessage {
				return fmt.Errorf("it has a part of %d bytes, and %d are the most", n, maxMessage)
			}
			if uint64(cap(buf)) < n {
				buf = make([]byte, n)
			}
			f.bytes = buf[:n]
			_, err = io.ReadFull(in, f.bytes)
		case wire64:
			_, err = in.Discard(8)
		case wire32:
			_, err = in.Discard(4)
		default:
			return errBroken
		}
		if err != nil {
			return readError(err)
		}
		if err := fn(f); err != nil {
			return err
		}
	}
}

// readError tells an end in the middle from other errors.
func readError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errBroken
	}
	return err
}

// fields calls fn with each field of one message.
func fields(b []byte, fn func(field) error) error {
	for len(b) > 0 {
		key, n := binary.Uvarint(b)
		if n <= 0 {
			return errBroken
		}
		b = b[n:]
		f := field{tag: int(key >> 3)}
		switch key & 7 {
		case wireVarint:
			if f.number, n = binary.Uvarint(b); n <= 0 {
				return errBroken
			}
		case wireBytes:
			size, used := binary.Uvarint(b)
			if used <= 0 || size > uint64(len(b)-used) {
				return errBroken
			}
			n = used + int(size)
			f.bytes = b[used:n]
		case wire64:
			n = 8
		case wire32:
			n = 4
		default:
			return errBroken
		}
		if n > len(b) {
			return errBroken
		}
		b = b[n:]
		if err := fn(f); err != nil {
			return err
		}
	}
	return nil
}

// numbers calls fn with the numbers of a repeated field, packed or not.
func (f field) numbers(fn func(uint64)) error {
	if f.bytes == nil {
		fn(f.number)
		return nil
	}
	for b := f.bytes; len(b) > 0; {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return errBroken
		}
		fn(v)
		b = b[n:]
	}
	return nil
}
