package extract

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"stella/internal/spool"
)

// peekSize is the most that Peek can look ahead: enough for an ELF header
// with its program headers, and small enough to keep one per worker.
const peekSize = 4 << 10

// MaxSpool is the largest file, in bytes, that is spooled for random access: no
// real archive or executable comes near it, and a sparse file of a kilobyte may claim any size.
const MaxSpool = 2 << 30

// File is a file of a layer while it is being read. Read streams it; ReaderAt
// makes random access possible by spooling it. A File is used by one
// goroutine.
type File struct {
	Path string
	Size int64
	Mode fs.FileMode

	r      *bufio.Reader
	at     io.ReaderAt // set where the source itself can seek
	space  *spool.Space
	read   bool
	spools []*spool.Buffer
}

// NewFile makes a File over r, which yields the content once. If r is also an io.ReaderAt (a file of a
// directory), random access uses it and nothing is spooled.
func NewFile(h Header, r io.Reader, space *spool.Space) *File {
	f := &File{r: bufio.NewReaderSize(nil, peekSize)}
	f.Reset(h, r, space)
	return f
}

// Reset makes f a new file, keeping its buffer. What the old one spooled is released.
func (f *File) Reset(h Header, r io.Reader, space *spool.Space) {
	f.Close()
	f.Path, f.Size, f.Mode = h.Path, h.Size, h.Mode
	f.at, _ = r.(io.ReaderAt)
	f.space = space
	f.read = false
	f.r.Reset(r)
}

// Read streams the content.
func (f *File) Read(p []byte) (int, error) {
	f.read = true
	return f.r.Read(p)
}

// Peek returns the next n bytes without consuming them; fewer, with io.EOF, where the file is shorter. n
// is at most 4096.
func (f *File) Peek(n int) ([]byte, error) { return f.r.Peek(n) }

// ReaderAt gives random access to the whole content: straight from the source
// where that can seek, else by spooling it, in memory below a threshold and in an
// unlinked temporary file above. It must come before any Read; the result is valid until Extract returns.
func (f *File) ReaderAt() (io.ReaderAt, error) {
	if f.at != nil {
		return f.at, nil
	}
	if f.read {
		return nil, errors.New("random access was asked for after reading began")
	}
	if f.Size > MaxSpool {
		return nil, fmt.Errorf("the file has %d bytes, and no more than %d are copied to disk to be read in any order", f.Size, int64(MaxSpool))
	}
	b, err := f.Spool(f.r, f.Size)
	if err != nil {
		return nil, err
	}
	if b.Size() != f.Size {
		return nil, fmt.Errorf("the file ends after %d of its %d bytes: %w", b.Size(), f.Size, io.ErrUnexpectedEOF)
	}
	f.at = b
	return b, nil
}

// Spool copies r, for example a compressed member of an archive, to a buffer
// with random access that lives until Extract returns, or until the caller closes it. More than limit
// bytes is [spool.ErrLimit].
func (f *File) Spool(r io.Reader, limit int64) (*spool.Buffer, error) {
	b := f.space.New()
	f.spools = append(f.spools, b)
	if err := b.ReadAll(r, limit); err != nil {
		return nil, err
	}
	return b, nil
}

// Spooled is how many bytes were spooled for f so far, in all buffers together.
func (f *File) Spooled() int64 {
	var n int64
	for _, b := range f.spools {
		n += b.Size()
	}
	return n
}

// Close releases everything that was spooled for f.
func (f *File) Close() {
	for _, b := range f.spools {
		b.Close()
	}
	f.spools = f.spools[:0]
}
