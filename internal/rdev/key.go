package rdev

import (
	"fmt"
	"regexp"
	"slices"
	"time"
)

// Scope says what a caller may do; each includes those before it.
type Scope string

// The scopes, in order.
const (
	ScopeRead  Scope = "read"  // see projects, commands and their output
	ScopeRun   Scope = "run"   // run and cancel commands
	ScopeAdmin Scope = "admin" // keys, the audit log, metrics and profiles
)

var scopes = []Scope{ScopeRead, ScopeRun, ScopeAdmin}

// Includes reports whether s allows what needs want.
func (s Scope) Includes(want Scope) bool {
	return slices.Contains(scopes, s) && slices.Index(scopes, s) >= slices.Index(scopes, want)
}

// Key is an API key without its secret.
type Key struct {
	Name  string `json:"name"`
	Scope Scope  `json:"scope"`
	// Projects are those it is for; empty is all.
	Projects []string `json:"projects"`
	// By is who made it, or changed its secret last.
	By      string    `json:"by"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"`
	// Used is when it was used last, to the hour; zero is never.
	Used time.Time `json:"used,omitzero"`
	// Rotated is until when the secret before this one counts, too; zero is that there is none.
	Rotated time.Time `json:"old_secret_until,omitzero"`
}

// NewKey is a key with its secret, which is told once.
type NewKey struct {
	Key
	Secret string `json:"secret"`
}

// String leaves the secret out, so that none gets into a log.
func (k NewKey) String() string { return fmt.Sprintf("key %s (%s)", k.Name, k.Scope) }

// KeyRequest asks for a key.
type KeyRequest struct {
	Name     string   `json:"name"`
	Scope    Scope    `json:"scope"`
	Projects []string `json:"projects,omitempty"`
	// TTL is how long it is valid; 0 is until it is revoked.
	TTL time.Duration `json:"ttl_ns,omitempty"`
}

// RotateRequest asks for another secret of a key.
type RotateRequest struct {
	// Grace is how long the old secret counts beside the new one; 0 is not at all.
	Grace time.Duration `json:"grace_ns,omitempty"`
}

// The bounds of keys.
const (
	MaxKeyProjects = 100
	MaxKeyTTL      = 10 * 365 * 24 * time.Hour
	MaxGrace       = 31 * 24 * time.Hour
)

var keyName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

// Check finds what is wrong with a request for a key.
func (r KeyRequest) Check() error {
	switch {
	case !keyName.MatchString(r.Name):
		return Errorf(ErrInvalid, "%.80q is no name of a key: small letters, digits, dots, dashes and underscores, a letter or digit first, at most 63", r.Name)
	case !slices.Contains(scopes, r.Scope):
		return Errorf(ErrInvalid, "%.40q is no scope: choose read, run or admin", r.Scope)
	case r.Scope == ScopeAdmin && len(r.Projects) > 0:
		return Errorf(ErrInvalid, "a key with the scope admin is for all projects: it could make keys for any")
	case len(r.Projects) > MaxKeyProjects:
		return Errorf(ErrInvalid, "the key is for %d projects; at most %d, or none for all", len(r.Projects), MaxKeyProjects)
	case r.TTL < 0 || r.TTL > MaxKeyTTL:
		return Errorf(ErrInvalid, "a key cannot be valid for %v: write a positive time of at most %v, or none", r.TTL, MaxKeyTTL)
	}
	for _, p := range r.Projects {
		if err := CheckProject(p); err != nil {
			return err
		}
	}
	return nil
}

// Check finds what is wrong with a request for another secret.
func (r RotateRequest) Check() error {
	if r.Grace < 0 || r.Grace > MaxGrace {
		return Errorf(ErrInvalid, "the old secret cannot count for another %v: at most %v", r.Grace, MaxGrace)
	}
	return nil
}
