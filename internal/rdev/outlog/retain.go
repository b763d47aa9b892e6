package outlog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
)

// listed is how many entries of the directory are read at once.
const listed = 1024

// list finds what an earlier process left, and puts it in order.
func (s *Store) list(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	var all []past
	for {
		names, err := d.Readdirnames(listed)
		for _, name := range names {
			id, ok := strings.CutSuffix(name, suffix)
			if !ok || checkID(id) != nil {
				continue
			}
			p, err := s.look(id)
			if err != nil {
				return err
			}
			all = append(all, p)
		}
		if err != nil {
			break // io.EOF
		}
	}
	slices.SortFunc(all, func(a, b past) int { return a.ended.Compare(b.ended) })
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range all {
		s.push(p)
	}
	return s.makeRoom(0)
}

// look finds when a log ended. One without an end counts as if it had ended when it was written last.
func (s *Store) look(id string) (past, error) {
	f, err := os.Open(s.files.path(id))
	if err != nil {
		return past{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return past{}, err
	}
	p := past{id: id, size: info.Size(), ended: info.ModTime()}
	var page endPage
	if readPage(f, endAt, endSize, &page) == nil {
		p.ended = page.Time
	}
	return p, nil
}

// push adds a log as the last that ended. The caller holds mu.
func (s *Store) push(p past) {
	s.byID[p.id] = s.ended.PushBack(&p)
	s.bytes += p.size
}

// reserve takes space for a log that begins.
func (s *Store) reserve(size int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.makeRoom(size); err != nil {
		return err
	}
	s.bytes += size
	s.writing++
	return nil
}

// makeRoom makes room for size bytes, by removing logs that ended first. The caller holds mu.
func (s *Store) makeRoom(size int64) error {
	for s.bytes+size > s.maxBytes || s.ended.Len()+s.writing >= maxLogs {
		if s.ended.Len() == 0 {
			return fmt.Errorf("%w: %d logs that are being written have reserved %d of %d bytes", ErrNoRoom, s.writing, s.bytes, s.maxBytes)
		}
		s.forRoom++
		if err := s.pop(); err != nil {
			return err
		}
	}
	return nil
}

// pop removes the log that ended first. The caller holds mu.
func (s *Store) pop() error {
	e := s.ended.Front()
	p := s.ended.Remove(e).(*past)
	delete(s.byID, p.id)
	delete(s.shared, p.id)
	s.bytes -= p.size
	if err := s.files.remove(p.id); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove an old log: %w", err)
	}
	return nil
}

// age removes what is too old, and comes again when the next one will be.
func (s *Store) age() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.closed && s.ended.Len() > 0 {
		if left := s.maxAge - time.Since(s.ended.Front().Value.(*past).ended); left > 0 {
			s.timer.Reset(left)
			return
		}
		s.forAge++
		if err := s.pop(); err != nil {
			s.log.Error("cannot remove an old log", "error", err)
		}
	}
}

// hasEnded takes a log that has its end now among those that may be removed, with what it really takes.
func (s *Store) hasEnded(l *Log) {
	p := past{id: l.id, ended: time.Now(), size: l.size()}
	if info, err := os.Stat(s.files.path(l.id)); err == nil {
		p.size = info.Size()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.shared, l.id)
	e := s.byID[l.id]
	switch {
	case l.w != nil:
		s.bytes -= l.size()
		s.writing--
	case e != nil: // it was left by an earlier process
		s.bytes -= s.ended.Remove(e).(*past).size
	default:
		return // and was removed
	}
	s.push(p)
	if s.ended.Len() == 1 && !s.closed {
		s.timer.Reset(s.maxAge)
	}
}
