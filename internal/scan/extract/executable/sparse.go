package executable

import (
	"errors"
	"fmt"
	"io"

	"stella/internal/scan/extract"
)

// sparse is a file without one range: its code.
type sparse struct {
	r        io.ReaderAt // the rest, spooled
	from, to int64       // what is left out
}

// errHole says that something stands in code that was taken for data.
var errHole = errors.New("in the code of the executable, which was not kept")

// spoolWithout copies f except for what stands between from and to.
func spoolWithout(f *extract.File, from, to int64) (io.ReaderAt, error) {
	b, err := f.Spool(&gapReader{f: f, from: from, skip: to - from}, f.Size)
	if err != nil {
		return nil, err
	}
	if got := b.Size() + to - from; got != f.Size {
		return nil, fmt.Errorf("the file ends after %d of its %d bytes: %w", got, f.Size, io.ErrUnexpectedEOF)
	}
	return &sparse{r: b, from: from, to: to}, nil
}

func (s *sparse) ReadAt(p []byte, off int64) (int, error) {
	if off >= s.to {
		return s.r.ReadAt(p, off-(s.to-s.from))
	}
	if off+int64(len(p)) <= s.from {
		return s.r.ReadAt(p, off)
	}
	n := 0
	if off < s.from {
		var err error
		if n, err = s.r.ReadAt(p[:s.from-off], off); err != nil {
			return n, err
		}
	}
	return n, errHole
}

// gapReader passes a file on, without the skip bytes that come after from.
type gapReader struct {
	f          *extract.File
	from, skip int64
}

func (g *gapReader) Read(p []byte) (int, error) {
	if g.from == 0 && g.skip > 0 {
		n, err := io.CopyN(io.Discard, g.f, g.skip)
		if g.skip -= n; err != nil {
			return 0, err
		}
	}
	if g.from > 0 {
		p = p[:min(int64(len(p)), g.from)]
	}
	n, err := g.f.Read(p)
	if g.from > 0 {
		g.from -= int64(n)
	}
	return n, err
}

// hole makes a sentence of an error from the code that was not kept.
func hole(err error) error {
	if errors.Is(err, errHole) {
		return fmt.Errorf("%w: its build information would be %w", errFormat, errHole)
	}
	return err
}
