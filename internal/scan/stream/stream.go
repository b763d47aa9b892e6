// Package stream turns the stored bytes of a layer into the bytes of its tar,
// and proves that the stored bytes are the ones that were promised.
//
// Three stages run at the same time, joined by a few fixed buffers: reading
// and hashing, decompressing, and whatever the caller does with the result.
// A layer that holds most of an image is thereby read faster than one core could.
//
// The digest is known only after the last byte: until [Stream.Verify] returns nil, what was read
// is unproven.
package stream

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
	"sync"
)

const (
	// chunkSize is the size of one buffer between two stages. Large enough
	// that handing it over costs nothing beside the work on it.
	chunkSize = 128 << 10
	// chunks is how many buffers each joint has: one on either side, one waiting.
	chunks = 3
	// BaseMemory is what a stream holds beside the decompressor's window: two
	// joints, and klauspost's inflate state with its input buffer.
	BaseMemory = 2*chunks*chunkSize + 128<<10

	// A layer that unpacks to more than bombRatio times its stored size, once it is beyond bombFloor, is
	// taken for a decompression bomb. Deflate cannot exceed 1032:1; zstd can, but only for content
	// that is one repeated block.
	bombRatio = 4096
	bombFloor = 4 << 30
)

// ErrDigest says that a layer's bytes are not the promised ones.
var ErrDigest = errors.New("digest mismatch")

// ErrBomb says that a layer unpacks to far more than any real one does.
var ErrBomb = errors.New("decompression bomb")

// Corrupt wraps an error of the decompressor: the stored bytes are not a valid stream.
type Corrupt struct {
	Compression string
	Offset      int64 // bytes of the unpacked stream before the damage
	Err         error
}

func (e *Corrupt) Error() string {
	return fmt.Sprintf("the %s stream is damaged after %d unpacked bytes: %v", e.Compression, e.Offset, e.Err)
}
func (e *Corrupt) Unwrap() error { return e.Err }

// Options says what is promised of a layer.
type Options struct {
	// Digest is "sha256:<hex>" or "sha512:<hex>", over the stored bytes. Empty: nothing is promised.
	Digest string
	// Unpacked says that Digest is over the unpacked bytes instead (docker-archive).
	Unpacked bool
	// Window is the largest decompressor window that may be allocated, in bytes.
	Window int64
	// Reserve, where set, is asked before the decompressor is made; it waits until that many bytes may be used, or says why not. They are in use until Close returns.
	Reserve func(ctx context.Context, bytes int64) error
	// OnRead, where set, is told of stored bytes as they are read.
	OnRead func(n int)

	bombFloor int64 // smaller in tests
}

// Stream is the unpacked layer. Read and Seek are for one goroutine.
type Stream struct {
	cancel context.CancelFunc
	stored *joint
	plain  *joint
	src    io.ReadCloser
	// unpacker is kept for its release.
	unpacker io.Reader

	compression string
	expected    string
	sum         hash.Hash
	unpacked    bool
	window      int64
	bombFloor   int64
	read        int64 // stored bytes, owned by the first stage

	cur  []byte // unread rest of the current chunk
	full []byte // the chunk that cur is part of
	pos  int64
	err  error
	done chan struct{} // closed when both stages have ended
	once sync.Once
}

// Open starts the stages on src, which it closes. ctx ends them.
func Open(ctx context.Context, src io.ReadCloser, o Options) (*Stream, error) {
	s := &Stream{src: src, unpacked: o.Unpacked, window: o.Window, bombFloor: cmp.Or(o.bombFloor, bombFloor), done: make(chan struct{})}
	if o.Digest != "" {
		algorithm, want, _ := strings.Cut(o.Digest, ":")
		switch algorithm {
		case "sha256":
			s.sum = sha256.New()
		case "sha512":
			s.sum = sha512.New()
		default:
			src.Close()
			return nil, fmt.Errorf("digest %q: only sha256 and sha512 can be verified", o.Digest)
		}
		s.expected = want
	}
	ctx, s.cancel = context.WithCancel(ctx)
	s.stored, s.plain = newJoint(), newJoint()
	first := make(chan struct{})
	go func() { defer close(first); s.readStage(ctx, o.OnRead) }()

	head, err := s.stored.peek()
	if err == nil {
		err = checkWindow(WindowOf(head), o.Window)
	}
	if err == nil && o.Reserve != nil {
		err = o.Reserve(ctx, WindowOf(head))
	}
	if err == nil {
		var d io.Reader
		if d, s.compression, err = decompressor(head, &jointReader{j: s.stored}, o.Window); err == nil {
			go func() { defer close(s.done); s.unpackStage(ctx, d); <-first }()
			s.unpacker = d
			return s, nil
		}
	}
	s.cancel()
	src.Close()
	<-first
	s.stored.release()
	s.plain.release()
	return nil, err
}

// Compression is what the layer is stored as: "gzip", "zstd" or "none".
func (s *Stream) Compression() string { return s.compression }

// Offset is how many unpacked bytes were read.
func (s *Stream) Offset() int64 { return s.pos }

func (s *Stream) readStage(ctx context.Context, onRead func(int)) {
	for {
		buf, err := s.stored.free(ctx)
		if err != nil {
			s.stored.finish(err)
			return
		}
		n, err := fill(s.src, buf)
		if n > 0 {
			if s.sum != nil && !s.unpacked {
				s.sum.Write(buf[:n])
			}
			s.read += int64(n)
			if onRead != nil {
				onRead(n)
			}
			s.stored.put(buf[:n])
		}
		if err != nil {
			s.stored.finish(err)
			return
		}
	}
}

// fill is io.ReadFull, but it does not rename the error after the last bytes.
func fill(r io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var k int
		k, err = r.Read(buf[n:])
		n += k
	}
	return n, err
}

func (s *Stream) unpackStage(ctx context.Context, d io.Reader) {
	var total int64
	for {
		buf, err := s.plain.free(ctx)
		if err != nil {
			s.plain.finish(err)
			return
		}
		n, err := fill(d, buf)
		if n > 0 {
			if s.sum != nil && s.unpacked {
				s.sum.Write(buf[:n])
			}
			total += int64(n)
			s.plain.put(buf[:n])
		}
		if err == nil && total > s.bombFloor && total/bombRatio > s.stored.total.Load() {
			err = fmt.Errorf("%w: %d bytes unpack to more than %d", ErrBomb, s.stored.total.Load(), total)
		}
		if err != nil {
			s.plain.finish(s.unpackError(err, total))
			return
		}
	}
}

// unpackError tells damage from the errors of the source and of the caller.
func (s *Stream) unpackError(err error, at int64) error {
	if err == io.EOF || errors.Is(err, ErrBomb) {
		return err
	}
	if src := s.stored.failure(); src != nil && src != io.EOF {
		return src
	}
	return unpackFailure(s.compression, err, at, s.window, s.stored.failure() == io.EOF)
}

// Read gives unpacked bytes.
func (s *Stream) Read(p []byte) (int, error) {
	if err := s.next(); err != nil {
		return 0, err
	}
	n := copy(p, s.cur)
	s.cur = s.cur[n:]
	s.pos += int64(n)
	return n, nil
}

// next makes sure that cur is not empty.
func (s *Stream) next() error {
	for len(s.cur) == 0 {
		if s.err != nil {
			return s.err
		}
		if s.full != nil {
			s.plain.recycle(s.full)
			s.full = nil
		}
		s.full, s.err = s.plain.take()
		s.cur = s.full
	}
	return nil
}

// Stored is how many stored bytes there were. It is known after Verify.
func (s *Stream) Stored() int64 { return s.read }

// Err is why the stream ended early: nil before that, and at a good end.
func (s *Stream) Err() error {
	if s.err == io.EOF {
		return nil
	}
	return s.err
}

// Seek moves forward only, relative to the current position; it is how
// archive/tar skips content without copying it.
func (s *Stream) Seek(offset int64, whence int) (int64, error) {
	if whence != io.SeekCurrent || offset < 0 {
		return 0, errors.New("stream: can only skip forward")
	}
	for offset > 0 {
		if err := s.next(); err != nil {
			if err == io.EOF {
				break // the next Read reports it
			}
			return s.pos, err
		}
		n := int(min(offset, int64(len(s.cur))))
		s.cur = s.cur[n:]
		s.pos += int64(n)
		offset -= int64(n)
	}
	return s.pos, nil
}

// Verify reads to the end of the stored bytes, whatever follows the tar in
// them, and compares the digest; only then does it return an error of the
// stream itself. So the caller can tell a layer that was built damaged from one that was changed
// ([ErrDigest]). A digest over the unpacked bytes cannot be compared when they are damaged.
func (s *Stream) Verify() error {
	for s.next() == nil {
		s.pos += int64(len(s.cur))
		s.cur = nil
	}
	damage := s.err
	if damage == io.EOF {
		damage = nil
	}
	if damage != nil && s.unpacked {
		return damage
	}
	for { // what the decompressor did not consume
		buf, err := s.stored.take()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		s.stored.recycle(buf)
	}
	if s.sum == nil {
		return damage
	}
	if got := hex.EncodeToString(s.sum.Sum(nil)); got != s.expected {
		return fmt.Errorf("%w: the manifest promises %s, the bytes (%d) are %s", ErrDigest, short(s.expected), s.read, short(got))
	}
	return damage
}

func short(hex string) string { return hex[:min(len(hex), 16)] + "…" }

// Close ends the stages and waits for them. It may be called again; nothing else may come after it.
func (s *Stream) Close() error {
	s.cancel()
	err := s.src.Close()
	<-s.done
	s.once.Do(func() {
		s.err, s.cur = io.ErrClosedPipe, nil
		if g, ok := s.unpacker.(*gunzip); ok {
			g.release()
		}
		s.stored.release()
		s.plain.release()
	})
	return err
}

// Sniff says how bytes are compressed, from the first of them: the media type is
// a claim that tools get wrong. Compressions that no image specification has are named too.
func Sniff(head []byte) string {
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return "gzip"
	case isZstd(head):
		return "zstd"
	case bytes.HasPrefix(head, []byte("BZh")) && len(head) > 4 && head[4] == 0x31:
		return "bzip2"
	case bytes.HasPrefix(head, []byte{0xfd, '7', 'z', 'X', 'Z', 0}):
		return "xz"
	}
	return "none"
}
