package files

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"stella/internal/incident"
)

// kept is how many of the newest events of a kind stay as they are when an incident is thinned. Those of kinds that people tell, and of remedies, all stay.
var kept = map[incident.Kind]int{
	incident.Killed: 100, incident.Sampled: 4, incident.Explained: 8, incident.Profiled: 8, incident.Warned: 50, incident.Changed: 50, incident.Opened: 20,
}

// thin writes an incident again with fewer events.
func (s *Store) thin(e *entry) error {
	events, _, err := s.read(e.ID)
	if err != nil {
		return err
	}
	events = thinned(incident.Timeline(events))
	text, err := encode(events)
	if err != nil {
		return err
	}
	next := s.path(e.ID) + ".new"
	if err := writeSynced(next, text); err != nil {
		return errors.Join(err, os.Remove(next))
	}
	if err := os.Rename(next, s.path(e.ID)); err != nil {
		return err
	}
	s.bytes += int64(len(text)) - e.size
	e.size = int64(len(text))
	e.Incident, _ = incident.Fold(events)
	for i := range events { // the IDs of those that are gone stay known while they are at hand
		e.ids[s.hash(events[i].ID)] = struct{}{}
	}
	s.dirty[e.ID] = struct{}{}
	return nil
}

func writeSynced(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, fileMode)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Sync(), f.Close())
}

// thinned tells old kills together, those between two changes of the state each, and leaves out what else is old of what programs tell. The incident that follows from it is
// the same but for the number of its events. It takes a timeline, whose first event stays.
func thinned(events []incident.Event) []incident.Event {
	left := map[incident.Kind]int{}
	for _, e := range events {
		left[e.Kind]++
	}
	var out []incident.Event
	run := -1 // where kills are added up, in out
	for _, e := range events {
		left[e.Kind]--
		most, bounded := kept[e.Kind]
		if bounded && left[e.Kind] >= most && len(out) > 0 {
			if e.Kind == incident.Killed {
				run = together(&out, run, e)
			}
			continue
		}
		if slices.Contains([]incident.Kind{incident.Remedied, incident.Failed, incident.RolledBack, incident.Verified, incident.Ended}, e.Kind) {
			run = -1
		}
		out = append(out, e)
	}
	return out
}

// together adds a kill to those at run, or begins there, and returns where that is. The time of the first stays, and what was the last is written down.
func together(out *[]incident.Event, run int, e incident.Event) int {
	if run < 0 {
		e.Kills = max(e.Kills, 1)
		*out = append(*out, e)
		return len(*out) - 1
	}
	sum := &(*out)[run]
	sum.Kills += max(e.Kills, 1)
	sum.Peak = max(sum.Peak, e.Peak)
	sum.ID = incident.NewID(sum.ID, e.ID)
	sum.Replaces, sum.Data, sum.Limit = "", nil, nil
	sum.Text = fmt.Sprintf("%d kills until %s, told together to save room", sum.Kills, e.Time.UTC().Format(time.RFC3339))
	return run
}
