package files

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"os"
	"slices"

	"stella/internal/incident"
)

// Append keeps events of one incident, all or none, and returns how many of them are new. The first one of an incident opens it; the error of any other matches
// [ErrNotFound] where there is none.
func (s *Store) Append(batch ...incident.Event) (news int, err error) {
	if len(batch) == 0 {
		return 0, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	id := batch[0].Incident
	e, err := s.entry(id, batch)
	if err != nil {
		return 0, fmt.Errorf("incident %s: %w", id, err)
	}
	if batch, err = s.unknown(e, batch); err != nil || len(batch) == 0 {
		return 0, err
	}
	text, err := encode(batch)
	if err != nil {
		return 0, fmt.Errorf("incident %s: %w", id, err)
	}
	if err := s.room(e, batch, len(text)); err != nil {
		return 0, fmt.Errorf("incident %s: %w", id, err)
	}
	if err := s.write(e, text); err != nil {
		return 0, fmt.Errorf("write incident %s: %w", id, err)
	}
	s.all[id] = e
	s.fold(e, batch)
	for i := range batch {
		e.ids[s.hash(batch[i].ID)] = struct{}{}
		told := batch[i]
		told.Data = nil
		s.events.Add(told)
	}
	s.makeRoom(id)
	return len(batch), nil
}

// entry is the incident that a batch is of.
func (s *Store) entry(id string, batch []incident.Event) (*entry, error) {
	if slices.ContainsFunc(batch, func(e incident.Event) bool { return e.Incident != id }) {
		return nil, errors.New("a batch is of one incident")
	}
	if e := s.all[id]; e != nil {
		return e, nil
	}
	if !incident.ValidID(id) || !slices.ContainsFunc(batch, func(e incident.Event) bool { return e.Kind == incident.Opened }) {
		return nil, ErrNotFound
	}
	return &entry{Incident: incident.Incident{ID: id}}, nil
}

// unknown leaves the events that the incident does not have, each once.
func (s *Store) unknown(e *entry, batch []incident.Event) ([]incident.Event, error) {
	if err := s.loadIDs(e); err != nil {
		return nil, err
	}
	var news []incident.Event
	for _, event := range batch {
		_, known := e.ids[s.hash(event.ID)]
		if !known && !slices.ContainsFunc(news, func(other incident.Event) bool { return other.ID == event.ID }) {
			news = append(news, event)
		}
	}
	return news, nil
}

func (s *Store) hash(id string) uint64 { return maphash.String(s.seed, id) }

// loadIDs makes the IDs of an incident's events be at hand.
func (s *Store) loadIDs(e *entry) error {
	if e.ids == nil {
		ids := map[uint64]struct{}{}
		if e.size > 0 {
			events, _, err := s.read(e.ID)
			if err != nil {
				return fmt.Errorf("read incident %s: %w", e.ID, err)
			}
			for i := range events {
				ids[s.hash(events[i].ID)] = struct{}{}
			}
		}
		e.ids = ids
	} else {
		s.loaded = slices.DeleteFunc(s.loaded, func(other *entry) bool { return other == e })
	}
	s.loaded = append(s.loaded, e)
	count := 0
	for _, other := range s.loaded {
		count += len(other.ids)
	}
	for count > maxIDs && len(s.loaded) > 1 {
		count -= len(s.loaded[0].ids)
		s.unload(s.loaded[0])
	}
	return nil
}

func (s *Store) unload(e *entry) {
	e.ids = nil
	s.loaded = slices.DeleteFunc(s.loaded, func(other *entry) bool { return other == e })
}

// fold makes the incident what it is with a batch that was written.
func (s *Store) fold(e *entry, batch []incident.Event) {
	batch = slices.Clone(batch)
	incident.Sort(batch)
	later := e.Events == 0 || batch[0].Time.After(e.Updated)
	if later && !slices.ContainsFunc(batch, func(event incident.Event) bool { return event.Replaces != "" }) {
		for _, event := range batch {
			e.Incident = e.With(event)
		}
		return
	}
	events, _, err := s.read(e.ID)
	if err != nil {
		s.o.Log.Error("what was told of an incident cannot be read again; its counts are old until the next start", "file", s.path(e.ID), "why", err)
		return
	}
	e.Incident, _ = incident.Fold(events)
}

// room refuses what has no room in the incident, after thinning it where it must. What programs tell is thinned, so it always has room, and so has the end.
func (s *Store) room(e *entry, batch []incident.Event, more int) error {
	if e.Events+len(batch) <= incident.MaxEvents && e.size+int64(more) <= maxFile {
		return nil
	}
	if err := s.thin(e); err != nil {
		return fmt.Errorf("tell its old kills together: %w", err)
	}
	if e.Events+len(batch) <= incident.MaxEvents && e.size+int64(more) <= maxFile {
		return nil
	}
	if slices.ContainsFunc(batch, func(event incident.Event) bool { return kept[event.Kind] == 0 && event.Kind != incident.Ended }) {
		return ErrFull
	}
	return nil
}

// write appends to the file, all or nothing.
func (s *Store) write(e *entry, text []byte) error {
	f, err := os.OpenFile(s.path(e.ID), os.O_WRONLY|os.O_CREATE|os.O_APPEND, fileMode)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err != nil {
		err = errors.Join(err, f.Truncate(e.size))
	}
	if err := errors.Join(err, f.Close()); err != nil {
		if e.size == 0 {
			err = errors.Join(err, os.Remove(s.path(e.ID)))
		}
		return err
	}
	e.size += int64(len(text))
	s.bytes += int64(len(text))
	s.dirty[e.ID] = struct{}{}
	return nil
}

// Sync waits until all that was appended is on disk for good. Others may append meanwhile.
func (s *Store) Sync() error {
	s.mu.Lock()
	dirty := s.dirty
	s.dirty = map[string]struct{}{}
	s.mu.Unlock()
	if len(dirty) == 0 {
		return nil
	}
	var failed []error
	for id := range dirty {
		if err := syncFile(s.path(id)); err != nil && !errors.Is(err, os.ErrNotExist) { // it was removed meanwhile
			failed = append(failed, err)
			s.mu.Lock()
			s.dirty[id] = struct{}{}
			s.mu.Unlock()
		}
	}
	return errors.Join(append(failed, syncFile(s.dir))...)
}

func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// encode makes lines of events.
func encode(events []incident.Event) ([]byte, error) {
	var b bytes.Buffer
	for i := range events {
		line, err := json.Marshal(&events[i])
		if err != nil {
			return nil, err
		}
		if len(line) >= maxLine {
			return nil, fmt.Errorf("event %s has %d bytes, of at most %d", events[i].ID, len(line), maxLine)
		}
		b.Write(append(line, '\n'))
	}
	return b.Bytes(), nil
}

// read reads the events of a file, and how many of its bytes are whole lines. Lines that are none of this incident's events are left out, and said.
func (s *Store) read(id string) (events []incident.Event, whole int64, err error) {
	f, err := os.Open(s.path(id))
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	events, whole, damaged, err := decode(f, id)
	if damaged > 0 {
		s.o.Log.Error("lines of an incident are damaged and left out", "file", s.path(id), "lines", damaged)
	}
	return events, whole, err
}

// decode reads lines until the end of the last whole one.
func decode(r io.Reader, id string) (events []incident.Event, whole int64, damaged int, err error) {
	in := bufio.NewReaderSize(io.LimitReader(r, 2*maxFile), 32<<10)
	for {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return events, whole, damaged, nil
		}
		if err != nil {
			return nil, 0, 0, err
		}
		whole += int64(len(line))
		var e incident.Event
		if json.Unmarshal(line, &e) != nil || e.Incident != id || !incident.ValidID(e.ID) || !slices.Contains(incident.Kinds, e.Kind) {
			damaged++
			continue
		}
		events = append(events, e)
	}
}
