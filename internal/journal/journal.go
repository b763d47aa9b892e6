// Package journal keeps records on disk so that a crash can tear none of them: whoever appended a
// record finds it whole after a crash, or not at all.
//
// Words: a record is some bytes without a line feed. It is kept as a line with a checksum
// before it. A segment is a file of some records; new ones go to the last segment, and where a
// journal has become too large its first segments are removed. So each segment begins with a
// checkpoint, a record that has what the records before it come to. A note is a record that the next
// note replaces, for what changes all the time.
//
// What is promised:
//
//   - A record that was appended survives the death of the process, also by SIGKILL: it was handed to the kernel.
//   - It survives a loss of power from the next sync on, see [Journal.Syncer].
//   - What a crash tore at the end is cut off; a line that was damaged anywhere is left out and counted.
//   - Where a record cannot be written, nothing of it stays, and the journal can be written to again
//     when the cause is gone.
//
// Hazard: two processes must not write to one journal. [Open] refuses the second.
package journal

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

const (
	// crcLen is the checksum in hexadecimal digits and a blank.
	crcLen = 9
	// MaxRecord bounds a record, in bytes: 64 kills with the longest paths of cgroups, written as JSON, which is the most that anybody keeps here.
	MaxRecord = 8 << 20
	suffix    = ".jsonl"
	// lastNumber is more than any journal has begun; the names of those behind it would be longer.
	lastNumber = 1e15
	fileMode   = 0o640
	dirMode    = 0o750
)

// ErrLocked is matched by the error of Open where another process has the journal open.
var ErrLocked = errors.New("another process writes to it")

var table = crc32.MakeTable(crc32.Castagnoli)

// Segment is one file of a journal.
type Segment struct {
	// Number counts segments from 1; none is used again.
	Number uint64
	// Size is in bytes.
	Size int64
}

// Journal is open for writing. It is used by one goroutine at a time, but for
// [Read], [Journal.First], [Journal.Scan] and what [Journal.Syncer] returns.
type Journal struct {
	dir      string
	lock     *os.File
	segments []Segment // the last one is written to
	file     *os.File  // nil where there is none that can be written to
	// retired are the files of segments before it that are not synced, and renamed says that the directory is not.
	retired []*os.File
	renamed bool
	// note is where the last record begins, if that is a note; else -1.
	note int64
	line []byte
}

// Open opens the journal in a directory, which it makes if it must. Where it can be read but not
// written, or not even read, it is returned with the error, and can be written to when the cause is gone. Only
// with an error that matches [ErrLocked] it must not be used.
func Open(dir string) (*Journal, error) {
	j := &Journal{dir: dir, note: -1}
	made := os.MkdirAll(dir, dirMode)
	var err error
	if j.lock, err = lock(dir); err != nil {
		if made != nil {
			err = made
		}
		return j, fmt.Errorf("open the journal in %s: %w", dir, err)
	}
	if j.segments, err = list(dir); err != nil {
		j.lock.Close()
		j.lock = nil
		return j, fmt.Errorf("open the journal: %w", err)
	}
	return j, j.reopen()
}

// lock opens the directory and keeps others from opening it.
func lock(dir string) (*os.File, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		d.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = ErrLocked
		}
		return nil, err
	}
	return d, nil
}

// list returns the segments in a directory, in order.
func list(dir string) ([]Segment, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var segments []Segment
	for _, e := range entries { // in the order of their names, which have as many digits each
		n, ok := parseName(e.Name())
		if !ok {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		segments = append(segments, Segment{Number: n, Size: info.Size()})
	}
	return segments, nil
}

// Path is the file of a segment.
func Path(dir string, n uint64) string { return filepath.Join(dir, fmt.Sprintf("%016d%s", n, suffix)) }

// open opens the file of a segment, if it is one: it neither waits for the other end of a pipe nor follows a link to
// what has no end.
func open(path string, flags int) (*os.File, error) {
	f, err := os.OpenFile(path, flags|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(&fs.PathError{Op: "open", Path: path, Err: errNoFile}, err, f.Close())
	}
	return f, nil
}

var errNoFile = errors.New("it is no file, and nothing of the journal's; remove it")

func parseName(name string) (uint64, bool) {
	if len(name) != 16+len(suffix) || name[16:] != suffix {
		return 0, false
	}
	n, err := strconv.ParseUint(name[:16], 10, 64)
	return n, err == nil && n > 0 && n <= lastNumber
}

// reopen opens the last segment for writing, and cuts off what is torn at its end.
func (j *Journal) reopen() error {
	if len(j.segments) == 0 {
		return nil
	}
	s := &j.segments[len(j.segments)-1]
	s.Size = 0
	if _, err := j.Scan(Segment{Number: s.Number, Size: maxSegment}, func(_ []byte, end int64) { s.Size = end }); err != nil {
		return fmt.Errorf("read the journal: %w", err)
	}
	f, err := open(Path(j.dir, s.Number), os.O_RDWR)
	if err != nil {
		return fmt.Errorf("write to the journal: %w", err)
	}
	if err := f.Truncate(s.Size); err != nil {
		f.Close()
		return fmt.Errorf("cut off what a crash tore in the journal: %w", err)
	}
	j.file = f
	return nil
}

// Segments are the segments now, the oldest first.
func (j *Journal) Segments() []Segment { return append([]Segment(nil), j.segments...) }

// Last is the number of the last segment; 0 is none.
func (j *Journal) Last() uint64 {
	if len(j.segments) == 0 {
		return 0
	}
	return j.segments[len(j.segments)-1].Number
}

// Writable reports whether there is a segment that can be written to.
func (j *Journal) Writable() bool { return j.file != nil }

// Bytes is what all segments take.
func (j *Journal) Bytes() (n int64) {
	for _, s := range j.segments {
		n += s.Size
	}
	return n
}

// Close lets others open it. It does not sync.
func (j *Journal) Close() error {
	var errs []error
	for _, f := range append(j.retired, j.file, j.lock) {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	j.file, j.lock, j.retired = nil, nil, nil
	return errors.Join(errs...)
}
