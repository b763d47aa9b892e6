package outlog

import (
	"container/list"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// What a store keeps where nothing else is asked for.
const (
	DefaultMaxBytes = 10 << 30
	DefaultMaxAge   = 7 * 24 * time.Hour
)

// maxLogs is how many logs are kept; about 200 bytes are known of each.
const maxLogs = 20_000

// maxID is the most bytes of a log's name.
const maxID = 128

// Options are how a store is opened.
type Options struct {
	// MaxBytes is the most that all logs take on the disk; 0 is [DefaultMaxBytes]. A log that is being written
	// counts with its limit, whatever it has yet, so that the disk can never hold more.
	MaxBytes int64
	// MaxAge is how long a log is kept after its end; 0 is [DefaultMaxAge].
	MaxAge time.Duration
	Log    *slog.Logger
}

// Stats are counts of a store, for metrics. The first group is of now, the others since it was opened.
type Stats struct {
	Logs    int   // that have ended
	Writing int   // that are being written
	Bytes   int64 // on the disk, with what those that are being written may take
	Files   int   // open

	RemovedForAge   int64
	RemovedForSpace int64
	LostRecords     int64 // that could not be written
	Truncated       int64 // logs that had more than is kept of one
}

// Store has all logs of one directory.
type Store struct {
	maxBytes int64
	maxAge   time.Duration
	log      *slog.Logger
	files    *files
	buffers  sync.Pool // of *[]byte, a block long
	stats    struct{ lost, truncated atomic.Int64 }

	mu      sync.Mutex
	shared  map[string]*Log          // that have not ended
	ended   list.List                // of *past, in the order of their ends
	byID    map[string]*list.Element // of ended
	writing int                      // logs
	bytes   int64
	forAge  int64
	forRoom int64
	timer   *time.Timer // for the oldest log's age
	closed  bool
}

// past is a log that is not written any more.
type past struct {
	id    string
	size  int64
	ended time.Time
}

// Open opens the logs in a directory, which it makes if it is not there. Two processes must not have the same one.
func Open(dir string, o Options) (*Store, error) {
	s := &Store{maxBytes: o.MaxBytes, maxAge: o.MaxAge, log: o.Log, shared: map[string]*Log{}, byID: map[string]*list.Element{}}
	if s.maxBytes == 0 {
		s.maxBytes = DefaultMaxBytes
	}
	if s.maxAge == 0 {
		s.maxAge = DefaultMaxAge
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.buffers.New = func() any { b := make([]byte, blockSize); return &b }
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open the logs of commands: %w", err)
	}
	s.files = newFiles(dir)
	s.timer = time.AfterFunc(time.Hour, s.age)
	if err := s.list(dir); err != nil {
		return nil, fmt.Errorf("open the logs of commands: %w", err)
	}
	s.age()
	return s, nil
}

// Create begins a log. An id is of letters, digits, dots, dashes and underscores. It is fs.ErrExist if there
// is one of this id, and [ErrNoRoom] if logs that are being written have reserved the space; logs that have ended give way.
func (s *Store) Create(id string, limits Limits) (*Log, error) {
	l, err := s.create(id, limits.layout())
	if err != nil {
		return nil, fmt.Errorf("begin the log of %s: %w", id, err)
	}
	return l, nil
}

func (s *Store) create(id string, y layout) (*Log, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	if err := s.reserve(y.size()); err != nil {
		return nil, err
	}
	f, err := s.files.create(id)
	if err == nil {
		// The page for the end is written too, so that a full disk has room for it.
		if err = writePage(f, 0, blocksAt, meta{Version: version, layout: y}); err != nil {
			s.files.release(f)
			err = errors.Join(err, s.files.remove(id))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.bytes -= y.size()
		s.writing--
		return nil, err
	}
	l := &Log{id: id, store: s, layout: y}
	l.w = &writer{log: l, file: f}
	l.w.timer = time.AfterFunc(time.Hour, l.w.tick)
	l.w.timer.Stop()
	s.shared[id] = l
	return l, nil
}

// checkID keeps names from leaving the directory.
func checkID(id string) error {
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_"
	if id == "" || len(id) > maxID || id[0] == '.' || strings.Trim(id, allowed) != "" {
		return fmt.Errorf("%w: not a name of a log: %.150q", fs.ErrInvalid, id)
	}
	return nil
}

// Log returns a log to be read; fs.ErrNotExist says that there is none, or not any more. One that an earlier
// process left without an end has all whole records that are in its file, and can be given its end.
func (s *Store) Log(id string) (*Log, error) {
	if err := checkID(id); err != nil {
		return nil, fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	s.mu.Lock()
	l := s.shared[id]
	s.mu.Unlock()
	if l != nil {
		return l, nil
	}
	l, err := s.load(id)
	if err == nil && l.end == nil {
		l, err = s.share(l)
	}
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", id, err)
	}
	return l, nil
}

// Has reports whether there is a log, without looking at the disk.
func (s *Store) Has(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shared[id] != nil || s.byID[id] != nil
}

// share makes a log that has no end the one that all get, who can give it an end.
func (s *Store) share(l *Log) (*Log, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if other := s.shared[l.id]; other != nil {
		return other, nil
	}
	f, err := s.files.open(l.id)
	if err != nil {
		return nil, err
	}
	defer s.files.release(f)
	ended, err := l.loadEnd(f) // it may have got it since it was loaded
	if err == nil && !ended {
		s.shared[l.id] = l
	}
	return l, err
}

// Stats counts.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Stats{
		Logs: s.ended.Len(), Writing: s.writing, Bytes: s.bytes, Files: s.files.count(),
		RemovedForAge: s.forAge, RemovedForSpace: s.forRoom, LostRecords: s.stats.lost.Load(), Truncated: s.stats.truncated.Load(),
	}
}

// Close writes what there is of logs that have not ended, which take no more, and closes all files. Logs keep
// having no end until the next process gives them one.
func (s *Store) Close() error {
	s.mu.Lock()
	s.closed = true
	s.timer.Stop()
	var writers []*writer
	for _, l := range s.shared {
		if l.w != nil {
			writers = append(writers, l.w)
		}
	}
	s.mu.Unlock()
	for _, w := range writers {
		w.finish()
	}
	s.files.close()
	return nil
}
