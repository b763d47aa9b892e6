package extsort

import (
	"bufio"
	"bytes"
	"container/heap"
	"encoding/binary"
	"fmt"
	"io"
)

// A run on disk is a sequence of records: uvarint length of what the key shares with the one before,
// uvarint length of the rest of the key, uvarint length of the value, rest, value. Sorted paths share
// most of their bytes, which makes runs several times smaller.

type runWriter struct {
	s     *Sorter
	w     *bufio.Writer
	start int64
	last  []byte
}

func (s *Sorter) newRun() (*runWriter, error) {
	if err := s.open(); err != nil {
		return nil, err
	}
	w := &runWriter{s: s, start: s.end, last: s.scratch[:0]}
	w.w = bufio.NewWriterSize(io.NewOffsetWriter(s.file, s.end), runBuffer)
	return w, nil
}

func (w *runWriter) add(key, value []byte) error {
	shared := 0
	for n := min(len(key), len(w.last)); shared < n && key[shared] == w.last[shared]; {
		shared++
	}
	var head [3 * binary.MaxVarintLen32]byte
	h := binary.AppendUvarint(head[:0], uint64(shared))
	h = binary.AppendUvarint(h, uint64(len(key)-shared))
	h = binary.AppendUvarint(h, uint64(len(value)))
	w.last = append(w.last[:shared], key[shared:]...)
	for _, b := range [][]byte{h, key[shared:], value} {
		if _, err := w.w.Write(b); err != nil {
			return fmt.Errorf("sort on disk in %s: %w", w.s.dir, err)
		}
		w.s.end += int64(len(b))
	}
	return nil
}

func (w *runWriter) close() error {
	if err := w.w.Flush(); err != nil {
		return fmt.Errorf("sort on disk in %s: %w", w.s.dir, err)
	}
	w.s.scratch = w.last
	w.s.runs = append(w.s.runs, run{w.start, w.s.end - w.start})
	w.s.disk(w.s.end - w.start)
	return nil
}

type runReader struct {
	r          *bufio.Reader
	key, value []byte
}

// next reads the next record; io.EOF after the last.
func (r *runReader) next() error {
	shared, err := binary.ReadUvarint(r.r)
	if err != nil {
		return err // io.EOF at a record's start is the run's end
	}
	rest, err := binary.ReadUvarint(r.r)
	if err != nil {
		return noEOF(err)
	}
	n, err := binary.ReadUvarint(r.r)
	if err != nil {
		return noEOF(err)
	}
	if shared > uint64(len(r.key)) || rest+n > MaxRecord {
		return fmt.Errorf("sort on disk: a run is damaged")
	}
	if r.key, err = fill(r.r, r.key[:shared], int(rest)); err != nil {
		return err
	}
	r.value, err = fill(r.r, r.value[:0], int(n))
	return err
}

func fill(r *bufio.Reader, b []byte, n int) ([]byte, error) {
	at := len(b)
	if cap(b) < at+n {
		b = append(make([]byte, 0, 2*(at+n)), b...)
	}
	b = b[:at+n]
	_, err := io.ReadFull(r, b[at:])
	return b, noEOF(err)
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

type merger []*runReader

func (m merger) Len() int      { return len(m) }
func (m merger) Swap(i, j int) { m[i], m[j] = m[j], m[i] }
func (m merger) Less(i, j int) bool {
	if c := bytes.Compare(m[i].key, m[j].key); c != 0 {
		return c < 0
	}
	return bytes.Compare(m[i].value, m[j].value) < 0
}
func (m *merger) Push(x any) { *m = append(*m, x.(*runReader)) }
func (m *merger) Pop() any {
	last := (*m)[len(*m)-1]
	*m = (*m)[:len(*m)-1]
	return last
}

func (s *Sorter) merge(runs []run, fn func(key, value []byte) error) error {
	m := make(merger, 0, len(runs))
	for _, r := range runs {
		rd := &runReader{r: bufio.NewReaderSize(io.NewSectionReader(s.file, r.off, r.len), runBuffer)}
		if err := rd.next(); err != nil {
			return fmt.Errorf("sort on disk: %w", noEOF(err))
		}
		m = append(m, rd)
	}
	heap.Init(&m)
	for len(m) > 0 {
		if err := fn(m[0].key, m[0].value); err != nil {
			return err
		}
		switch err := m[0].next(); err {
		case nil:
			heap.Fix(&m, 0)
		case io.EOF:
			heap.Pop(&m)
		default:
			return fmt.Errorf("sort on disk: %w", err)
		}
	}
	return nil
}
