package archive

import (
	"errors"
	"io"
)

// windowSize is how much is read at once while headers are read, in bytes. Small
// members then cost no system call each; for large ones it is no more than one page-in.
const windowSize = 32 << 10

// window reads a file in order, through a buffer that survives seeking, which
// bufio.Reader's does not: archive/tar seeks over every member.
type window struct {
	r     io.ReaderAt
	size  int64
	pos   int64
	start int64 // of buf in the file
	buf   []byte
}

func newWindow(r io.ReaderAt, size int64) *window {
	return &window{r: r, size: size, buf: make([]byte, 0, windowSize)}
}

// Read implements io.Reader.
func (w *window) Read(p []byte) (int, error) {
	if w.pos >= w.size {
		return 0, io.EOF
	}
	if w.pos < w.start || w.pos >= w.start+int64(len(w.buf)) {
		n, err := w.r.ReadAt(w.buf[:min(windowSize, w.size-w.pos)], w.pos)
		if n == 0 {
			w.buf = w.buf[:0]
			return 0, err
		}
		w.start, w.buf = w.pos, w.buf[:n]
	}
	n := copy(p, w.buf[w.pos-w.start:])
	w.pos += int64(n)
	return n, nil
}

// Seek implements io.Seeker, but not from the end, which nobody needs here.
func (w *window) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += w.pos
	default:
		return 0, errors.ErrUnsupported
	}
	if offset < 0 {
		return 0, errors.New("seek before the start")
	}
	w.pos = offset
	return offset, nil
}
