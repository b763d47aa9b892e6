// Package remedy says what to do when memory ran out, does what a person approved, reads it back, and says whether it held.
//
// Words: a [Plan] is for one workload and one cause. It has steps, each with its reason, its risk, the commands that a person could type, and what it
// changes. A step is done by us, or left to a person. What we change are edits of one object of Kubernetes, the [Target]: each has the value before, which was
// seen when the plan was made, and the value after. An [Approval] says who wants which step of which plan, and why. A [Change] is a step that was made, with all that it takes to
// take it back: the same edits, inverted. A [Reading] is what the API and the cgroups say afterwards, and a [Verdict] whether it held.
//
// [Plan.New], [Edit] and [Verify] are pure. [Cluster] talks to Kubernetes, with the rights of the person who runs the command: no daemon of this project may change workloads.
//
// Hazards:
//
//   - A plan is old as soon as it is made. Whatever is changed is compared with what the plan saw, and the write is for the version that was compared.
//   - A limit that was resized in place is the pod's alone: the next pod has what its owner says.
//   - The container's cgroup is below the pod's, and the smaller limit counts. The API tells of neither, so both are read on the node.
//   - What could not be read is [Unknown], and Unknown is never yes.
//   - A tool that keeps objects as they are written elsewhere (Argo CD, Flux, Helm) takes back what is changed here.
package remedy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"stella/internal/explain"
	"stella/internal/incident"
)

// Manager is how the API server names the owner of what we change (metadata.managedFields).
const Manager = "stella"

// Kind is what a step does.
type Kind string

// The kinds of steps.
const (
	Resize      Kind = "resize"      // the limit of a container that runs, in place
	Limit       Kind = "limit"       // the limit in the owner's template, for all pods to come
	Restart     Kind = "restart"     // new pods for old, one after the other
	Environment Kind = "environment" // a variable that the program reads
	Concurrency Kind = "concurrency" // less at the same time
	VolumeSize  Kind = "volume_size" // a size for a volume in memory
	Autoscale   Kind = "autoscale"   // more pods for more to do
	Scanner     Kind = "scanner"     // a setting, or a pool, of the scanner service
	Unit        Kind = "unit"        // the limit of a systemd unit
	FindOut     Kind = "find_out"    // what a person has to look at, or to program
)

// Level is how much can go wrong.
type Level string

// The levels.
const (
	Low    Level = "low"
	Medium Level = "medium"
	High   Level = "high"
)

// Risk is what can go wrong, in a sentence.
type Risk struct {
	Level Level  `json:"level"`
	Text  string `json:"text"`
}

// Step is one thing to do.
type Step struct {
	N    int    `json:"n"`
	Kind Kind   `json:"kind"`
	What string `json:"what"`
	// Why links it to the finding.
	Why  string `json:"why"`
	Risk Risk   `json:"risk"`
	// Stopgap says that it cures nothing: it only gains time.
	Stopgap bool `json:"stopgap,omitempty"`
	// Commands do the same by hand, in a shell. They may have several lines.
	Commands []string `json:"commands,omitempty"`
	// Diff is the change, unified; empty where a person makes it.
	Diff string `json:"diff,omitempty"`
	// Undo says how it is taken back.
	Undo string `json:"undo"`
	// Target and Edits are the change; a step without is left to a person.
	Target *Target `json:"target,omitempty"`
	Edits  []Edit  `json:"edits,omitempty"`
	// Want is what has to be read back.
	Want *Want `json:"want,omitempty"`
	// Conflicts are those who declare the same fields elsewhere, as the plan saw them.
	Conflicts []Conflict `json:"conflicts,omitempty"`
}

// Ours reports whether we can make the step.
func (s *Step) Ours() bool { return s.Target != nil && len(s.Edits) > 0 }

// Reversible reports whether we can take the step back. A restart cannot be.
func (s *Step) Reversible() bool { return s.Ours() && s.Kind != Restart }

// Target is the object that a step changes.
type Target struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// UID tells it from a later one of the same name.
	UID string `json:"uid"`
	// Below is the subresource that takes the change; empty is the object itself.
	Below string `json:"subresource,omitempty"`
}

func (t *Target) String() string { return fmt.Sprintf("%s %s/%s", t.Kind, t.Namespace, t.Name) }

// Want is the limit that a container has to have afterwards.
type Want struct {
	Container string `json:"container"`
	// Limit is in bytes; 0 is that no limit was changed.
	Limit int64 `json:"limit,omitempty"`
}

// Plan is what to do about one cause.
type Plan struct {
	// ID follows from all the rest: a plan that was changed by hand has another one.
	ID       string           `json:"id"`
	Made     time.Time        `json:"made"`
	Incident string           `json:"incident,omitempty"`
	Subject  incident.Subject `json:"subject"`
	// Cause, Confidence and Summary are of the finding that the steps are for.
	Cause      explain.Cause `json:"cause"`
	Confidence float64       `json:"confidence"`
	Summary    string        `json:"summary"`
	// Limit is the present one of the container in bytes; 0 is none, or not known.
	Limit int64  `json:"limit,omitempty"`
	Steps []Step `json:"steps"`
	// Notes say what the plan does not do, and why.
	Notes []string `json:"notes,omitempty"`
}

// seal gives the plan its ID.
func (p *Plan) seal() { p.ID = p.fingerprint() }

// fingerprint is the first 12 hexadecimal digits of the SHA-256 of the plan without its ID.
func (p *Plan) fingerprint() string {
	bare := *p
	bare.ID = ""
	text, err := json.Marshal(bare)
	if err != nil {
		panic(err) // of a struct of strings and numbers
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:6])
}

// Check reports why a plan that came from a file is none of ours.
func (p *Plan) Check() error {
	if p.ID == "" {
		return fmt.Errorf("it has no id, so it is no plan of stella remedy plan -o json")
	}
	if want := p.fingerprint(); p.ID != want {
		return fmt.Errorf("plan %.40q was changed since it was made (it would be %s now): an approval is for a plan as it was shown; make a new one", p.ID, want)
	}
	return nil
}

// Step is the step of that number.
func (p *Plan) Step(n int) (*Step, error) {
	if n < 1 || n > len(p.Steps) {
		return nil, fmt.Errorf("plan %s has no step %d; it has %d", p.ID, n, len(p.Steps))
	}
	return &p.Steps[n-1], nil
}
