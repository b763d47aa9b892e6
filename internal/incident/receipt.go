package incident

import (
	"fmt"
	"strings"
)

// Receipt says what became of events that were sent: all that are not refused are kept now, and New of them were not before.
type Receipt struct {
	New     int       `json:"new"`
	Refused []Refusal `json:"refused,omitempty"`
}

// Refusal is of an event that is not kept, and would not be if it were sent again.
type Refusal struct {
	Incident string `json:"incident"`
	ID       string `json:"id"`
	// Reason is for people.
	Reason string `json:"reason"`
}

// Err is nil where nothing was refused; else it says what, for people.
func (r Receipt) Err() error {
	if len(r.Refused) == 0 {
		return nil
	}
	var reasons []string
	for _, x := range r.Refused {
		reasons = append(reasons, fmt.Sprintf("event %.80s of incident %.80s: %s", x.ID, x.Incident, x.Reason))
	}
	return fmt.Errorf("not taken: %s", strings.Join(reasons, "; "))
}
