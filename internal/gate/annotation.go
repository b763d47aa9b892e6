package gate

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// The annotations of the gate, and the Lease that all gates of a cluster share.
const (
	// VerdictAnnotation is on a node: its last [Verdict] as JSON.
	VerdictAnnotation = "gate.stella/verdict"
	// HoldAnnotation is on a node, or for all nodes on the Lease: a [Hold] as JSON.
	HoldAnnotation = "gate.stella/hold"
	// LeaseName is the name of the Lease, in the namespace of the gates.
	LeaseName = "kured-sentinel-gate"
	// MaxAnnotation bounds the text of one, in bytes. All of a node together may have 256 KiB.
	MaxAnnotation = 8 << 10
)

// Hold is a person's word that a node is not to be rebooted.
type Hold struct {
	Reason string    `json:"reason"`
	By     string    `json:"by"`
	Since  time.Time `json:"since"`
	// Until is when it ends by itself; zero is never.
	Until time.Time `json:"until,omitzero"`
}

// ReadHold reads the text of a [HoldAnnotation]. One that cannot be read holds, too: the caller blocks on an error.
func ReadHold(text string) (Hold, error) {
	var h Hold
	if err := read(text, &h); err != nil {
		return Hold{}, fmt.Errorf("the annotation %s: %w", HoldAnnotation, err)
	}
	if h.Reason == "" {
		return Hold{}, fmt.Errorf("the annotation %s: it has no reason", HoldAnnotation)
	}
	return h, nil
}

// ReadVerdict reads the text of a [VerdictAnnotation].
func ReadVerdict(text string) (*Verdict, error) {
	v := new(Verdict)
	if err := read(text, v); err != nil {
		return nil, fmt.Errorf("the annotation %s: %w", VerdictAnnotation, err)
	}
	return v, nil
}

// Annotation is the verdict as the text of a [VerdictAnnotation]. Where it would be too long, results that pass lose their details.
func (v *Verdict) Annotation() string {
	text := v.text()
	if len(text) <= MaxAnnotation {
		return text
	}
	brief := *v
	brief.Results = make([]Result, len(v.Results))
	for i, r := range v.Results {
		brief.Results[i] = r
		if r.Outcome == Pass {
			brief.Results[i].Detail = ""
		}
	}
	for i := len(brief.Results) - 1; i >= 0 && len(brief.text()) > MaxAnnotation; i-- {
		brief.Results[i].Blockers, brief.Results[i].Clears = nil, ""
		brief.Results[i].Detail = "what it found is too long to be kept here: see the log of the gate"
	}
	return brief.text()
}

func (v *Verdict) text() string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // of strings, times and nothing else
	}
	return string(text)
}

func read(text string, into any) error {
	if len(text) > MaxAnnotation {
		return fmt.Errorf("it has %d bytes, and may have %d", len(text), MaxAnnotation)
	}
	if text == "null" {
		return errors.New("it is null")
	}
	return json.Unmarshal([]byte(text), into)
}
