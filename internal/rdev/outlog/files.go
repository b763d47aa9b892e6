package outlog

import (
	"container/list"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	// maxIdle is how many files stay open that nobody uses at the moment, so that a
	// subscriber who reads fifty times in a second does not open the file as often.
	maxIdle = 64
	// idleTime is after what time such a file is closed.
	idleTime = 10 * time.Second
)

// suffix is of the files' names.
const suffix = ".log"

// files has the open files of a store: one for each log that is written, those that are being read at the moment, and few more.
type files struct {
	dir string

	mu    sync.Mutex
	byID  map[string]*file
	idle  list.List // of *file, the longest unused first
	timer *time.Timer
}

// file is an open file, shared by all who use it.
type file struct {
	*os.File
	id    string
	users int
	spare *list.Element // its place among the idle ones, nil while it is used
	since time.Time     // of being idle
	gone  bool          // it was removed: who uses it last closes it
}

func newFiles(dir string) *files {
	f := &files{dir: dir, byID: map[string]*file{}}
	f.timer = time.AfterFunc(idleTime, f.expire)
	f.timer.Stop()
	return f
}

func (s *files) path(id string) string { return filepath.Join(s.dir, id+suffix) }

// create makes the file of a log; fs.ErrExist says that there is one.
func (s *files) create(id string) (*file, error) { return s.get(id, os.O_CREATE|os.O_EXCL) }

// open returns the file of a log; fs.ErrNotExist says that there is none. It must be released.
func (s *files) open(id string) (*file, error) { return s.get(id, 0) }

func (s *files) get(id string, flags int) (*file, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.byID[id]
	if f == nil || flags != 0 {
		opened, err := os.OpenFile(s.path(id), os.O_RDWR|flags, 0o600)
		if err != nil {
			return nil, err
		}
		f = &file{File: opened, id: id}
		s.byID[id] = f
	}
	if f.spare != nil {
		s.idle.Remove(f.spare)
		f.spare = nil
	}
	f.users++
	return f, nil
}

func (s *files) release(f *file) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.users--; f.users > 0 {
		return
	}
	if f.gone {
		f.Close()
		return
	}
	f.since = time.Now()
	f.spare = s.idle.PushBack(f)
	if s.idle.Len() > maxIdle {
		s.closeIdle(s.idle.Front())
	}
	if s.idle.Len() == 1 {
		s.timer.Reset(idleTime)
	}
}

// closeIdle closes a file that nobody uses. The caller holds mu.
func (s *files) closeIdle(e *list.Element) {
	f := s.idle.Remove(e).(*file)
	delete(s.byID, f.id)
	f.Close()
}

// expire closes what has been idle for [idleTime].
func (s *files) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for e := s.idle.Front(); e != nil; e = s.idle.Front() {
		if left := idleTime - time.Since(e.Value.(*file).since); left > 0 {
			s.timer.Reset(left)
			return
		}
		s.closeIdle(e)
	}
}

// remove removes the file of a log. Who is reading it reads on.
func (s *files) remove(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.byID[id]; f != nil {
		if f.spare != nil {
			s.closeIdle(f.spare)
		} else {
			f.gone = true
			delete(s.byID, id)
		}
	}
	return os.Remove(s.path(id))
}

// sync waits until the names of all files are on the disk.
func (s *files) sync() error {
	d, err := os.Open(s.dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// close closes what nobody uses, for good.
func (s *files) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timer.Stop()
	for s.idle.Len() > 0 {
		s.closeIdle(s.idle.Front())
	}
}

// count is how many files are open.
func (s *files) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.byID)
}
