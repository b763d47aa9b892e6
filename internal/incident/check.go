package incident

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"
	"unicode/utf8"
)

// Bounds of an event. Whoever makes one stays within them, and whoever takes one refuses what does not.
const (
	// MaxText bounds a text in bytes: a paragraph.
	MaxText = 4 << 10
	// MaxName bounds each name in bytes: the longest is a cgroup's, as long as a path can be.
	MaxName = 4 << 10
	// MaxData bounds the data in bytes: a report of all causes with their evidence, a heap's difference, or [MaxSamples] samples.
	MaxData = 64 << 10
	// MaxSamples is how many samples fit into the data of an event, with room to spare.
	MaxSamples = 240
	// MaxEvents bounds the timeline of one incident. Kills of a storm beyond [MaxKills] are told together.
	MaxEvents = 2000
	// MaxKills is how many kills of one incident are told one by one; after that its source tells those of a minute together.
	MaxKills = 200
	// MaxBatch bounds the events of one request.
	MaxBatch = 100
	// MaxBody bounds the body of one request in bytes.
	MaxBody = 8 << 20
)

// maxCounted bounds the kills that one event tells, so that their sum is a number.
const maxCounted = 1 << 32

// maxAhead is how far in the future an event can be: clocks differ.
const maxAhead = 24 * time.Hour

// Check finds what is wrong with an event that somebody sent. The error is for people.
func (e *Event) Check(now time.Time) error {
	for name, id := range map[string]string{"incident": e.Incident, "id": e.ID} {
		if !ValidID(id) {
			return fmt.Errorf("%s: %.80q is no ID: 1 to 64 of a-z, 0-9, - and _", name, id)
		}
	}
	if !slices.Contains(Kinds, e.Kind) {
		return fmt.Errorf("kind: %.80q is none of %v", e.Kind, Kinds)
	}
	if e.Time.IsZero() || e.Time.After(now.Add(maxAhead)) {
		return fmt.Errorf("time: %s is not when something happened; is the clock right?", e.Time.Format(time.RFC3339))
	}
	if e.Kind == Opened && (!slices.Contains(Sources, e.Source) || e.Subject == nil || e.Subject.Name == "") {
		return fmt.Errorf("an event that opens an incident has a source (%v) and a subject with a name", Sources)
	}
	if e.Kills > maxCounted {
		return fmt.Errorf("kills: %d are more than any machine has processes", e.Kills)
	}
	if e.Kills < 0 || e.Peak < 0 || e.Limit != nil && e.Limit.Bytes < 0 {
		return fmt.Errorf("kills, peak and limit are not negative")
	}
	if e.Replaces != "" && (e.Kind != Killed || !ValidID(e.Replaces)) {
		return fmt.Errorf("replaces: only an event %q replaces another, by its ID", Killed)
	}
	if math.IsNaN(e.Confidence) || e.Confidence < 0 || e.Confidence > 1 {
		return fmt.Errorf("confidence: %v is not from 0 to 1", e.Confidence)
	}
	if len(e.Data) > MaxData || len(e.Data) > 0 && !json.Valid(e.Data) {
		return fmt.Errorf("data: %d bytes, of at most %d, that have to be JSON", len(e.Data), MaxData)
	}
	return e.checkTexts()
}

func (e *Event) checkTexts() error {
	if len(e.Text) > MaxText || !utf8.ValidString(e.Text) {
		return fmt.Errorf("text: %d bytes, of at most %d, in UTF-8", len(e.Text), MaxText)
	}
	names := []string{e.Actor, e.Cause}
	if s := e.Subject; s != nil {
		names = append(names, s.Name, s.Namespace, s.Workload, s.Pod, s.Container, s.Image, s.Node, s.Cgroup)
	}
	if e.Limit != nil {
		names = append(names, e.Limit.Scope)
	}
	for _, name := range names {
		if len(name) > MaxName || !utf8.ValidString(name) {
			return fmt.Errorf("a name has %d bytes, of at most %d, in UTF-8: %.80q", len(name), MaxName, name)
		}
	}
	return nil
}

// ValidID reports whether a text can be an ID of an incident or of an event.
func ValidID(id string) bool {
	if id == "" || len(id) > 64 {
		return false
	}
	for _, c := range []byte(id) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// Filter chooses incidents. Empty fields choose all.
type Filter struct {
	// Since chooses those with an event at or after it.
	Since time.Time
	// State is one of them, or [Going] or [AllEnded].
	State     string
	Source    Source
	Namespace string
	// Name is of a workload, pod or container, or the subject's.
	Name string
	// Limit is the most that are answered, the newest first; 0 is [MaxList].
	Limit int
}

// MaxList bounds the incidents of one answer.
const MaxList = 1000

// The filters by state that are more than one.
const (
	Going    = "going"     // those that have not ended
	AllEnded = "has_ended" // held and closed
)

// Match reports whether the filter chooses an incident.
func (f Filter) Match(in *Incident) bool {
	s := &in.Subject
	switch {
	case in.Updated.Before(f.Since),
		f.State == Going && in.State.Ended(), f.State == AllEnded && !in.State.Ended(),
		f.State != "" && f.State != Going && f.State != AllEnded && f.State != string(in.State),
		f.Source != "" && f.Source != in.Source,
		f.Namespace != "" && f.Namespace != s.Namespace:
		return false
	}
	return f.Name == "" || slices.Contains([]string{s.Name, s.Workload, s.Pod, s.Container}, f.Name)
}
