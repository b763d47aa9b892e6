package tarstream

import "io"

const (
	// bufSize holds what is read through, its padding and a header, and is the step in which extended headers are read.
	bufSize = 4 << 10
	// readThrough is up to how many bytes are read together with the next header: copying them costs less than a call of Seek.
	readThrough = 2 << 10
	// maxEmptyReads is how often a Reader may give nothing before it counts as broken (as in package bufio).
	maxEmptyReads = 100
)

// source is the input. Its buffer is the only one there is; who fills it says what it holds.
type source struct {
	r    io.Reader
	seek io.Seeker // nil where skipping means reading
	base int64     // what Seek said at the start
	off  int64
	buf  [bufSize]byte
}

// newSource asks a Seeker whether it can: os.Stdin is one and cannot.
func newSource(r io.Reader) source {
	s := source{r: r}
	if k, ok := r.(io.Seeker); ok {
		if pos, err := k.Seek(0, io.SeekCurrent); err == nil && pos >= 0 {
			s.seek, s.base = k, pos
		}
	}
	return s
}

// fill reads until p is full: err is nil only then, and io.EOF at the end of the input.
func (s *source) fill(p []byte) (n int, err error) {
	for empty := 0; n < len(p) && err == nil; {
		var k int
		k, err = s.r.Read(p[n:])
		n += k
		if k > 0 {
			empty = 0
		} else if empty++; empty == maxEmptyReads && err == nil {
			err = io.ErrNoProgress
		}
	}
	s.off += int64(n)
	if n == len(p) {
		err = nil
	}
	return n, err
}

// must is fill where the input cannot end.
func (s *source) must(p []byte) error {
	_, err := s.fill(p)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// skipLong skips *n bytes but for a last piece that fits into the buffer with a
// block and its padding, and leaves in *n how long that is. The last byte is
// never skipped: a Seeker goes beyond the end without a word, and only reading shows that the archive is cut.
func (s *source) skipLong(n *int64) error {
	if *n <= readThrough {
		return nil
	}
	if s.seek != nil {
		pos, err := s.seek.Seek(*n-1, io.SeekCurrent)
		if err != nil {
			return err
		}
		s.off = pos - s.base
		*n = 1
		return nil
	}
	for *n > readThrough {
		step := min(*n-1, bufSize)
		if err := s.must(s.buf[:step]); err != nil {
			return err
		}
		*n -= step
	}
	return nil
}

// payload is the content of an extended header, read in pieces.
type payload struct {
	src  *source
	rest int64  // not read from the input yet
	win  []byte // in the source's buffer
}

func (p *payload) left() int64 { return p.rest + int64(len(p.win)) }

// next gives one byte. It must not be called where nothing is left.
func (p *payload) next() (byte, error) {
	if len(p.win) == 0 {
		if err := p.fill(); err != nil {
			return 0, err
		}
	}
	c := p.win[0]
	p.win = p.win[1:]
	return c, nil
}

func (p *payload) fill() error {
	win := p.src.buf[:min(p.rest, bufSize)]
	if err := p.src.must(win); err != nil {
		return err
	}
	p.win = win
	p.rest -= int64(len(win))
	return nil
}

// skip needs n <= left().
func (p *payload) skip(n int64) error {
	if n <= int64(len(p.win)) {
		p.win = p.win[n:]
		return nil
	}
	n -= int64(len(p.win))
	p.win = nil
	p.rest -= n
	if err := p.src.skipLong(&n); err != nil {
		return err
	}
	return p.src.must(p.src.buf[:n])
}

// appendTo needs n <= left().
func (p *payload) appendTo(dst []byte, n int) ([]byte, error) {
	for n > 0 {
		if len(p.win) == 0 {
			if err := p.fill(); err != nil {
				return dst, err
			}
		}
		k := min(n, len(p.win))
		dst = append(dst, p.win[:k]...)
		p.win = p.win[k:]
		n -= k
	}
	return dst, nil
}
