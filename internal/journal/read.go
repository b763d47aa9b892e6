package journal

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
)

// maxSegment bounds what is read of a file in the place of a segment, in bytes.
const maxSegment = 64 << 20

// Scan calls fn with each whole record of a segment and where it ends. It returns how many lines are
// damaged: those before the last whole record. fn must not keep the record.
func (j *Journal) Scan(s Segment, fn func(record []byte, end int64)) (damaged int, err error) {
	f, err := open(Path(j.dir, s.Number), os.O_RDONLY)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, min(s.Size, maxSegment)))
	if err != nil {
		return 0, err
	}
	end, torn := int64(0), 0
	for len(b) > 0 {
		line, rest, whole := bytes.Cut(b, []byte("\n"))
		end += int64(len(b) - len(rest))
		b = rest
		record, ok := decode(line)
		if !whole || !ok {
			torn++
			continue
		}
		damaged, torn = damaged+torn, 0
		fn(record, end)
	}
	return damaged, nil
}

// First returns the first record of a segment, its checkpoint; none if that is damaged.
func (j *Journal) First(s Segment) ([]byte, error) {
	f, err := open(Path(j.dir, s.Number), os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	line, err := bufio.NewReader(io.LimitReader(f, MaxRecord+crcLen+1)).ReadBytes('\n')
	if err != nil && err != io.EOF {
		return nil, err
	}
	record, ok := decode(bytes.TrimSuffix(line, []byte("\n")))
	if !ok {
		return nil, nil
	}
	return record, nil
}

// Read calls fn with the records of a segment, the last one first, until fn returns false. It may
// run while others append: it sees what was there when Segments was called. A segment that was
// dropped since has no records. fn must not keep the record. The buffer is used if it is large enough, and returned.
func Read(dir string, s Segment, buffer []byte, fn func(record []byte) bool) ([]byte, error) {
	f, err := open(Path(dir, s.Number), os.O_RDONLY)
	if errors.Is(err, os.ErrNotExist) {
		return buffer, nil
	}
	if err != nil {
		return buffer, err
	}
	defer f.Close()
	size := min(s.Size, maxSegment)
	if int64(cap(buffer)) < size {
		buffer = make([]byte, size)
	}
	n, err := io.ReadFull(f, buffer[:size])
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && err != io.EOF {
		return buffer, err
	}
	for b := bytes.TrimSuffix(buffer[:n], []byte("\n")); len(b) > 0; {
		i := bytes.LastIndexByte(b, '\n')
		record, ok := decode(b[i+1:])
		if ok && !fn(record) {
			break
		}
		b = b[:max(i, 0)]
	}
	return buffer, nil
}
