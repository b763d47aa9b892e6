package zipstream

import (
	"bufio"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/flate"
)

// memberBuffer is how many compressed bytes are read at once.
const memberBuffer = 4 << 10

// Decoder reads members, one at a time, of any number of archives. Its window and
// tables, about 50 KiB, are made once. The zero value is ready. Not safe for concurrent use.
type Decoder struct {
	br *bufio.Reader
	fl io.ReadCloser
	m  member
}

// Open returns a reader of the member's content, valid until the next Open.
// At the end it checks the size and the CRC: a wrong one is ErrMember in place of io.EOF. It
// never gives more than m.Size bytes.
func (d *Decoder) Open(a *Archive, m *Member) (io.Reader, error) {
	if m.Method != Stored && m.Method != Deflated {
		return nil, fmt.Errorf("%w: compressed with method %d, which is not known", ErrMember, m.Method)
	}
	raw, err := a.raw(m)
	if err != nil {
		return nil, err
	}
	d.m = member{left: m.Size, size: m.Size, crc: m.CRC32}
	if m.Method == Stored {
		d.m.r = raw
		return &d.m, nil
	}
	if d.br == nil {
		d.br = bufio.NewReaderSize(raw, memberBuffer)
		d.fl = flate.NewReader(d.br)
	} else {
		d.br.Reset(raw)
		if err := d.fl.(flate.Resetter).Reset(d.br, nil); err != nil {
			return nil, fmt.Errorf("reset the inflater: %w", err)
		}
	}
	d.m.r = d.fl
	return &d.m, nil
}

// member checks what it passes on.
type member struct {
	r          io.Reader
	left, size int64
	crc, sum   uint32
	err        error
}

func (m *member) Read(p []byte) (int, error) {
	if m.err != nil || len(p) == 0 {
		return 0, m.err
	}
	if m.left == 0 {
		m.err = m.finish()
		return 0, m.err
	}
	p = p[:min(int64(len(p)), m.left)]
	n, err := m.r.Read(p)
	m.left -= int64(n)
	m.sum = crc32.Update(m.sum, crc32.IEEETable, p[:n])
	switch {
	case err == nil || errors.Is(err, io.EOF) && m.left == 0:
		return n, nil
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		m.err = fmt.Errorf("%w: it ends after %d of %d bytes", ErrMember, m.size-m.left, m.size)
	default:
		m.err = damaged(err)
	}
	return n, m.err
}

// finish runs when all stated bytes were read.
func (m *member) finish() error {
	var one [1]byte
	n, err := io.ReadFull(m.r, one[:])
	switch {
	case n > 0:
		return fmt.Errorf("%w: it holds more than the %d bytes it states", ErrMember, m.size)
	case !errors.Is(err, io.EOF):
		return damaged(err)
	case m.sum != m.crc:
		return fmt.Errorf("%w: its checksum is %08x and should be %08x", ErrMember, m.sum, m.crc)
	}
	return io.EOF
}

// damaged tells what the inflater found wrong from a failure to read.
func damaged(err error) error {
	var corrupt flate.CorruptInputError
	if errors.As(err, &corrupt) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: %w", ErrMember, err)
	}
	return fmt.Errorf("read a zip member: %w", err)
}
