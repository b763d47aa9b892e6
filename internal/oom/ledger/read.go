package ledger

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"stella/internal/journal"
	"stella/internal/oom"
	"stella/internal/oom/ledger/join"
)

// reading lets one read the journal at a time: each needs a segment in memory.
type reading struct {
	mu     sync.Mutex
	buffer []byte
}

// each calls fn with the records of the ledger, the newest first, until it says false. before is asked
// of each segment whether it and all before it can be left out; next is where the one behind it begins.
func (l *Ledger) each(before func(next begin) bool, fn func(record []byte) bool) {
	l.mu.Lock()
	pending := slices.Clone(l.store.pending)
	segments := l.store.journal.Segments()
	begins := slices.Clone(l.store.begins)
	l.mu.Unlock()
	for _, p := range slices.Backward(pending) {
		if !fn(p.record) {
			return
		}
	}
	l.read.mu.Lock()
	defer l.read.mu.Unlock()
	defer func() { l.read.buffer = nil }()
	more := true
	for i := len(segments) - 1; i >= 0 && more; i-- {
		if i+1 < len(begins) && before(begins[i+1]) {
			return
		}
		var err error
		l.read.buffer, err = journal.Read(l.store.dir, segments[i], l.read.buffer, func(record []byte) bool {
			more = fn(record)
			return more
		})
		if err != nil {
			l.log.Error("a part of the ledger of OOM kills cannot be read", "file", journal.Path(l.store.dir, segments[i].Number), "why", err)
		}
	}
}

// oldestKill is the number of the first kill that is not dropped.
func (l *Ledger) oldestKill() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.store.begins) == 0 {
		return 0
	}
	return l.store.begins[0].kill
}

// newest calls fn with the newest version of each kill, until it says false.
func (l *Ledger) newest(fn func(*join.Entry) bool) { l.newestSince(time.Time{}, fn) }

// newestSince leaves segments out that were full before a time.
func (l *Ledger) newestSince(since time.Time, fn func(*join.Entry) bool) {
	oldest := l.oldestKill()
	seen := make(map[uint64]struct{}) // of which older versions come
	before := func(next begin) bool { return !next.time.IsZero() && next.time.Before(since) }
	l.each(before, func(text []byte) bool {
		if !bytes.Contains(text, []byte(`"kills":[`)) {
			return true
		}
		var r record
		if json.Unmarshal(text, &r) != nil {
			return true
		}
		for i := len(r.Kills) - 1; i >= 0; i-- {
			e := &r.Kills[i]
			_, again := seen[e.N]
			if e.New {
				delete(seen, e.N)
			} else {
				seen[e.N] = struct{}{}
			}
			if !again && e.N >= oldest && !fn(e) {
				return false
			}
		}
		return true
	})
}

// clockSlack is by how much the clock may have been wrong when a segment began.
const clockSlack = time.Hour

// Kills are the kills that a filter chooses, the oldest first, without their tasks: those would be
// several times the rest. If there are more than the filter's limit, they are the newest.
func (l *Ledger) Kills(f oom.Filter) []oom.Kill {
	if f.Limit <= 0 || f.Limit > oom.MaxKills {
		f.Limit = oom.MaxKills
	}
	if oldest := l.o.Now().Add(-l.o.MaxAge); f.Since.Before(oldest) {
		f.Since = oldest
	}
	var all []oom.Kill
	l.newestSince(f.Since.Add(-clockSlack), func(e *join.Entry) bool {
		if e.Kill.Count > 0 && chosen(&f, &e.Kill) {
			// A table of some KiB for each would be an answer of 50 MiB.
			e.Kill.TasksLeftOut += len(e.Kill.Tasks)
			e.Kill.Tasks = nil
			all = append(all, e.Kill)
		}
		return len(all) < f.Limit
	})
	slices.Reverse(all)
	slices.SortStableFunc(all, func(a, b oom.Kill) int { return a.Time.Compare(b.Time) })
	return all
}

// chosen reports whether the filter chooses the kill.
func chosen(f *oom.Filter, k *oom.Kill) bool {
	c := &k.Container
	return !k.Time.Before(f.Since) &&
		(f.Namespace == "" || f.Namespace == c.Namespace) &&
		(f.Pod == "" || f.Pod == c.Pod) &&
		(f.Container == "" || f.Container == c.Name) &&
		(f.Cgroup == "" || k.Cgroup == f.Cgroup || strings.HasPrefix(k.Cgroup, f.Cgroup+"/")) &&
		(f.Workload == "" || strings.EqualFold(f.Workload, c.Workload) || f.Workload == c.Workload[strings.LastIndexByte(c.Workload, '/')+1:])
}

// Kill is the kill with that ID, with all that is known of it.
func (l *Ledger) Kill(id string) (oom.Kill, bool) {
	n, ok := number(id)
	if !ok || n < l.oldestKill() {
		return oom.Kill{}, false
	}
	var found *oom.Kill
	mark := fmt.Appendf(nil, `{"n":%d,`, n)
	younger := func(next begin) bool { return next.kill > 0 && next.kill <= n }
	l.each(younger, func(text []byte) bool {
		if !bytes.Contains(text, mark) {
			return true
		}
		var r record
		if json.Unmarshal(text, &r) != nil {
			return true
		}
		for i := len(r.Kills) - 1; i >= 0; i-- {
			e := &r.Kills[i]
			switch {
			case e.N != n || e.Kill.ID != id:
				continue
			case found == nil:
				found = &e.Kill
			case e.New:
				found.Tasks = e.Kill.Tasks
			}
			if e.New {
				return false
			}
		}
		return true
	})
	if found == nil {
		return oom.Kill{}, false
	}
	return *found, true
}

// told reports whether a kill in that container at about that time, or a later one, is in the ledger. It is asked only
// where nothing but runtimes and the API tell of kills, and those tell of old ones at each start.
func (l *Ledger) told(c oom.Container, at time.Time) bool {
	const about = 15 * time.Second
	known := l.totals.byKey[(&cgroupTotal{Container: c}).key()]
	return known != nil && !at.After(known.Last.Add(about))
}
