package stream

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// NeedError says that a layer cannot be unpacked within the memory that was
// allowed for it.
type NeedError struct {
	What string
	// Need and Allowed are bytes; Need is 0 where only "more" is known.
	Need, Allowed int64
}

func (e *NeedError) Error() string {
	if e.Need == 0 {
		return fmt.Sprintf("%s needs more than the %d MiB that are allowed", e.What, e.Allowed>>20)
	}
	return fmt.Sprintf("%s needs %d MiB, and %d MiB are allowed", e.What, (e.Need+1<<20-1)>>20, e.Allowed>>20)
}

// bufSize lets inflate take its fast path, which only a bufio.Reader has.
const bufSize = 32 << 10

// decompressor picks the reader by the first bytes.
func decompressor(head []byte, r *jointReader, window int64) (io.Reader, string, error) {
	switch c := Sniff(head); c {
	case "gzip":
		return newGunzip(r), c, nil
	case "zstd":
		// One goroutine, so that the memory is one window; the pipeline around it gives the parallelism.
		d, err := zstd.NewReader(bufio.NewReaderSize(r, bufSize), zstd.WithDecoderConcurrency(1),
			zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(uint64(max(window, 1<<10))))
		return d, c, err
	case "none":
		return r, c, nil
	default:
		return nil, c, fmt.Errorf("the layer is compressed with %s, which image specifications do not allow: rebuild it with gzip or zstd", c)
	}
}

func checkWindow(need, allowed int64) error {
	if need > allowed {
		return &NeedError{"the zstd window of this layer", need, allowed}
	}
	return nil
}

// gunzip reads the header at the first Read, in the stage that unpacks, so
// that a damaged header is an error of the stream like any other.
type gunzip struct {
	src   *bufio.Reader
	z     *gzip.Reader
	begun bool
}

// gunzips are kept: one holds some 80 KiB of tables and buffers.
var gunzips = sync.Pool{New: func() any { return &gunzip{src: bufio.NewReaderSize(nil, bufSize), z: new(gzip.Reader)} }}

func newGunzip(r io.Reader) *gunzip {
	g := gunzips.Get().(*gunzip)
	g.src.Reset(r)
	g.begun = false
	return g
}

func (g *gunzip) release() {
	g.src.Reset(nil)
	gunzips.Put(g)
}

func (g *gunzip) Read(p []byte) (int, error) {
	if !g.begun {
		if err := g.z.Reset(g.src); err != nil {
			return 0, err
		}
		g.begun = true
	}
	return g.z.Read(p)
}

func isZstd(b []byte) bool {
	if len(b) < 4 {
		return false
	}
	magic := binary.LittleEndian.Uint32(b)
	return magic == 0xFD2FB528 || magic&0xFFFFFFF0 == 0x184D2A50
}

// WindowOf is the window in bytes that the first zstd frame in head asks for; 0 where head
// holds no frame header. A frame of a single segment asks for all of its content.
func WindowOf(head []byte) int64 {
	for {
		var h zstd.Header
		rest, err := h.DecodeAndStrip(head)
		switch {
		case err != nil:
			return 0
		case h.Skippable:
			if int64(h.SkippableSize) > int64(len(rest)) {
				return 0
			}
			head = rest[h.SkippableSize:]
		case h.SingleSegment:
			return int64(min(h.FrameContentSize, 1<<62))
		default:
			return int64(min(h.WindowSize, 1<<62))
		}
	}
}

// unpackFailure words an error of a decompressor. A later frame that asks for a larger window than the first did is caught by the library.
func unpackFailure(compression string, err error, at, window int64, sourceEnded bool) error {
	switch {
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return &NeedError{What: "the zstd window of a later frame of this layer", Allowed: window}
	case errors.Is(err, io.ErrUnexpectedEOF) && sourceEnded:
		return &Corrupt{compression, at, errors.New("it ends in the middle")}
	}
	return &Corrupt{compression, at, err}
}
