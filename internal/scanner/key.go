package scanner

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Scope is what a caller may do.
type Scope string

// The scopes.
const (
	ScopeRead      Scope = "read"      // see jobs, results, workers, settings, incidents and logs
	ScopeScan      Scope = "scan"      // also submit, cancel and retry jobs
	ScopeIncidents Scope = "incidents" // tell what happens to incidents, and see nothing: for agents
	ScopeRemedies  Scope = "remedies"  // see, tell what happens to incidents, and also approve remedies and end incidents
	ScopeAdmin     Scope = "admin"     // all of it, and change settings and pools, restart workers, make keys
)

// Scopes are all of them.
var Scopes = []Scope{ScopeRead, ScopeScan, ScopeIncidents, ScopeRemedies, ScopeAdmin}

// Includes reports whether s allows what want allows. A scope that is none of these allows nothing.
func (s Scope) Includes(want Scope) bool {
	if !slices.Contains(Scopes, s) || !slices.Contains(Scopes, want) {
		return false
	}
	switch s {
	case want, ScopeAdmin:
		return true
	case ScopeScan:
		return want == ScopeRead
	case ScopeRemedies:
		return want == ScopeRead || want == ScopeIncidents
	}
	return false
}

// KeyRequest asks for a new API key.
type KeyRequest struct {
	Name  string `json:"name" doc:"who or what uses it; small letters, digits and dashes" maxLength:"63" minLength:"1"`
	Scope Scope  `json:"scope" doc:"what it may do" enum:"read,scan,incidents,remedies,admin"`
	// TTL is how long it is valid, 0 is until it is revoked.
	TTL Duration `json:"ttl,omitempty" doc:"how long it is valid, such as 720h; empty is until it is revoked"`
}

// Check finds what is wrong with a request.
func (r KeyRequest) Check() error {
	if !poolName.MatchString(r.Name) {
		return Errorf(ErrInvalid, "%q is no name of a key: lower-case letters, digits and dashes, at most 63", r.Name)
	}
	if !slices.Contains(Scopes, r.Scope) {
		names := make([]string, len(Scopes))
		for i, s := range Scopes {
			names[i] = string(s)
		}
		return Errorf(ErrInvalid, "%q is no scope: choose one of %s", r.Scope, strings.Join(names, ", "))
	}
	if r.TTL != 0 && time.Duration(r.TTL) < minKeyTTL {
		return Errorf(ErrInvalid, "a key that is valid for %v is of no use: at least %v", r.TTL, Duration(minKeyTTL))
	}
	return nil
}

// minKeyTTL is below what anybody means; it catches a unit that was forgotten.
const minKeyTTL = time.Minute

// Key is an API key, without its secret.
type Key struct {
	Name    string    `json:"name"`
	Scope   Scope     `json:"scope"`
	By      string    `json:"by"` // who made it
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"`
	// Used is when it was last used, to the hour; zero is never.
	Used time.Time `json:"used,omitzero"`
}

// NewKey is an API key with its secret, which is shown once.
type NewKey struct {
	Key
	Secret string `json:"secret"`
}

// String leaves out the secret, so that it is not logged by mistake.
func (k NewKey) String() string { return fmt.Sprintf("key %s", k.Name) }
