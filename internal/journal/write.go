package journal

import (
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"strconv"
)

// errNoSegment says that there is nothing to append to yet.
var errNoSegment = errors.New("the journal has no segment that can be written to")

// Append adds a record at the end. Its error leaves the journal as it was.
func (j *Journal) Append(record []byte) error { return j.append(record, false) }

// Note adds a record in the place of the last one, if that was a note.
func (j *Journal) Note(record []byte) error { return j.append(record, true) }

func (j *Journal) append(record []byte, note bool) error {
	if j.file == nil {
		return errNoSegment
	}
	if len(record) > MaxRecord {
		return fmt.Errorf("a record of %d bytes is too long for the journal", len(record))
	}
	s := &j.segments[len(j.segments)-1]
	at := s.Size
	if note && j.note >= 0 {
		at = j.note
	}
	j.line = encode(j.line[:0], record)
	end := at + int64(len(j.line))
	if _, err := j.file.WriteAt(j.line, at); err != nil {
		// What was written of it goes away again; where even that fails, it is overwritten or left out.
		err = errors.Join(err, j.file.Truncate(at))
		s.Size = at
		return fmt.Errorf("write to the journal: %w", err)
	}
	if end < s.Size {
		if err := j.file.Truncate(end); err != nil {
			return fmt.Errorf("shorten the journal: %w", err)
		}
	}
	s.Size, j.note = end, -1
	if note {
		j.note = at
	}
	return nil
}

// encode appends the line of a record.
func encode(line, record []byte) []byte {
	const digits = "0123456789abcdef"
	sum := crc32.Checksum(record, table)
	for shift := 28; shift >= 0; shift -= 4 {
		line = append(line, digits[sum>>shift&15])
	}
	line = append(line, ' ')
	line = append(line, record...)
	return append(line, '\n')
}

// decode returns the record of a line without its end, and whether it is whole.
func decode(line []byte) ([]byte, bool) {
	if len(line) < crcLen || line[crcLen-1] != ' ' {
		return nil, false
	}
	sum, err := strconv.ParseUint(string(line[:crcLen-1]), 16, 32)
	record := line[crcLen:]
	return record, err == nil && uint32(sum) == crc32.Checksum(record, table)
}

// Begin starts a new segment with a checkpoint and some records: all of them are there or none.
func (j *Journal) Begin(checkpoint []byte, records ...[]byte) error {
	if j.lock == nil {
		if err := j.lockLate(); err != nil {
			return err
		}
	}
	n := uint64(1)
	if len(j.segments) > 0 {
		n = j.segments[len(j.segments)-1].Number + 1
	}
	lines := encode(nil, checkpoint)
	for _, r := range records {
		lines = encode(lines, r)
	}
	f, err := create(Path(j.dir, n), lines)
	if err != nil {
		return fmt.Errorf("begin a segment of the journal: %w", err)
	}
	if j.file != nil {
		j.retired = append(j.retired, j.file)
	}
	j.file, j.note, j.renamed = f, -1, true
	j.segments = append(j.segments, Segment{Number: n, Size: int64(len(lines))})
	return nil
}

// lockLate opens a directory that could not be opened before. One that has segments now was another's all the time.
func (j *Journal) lockLate() (err error) {
	if err := os.MkdirAll(j.dir, dirMode); err != nil {
		return err
	}
	if j.lock, err = lock(j.dir); err != nil {
		return fmt.Errorf("open the journal in %s: %w", j.dir, err)
	}
	others, err := list(j.dir)
	if err == nil && len(others) > 0 {
		err = fmt.Errorf("%s has a journal that could not be read at the start; start again to go on with it", j.dir)
	}
	if err != nil {
		j.lock.Close()
		j.lock = nil
	}
	return err
}

// create makes a file with some content under its name at once.
func create(path string, content []byte) (*os.File, error) {
	temporary := path + ".new"
	f, err := os.OpenFile(temporary, os.O_RDWR|os.O_CREATE|os.O_TRUNC, fileMode)
	if err != nil {
		return nil, err
	}
	if _, err = f.WriteAt(content, 0); err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		f.Close()
		return nil, errors.Join(err, os.Remove(temporary))
	}
	return f, nil
}

// Syncer returns what waits until all that was appended so far is on disk for good. It may run while others
// append, but not close the journal.
func (j *Journal) Syncer() func() error {
	retired, current, lock, renamed := j.retired, j.file, j.lock, j.renamed
	j.retired, j.renamed = nil, false
	return func() error {
		var errs []error
		for _, f := range retired {
			errs = append(errs, f.Sync(), f.Close())
		}
		if current != nil {
			errs = append(errs, current.Sync())
		}
		if renamed {
			_ = lock.Sync() // the directory; not every file system has it, and it only comes a moment later
		}
		if err := errors.Join(errs...); err != nil {
			return fmt.Errorf("write the journal to disk: %w", err)
		}
		return nil
	}
}

// Drop removes the oldest segments as long as drop says so, which is told how much all take. The last one stays.
func (j *Journal) Drop(drop func(oldest Segment, bytes int64) bool) error {
	for len(j.segments) > 1 && drop(j.segments[0], j.Bytes()) {
		oldest := j.segments[0]
		j.segments = j.segments[1:]
		if err := os.Remove(Path(j.dir, oldest.Number)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove the oldest segment of the journal: %w", err)
		}
	}
	return nil
}
