package remedy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"stella/internal/kube"
)

// maxTries is how often a change is tried that others come before: kubelets and controllers write to the same objects, elsewhere in them.
const maxTries = 8

// Options of a change.
type Options struct {
	// DryRun has the server check it, with all its admission, and keep nothing.
	DryRun bool
	// Force changes also what others declare.
	Force bool
}

// Change is a step that was made, and all that it takes to take it back.
type Change struct {
	Target Target `json:"target"`
	// Edits are what was changed: taken back, they are inverted.
	Edits []Edit    `json:"edits"`
	Want  *Want     `json:"want,omitempty"`
	Time  time.Time `json:"time"`
	// Forced are those over whose declarations it was made.
	Forced []Conflict `json:"forced,omitempty"`
	DryRun bool       `json:"dry_run,omitempty"`
}

// ChangedError says that a target is not what the plan saw.
type ChangedError struct {
	Target Target
	// What is not as it was, one sentence each.
	What []string
}

func (e *ChangedError) Error() string {
	return fmt.Sprintf("%s was changed since the plan was made, so nothing was done: %s; make a new plan", &e.Target, strings.Join(e.What, "; "))
}

// DoneError says that a target has all the values already.
type DoneError struct{ Target Target }

func (e *DoneError) Error() string {
	return fmt.Sprintf("%s is as the step would make it already: nothing was done", &e.Target)
}

// ConflictError says that others declare what would be changed.
type ConflictError struct {
	Target    Target
	Conflicts []Conflict
}

func (e *ConflictError) Error() string {
	var texts []string
	for _, c := range e.Conflicts {
		texts = append(texts, c.Text)
	}
	return fmt.Sprintf("%s: %s; or change it here until then with --force-conflicts", &e.Target, strings.Join(texts, "; "))
}

// Apply makes the change of a step, if its target is still as the plan saw it and nobody else declares what it changes. The error is a
// [*ChangedError], a [*DoneError] or a [*ConflictError] where nothing was done for that reason; for another one, see [kube.Do]: whether it was done is looked up, so that it was not.
func (c *Cluster) Apply(ctx context.Context, s *Step, o Options) (Change, error) {
	if !s.Ours() {
		return Change{}, fmt.Errorf("step %d is left to a person: %s", s.N, s.What)
	}
	return c.change(ctx, *s.Target, s.Edits, s.Want, s.Kind == Restart, o)
}

// Rollback takes a change back, if its target still has what it made.
func (c *Cluster) Rollback(ctx context.Context, done *Change, o Options) (Change, error) {
	var want *Want
	if done.Want != nil {
		want = &Want{Container: done.Want.Container, Limit: limitOf(Invert(done.Edits))}
	}
	return c.change(ctx, done.Target, Invert(done.Edits), want, false, o)
}

// limitOf is the limit that edits set, 0 for none.
func limitOf(edits []Edit) int64 {
	for _, e := range edits {
		var b kube.Bytes
		if strings.HasSuffix(e.Path, "/limits/memory") && e.After != nil && b.UnmarshalJSON(e.After) == nil {
			return int64(b)
		}
	}
	return 0
}

func (c *Cluster) change(ctx context.Context, t Target, edits []Edit, want *Want, force bool, o Options) (Change, error) {
	resource, ok := resources[t.Kind]
	if !ok {
		return Change{}, fmt.Errorf("%s: this does not change objects of that kind", &t)
	}
	for range maxTries {
		now, err := c.seen(ctx, &t, edits)
		if err != nil {
			return Change{}, err
		}
		conflicts := now.conflicts(edits)
		if force {
			conflicts = nil // an annotation that asks for new pods is nobody's
		}
		if len(conflicts) > 0 && !o.Force {
			return Change{}, &ConflictError{t, conflicts}
		}
		// The write is for the version that was compared: if it is another one by then, the server says so.
		guards := kube.Operations{{Op: "replace", Path: "/metadata/resourceVersion", Value: encode(now.Version)}}
		_, _, err = kube.Do[json.RawMessage](ctx, c.Client, kube.Request{
			Method: http.MethodPatch, Query: kube.Query{Resource: resource, Namespace: t.Namespace}, Name: t.Name, Below: t.Below,
			Body: append(guards, operations(edits)...), DryRun: o.DryRun, Manager: Manager,
		})
		if errors.Is(err, kube.ErrConflict) {
			continue
		}
		if err != nil && (o.DryRun || !c.wasMade(ctx, &t, edits, err)) {
			return Change{}, fmt.Errorf("change %s: %w", &t, err)
		}
		return Change{Target: t, Edits: edits, Want: want, Time: time.Now().UTC(), Forced: conflicts, DryRun: o.DryRun}, nil
	}
	return Change{}, fmt.Errorf("others changed %s each of %d times that it was tried; try again", &t, maxTries)
}

// seen reads the target, and compares it with what the edits expect.
func (c *Cluster) seen(ctx context.Context, t *Target, edits []Edit) (*Object, error) {
	now, err := c.Object(ctx, t.Kind, t.Namespace, t.Name)
	if errors.Is(err, kube.ErrNotFound) {
		return nil, &ChangedError{*t, []string{"it is gone"}}
	}
	if err != nil {
		return nil, err
	}
	if now.Metadata.UID != t.UID {
		return nil, &ChangedError{*t, []string{"it is another one of the same name"}}
	}
	if _, ends := now.text("metadata", "deletionTimestamp"); ends {
		return nil, &ChangedError{*t, []string{"it is being deleted"}}
	}
	var other []string
	done := 0
	for _, e := range edits {
		if text := now.differs(e.Path, e.Before); text != "" {
			other = append(other, text)
		}
		if now.differs(e.Path, e.After) == "" {
			done++
		}
	}
	switch {
	case len(other) > 0 && done == len(edits):
		return nil, &DoneError{*t}
	case len(other) > 0:
		return nil, &ChangedError{*t, other}
	}
	return now, nil
}

// differs says in a sentence how the value at a path is not the one expected; empty is that it is.
func (o *Object) differs(path string, want json.RawMessage) string {
	parts, err := split(path)
	if err != nil {
		return err.Error()
	}
	value, ok := find(o.tree, parts...)
	if ok && want != nil && same(want, value) || !ok && want == nil {
		return ""
	}
	text, expected := "nothing", "nothing"
	if ok {
		text = string(encode(value))
	}
	if want != nil {
		expected = string(want)
	}
	return fmt.Sprintf("%s is %.200s, and was %.200s", o.readable(path), text, expected)
}

// wasMade reports whether a change for which there was an error was made after all: the answer can be lost on its way.
func (c *Cluster) wasMade(ctx context.Context, t *Target, edits []Edit, err error) bool {
	var status *kube.StatusError
	if errors.As(err, &status) && status.Code < http.StatusInternalServerError {
		return false
	}
	// Also where ctx ended: somebody has to know.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	_, err = c.seen(ctx, t, edits)
	var done *DoneError
	return errors.As(err, &done)
}
