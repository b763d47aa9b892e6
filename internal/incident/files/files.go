// Package files keeps the incidents of one machine in a directory: for a node that has no stellad, and while it cannot be reached.
//
// Words: see [stella/internal/incident]. An incident is a file, ID.jsonl, with a line of JSON for each event, in the order in which they came. What the incident is now is made
// of them when the store is opened, one incident at a time, and kept in memory; timelines are read when somebody asks.
//
// What is promised:
//
//   - When [Store.Append] returns, the events survive the death of the process, also by SIGKILL: they were handed to the kernel. They survive a loss of power from the next
//     [Store.Sync] on. What was torn by one is cut off when the store is opened.
//   - An event that is appended again changes nothing.
//   - Disk and memory are bounded. Where there is too much, the incidents that ended longest ago go first, and then those that nothing was told of for the longest time;
//     of one incident with too many events, old kills are told together ([thin]): their number stays.
//
// Hazard: two processes must not write to one directory. The agent's ledger, beside it, is what keeps the second one out.
package files

import (
	"cmp"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"stella/internal/feed"
	"stella/internal/incident"
)

const (
	// DefaultBytes is what all files may take unless it is told otherwise: a hundred incidents of some 300 KiB, which is two hundred kills and some explanations each.
	DefaultBytes = 32 << 20
	// maxIncidents bounds those that are kept, at some 1.2 KiB of memory each.
	maxIncidents = 256
	// maxFile bounds one file in bytes: two hundred kills, and the samples and explanations that are kept, take half of it. As much is in memory while a timeline is read.
	maxFile = 1 << 20
	// maxLine bounds one event as JSON, in bytes: names and texts of [incident.MaxName] and [incident.MaxText], and data, all with escapes.
	maxLine = 1 << 20
	// maxIDs bounds the IDs of events that are at hand, at some 16 bytes each: those of the incidents that were told of last. Those of others are read when they are needed.
	maxIDs = 16 << 10

	suffix   = ".jsonl"
	fileMode = 0o640
	dirMode  = 0o750
)

var (
	// ErrNotFound is matched where there is no such incident.
	ErrNotFound = errors.New("no such incident")
	// ErrFull is matched where an incident has no room for one more event.
	ErrFull = errors.New("it has as many events as can be kept; close it")
)

// Options are all that a store takes from its surroundings. Log is needed.
type Options struct {
	// MaxBytes bounds what all files take; 0 is [DefaultBytes].
	MaxBytes int64
	Log      *slog.Logger
}

// Store is the incidents in one directory. It is safe for concurrent use.
type Store struct {
	dir  string
	o    Options
	seed maphash.Seed

	mu     sync.Mutex
	all    map[string]*entry
	bytes  int64
	loaded []*entry // whose ids are at hand, the one that was used last at the end
	dirty  map[string]struct{}
	tag    string // of this run: numbers of events begin again with the next one
	events feed.Feed[incident.Event]
}

// entry is one incident.
type entry struct {
	incident.Incident
	size int64
	ids  map[uint64]struct{} // hashes; nil is not at hand
}

// Open opens the store in a directory, which it makes if it must. It calls each with the timeline of every incident there, one after the other.
func Open(dir string, o Options, each func(incident.Details)) (*Store, error) {
	o.MaxBytes = cmp.Or(o.MaxBytes, DefaultBytes)
	if o.MaxBytes < 2*maxFile {
		return nil, fmt.Errorf("open the incidents in %s: %d bytes are too few, %d the least", dir, o.MaxBytes, 2*maxFile)
	}
	s := &Store{dir: dir, o: o, seed: maphash.MakeSeed(), all: map[string]*entry{}, dirty: map[string]struct{}{},
		tag: incident.NewID(dir, time.Now().String())[:6], events: feed.New[incident.Event](maxFollowed)}
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return nil, fmt.Errorf("open the incidents: %w", err)
	}
	names, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open the incidents: %w", err)
	}
	for _, name := range names {
		id, ok := strings.CutSuffix(name.Name(), suffix)
		if !ok || !incident.ValidID(id) || !name.Type().IsRegular() {
			continue
		}
		if err := s.load(id, each); err != nil {
			o.Log.Error("an incident cannot be read, and is left out", "file", s.path(id), "why", err)
		}
	}
	s.makeRoom("")
	return s, nil
}

// load takes in one file, without what is torn at its end.
func (s *Store) load(id string, each func(incident.Details)) error {
	events, whole, err := s.read(id)
	if err != nil {
		return err
	}
	in, ok := incident.Fold(events)
	if !ok {
		return os.Remove(s.path(id)) // the first write was torn
	}
	if err := os.Truncate(s.path(id), whole); err != nil {
		return err
	}
	s.all[id] = &entry{Incident: in, size: whole}
	s.bytes += whole
	each(incident.Details{Incident: in, Timeline: incident.Timeline(events)})
	return nil
}

func (s *Store) path(id string) string { return filepath.Join(s.dir, id+suffix) }

// List are the incidents that a filter chooses, the newest first.
func (s *Store) List(f incident.Filter) []incident.Incident {
	if f.Limit <= 0 || f.Limit > incident.MaxList {
		f.Limit = incident.MaxList
	}
	s.mu.Lock()
	var all []incident.Incident
	for _, e := range s.all {
		if f.Match(&e.Incident) {
			all = append(all, e.Incident)
		}
	}
	s.mu.Unlock()
	slices.SortFunc(all, func(a, b incident.Incident) int { return cmp.Or(b.Opened.Compare(a.Opened), cmp.Compare(a.ID, b.ID)) })
	return all[:min(len(all), f.Limit)]
}

// Incident is one of them, without its timeline.
func (s *Store) Incident(id string) (incident.Incident, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.all[id]
	if !ok {
		return incident.Incident{}, false
	}
	return e.Incident, true
}

// Details are one with its timeline. The error matches [ErrNotFound] where there is none.
func (s *Store) Details(id string) (incident.Details, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.all[id]
	if !ok {
		return incident.Details{}, ErrNotFound
	}
	events, _, err := s.read(id)
	if err != nil {
		return incident.Details{}, fmt.Errorf("read the incident: %w", err)
	}
	return incident.Details{Incident: e.Incident, Timeline: incident.Timeline(events)}, nil
}

// Bytes is what all files take.
func (s *Store) Bytes() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes
}

// makeRoom removes incidents until there are no more than may be, but for one.
func (s *Store) makeRoom(but string) {
	for len(s.all) > 1 && (len(s.all) > maxIncidents || s.bytes > s.o.MaxBytes) {
		oldest := slices.MinFunc(slices.Collect(maps.Values(s.all)), func(a, b *entry) int {
			return cmp.Or(boolFirst(a.ID != but, b.ID != but), boolFirst(a.State.Ended(), b.State.Ended()), cmp.Or(a.Ended, a.Updated).Compare(cmp.Or(b.Ended, b.Updated)))
		})
		s.remove(oldest)
	}
}

// boolFirst has the true one first.
func boolFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

func (s *Store) remove(e *entry) {
	if err := os.Remove(s.path(e.ID)); err != nil {
		s.o.Log.Error("an old incident cannot be removed", "file", s.path(e.ID), "why", err)
	}
	s.o.Log.Info("an old incident is removed, as there are more than may be kept", "incident", e.ID, "state", e.State, "kills", e.Kills)
	s.unload(e)
	delete(s.all, e.ID)
	delete(s.dirty, e.ID)
	s.bytes -= e.size
}
