package stream

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
)

// joint hands chunks from one stage to the next and takes the empty ones
// back. All its memory is allocated once.
type joint struct {
	ready chan []byte
	empty chan []byte
	total atomic.Int64

	ended chan struct{} // closed by finish
	err   error         // set before ended is closed

	peeked []byte
	arena  *[chunks * chunkSize]byte
}

// arenas are the chunks of joints that are no longer used: an image of a
// thousand layers must not allocate a thousand times.
var arenas = sync.Pool{New: func() any { return new([chunks * chunkSize]byte) }}

func newJoint() *joint {
	j := &joint{ready: make(chan []byte, chunks), empty: make(chan []byte, chunks), ended: make(chan struct{})}
	j.arena = arenas.Get().(*[chunks * chunkSize]byte)
	for i := range chunks {
		j.empty <- j.arena[i*chunkSize : (i+1)*chunkSize : (i+1)*chunkSize]
	}
	return j
}

// release gives the chunks to the next joint. Nobody may use this one any more.
func (j *joint) release() {
	arenas.Put(j.arena)
	j.arena = nil
}

// free waits for an empty chunk.
func (j *joint) free(ctx context.Context) ([]byte, error) {
	select {
	case b := <-j.empty:
		return b[:chunkSize], nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// put never blocks: there are no more chunks than places.
func (j *joint) put(b []byte) {
	j.total.Add(int64(len(b)))
	j.ready <- b
}

func (j *joint) recycle(b []byte) { j.empty <- b[:chunkSize] }

// finish says that no more chunks come, and why; io.EOF is the good end.
func (j *joint) finish(err error) {
	j.err = err
	close(j.ended)
}

// failure is the error given to finish, nil before that.
func (j *joint) failure() error {
	select {
	case <-j.ended:
		return j.err
	default:
		return nil
	}
}

// take waits for the next chunk, and gives finish's error after the last.
func (j *joint) take() ([]byte, error) {
	if b := j.peeked; b != nil {
		j.peeked = nil
		return b, nil
	}
	select {
	case b := <-j.ready:
		return b, nil
	case <-j.ended:
	}
	select { // what was put before finish
	case b := <-j.ready:
		return b, nil
	default:
		return nil, j.err
	}
}

// peek returns the first chunk without taking it; empty at the end of an empty source.
func (j *joint) peek() ([]byte, error) {
	b, err := j.take()
	if err == io.EOF {
		return nil, nil
	}
	j.peeked = b
	return b, err
}

// jointReader is the reading side as an io.Reader and io.ByteReader, which is
// what keeps the decompressors from buffering once more.
type jointReader struct {
	j   *joint
	cur []byte
	buf []byte
	err error
}

func (r *jointReader) next() error {
	for len(r.cur) == 0 {
		if r.err != nil {
			return r.err
		}
		if r.buf != nil {
			r.j.recycle(r.buf)
			r.buf = nil
		}
		r.buf, r.err = r.j.take()
		r.cur = r.buf
	}
	return nil
}

func (r *jointReader) Read(p []byte) (int, error) {
	if err := r.next(); err != nil {
		return 0, err
	}
	n := copy(p, r.cur)
	r.cur = r.cur[n:]
	return n, nil
}

func (r *jointReader) ReadByte() (byte, error) {
	if err := r.next(); err != nil {
		return 0, err
	}
	b := r.cur[0]
	r.cur = r.cur[1:]
	return b, nil
}
