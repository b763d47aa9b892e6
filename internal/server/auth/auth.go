// Package auth says who sent a request to the scanner service, and what they may do.
//
// A key has a name and a scope. A peer, a user of this machine at the other end of a Unix socket, needs none: root, and the server's
// own user, may do everything; others may submit scans. What keys look like and how
// requests carry them is [apikey]'s, its hazards too. A stream that is open stays open until its age ends it,
// also when its key is revoked.
package auth

import (
	"context"

	"stella/internal/apikey"
	"stella/internal/scanner"
)

// Identity is who sent a request, and what they may do.
type Identity struct {
	scanner.Caller
	Scope scanner.Scope
}

// Gate tells who sent a request. It may be used by several goroutines.
type Gate = apikey.Gate[Identity]

// NewGate makes a gate for these keys.
func NewGate(keys *Keys) *Gate {
	return apikey.NewGate(apikey.Rules[Identity]{Command: "stella keys create", Peer: peer, Find: keys.identify})
}

func peer(p apikey.Peer) Identity {
	id := Identity{Caller: scanner.Caller{Name: p.String(), Local: p.CouldStopUs()}, Scope: scanner.ScopeScan}
	if id.Local {
		id.Scope = scanner.ScopeAdmin
	}
	return id
}

// identify returns who has the key of this text.
func (k *Keys) identify(ctx context.Context, text string) (Identity, error) {
	s, ok := apikey.Parse(secretPrefix, text)
	if !ok {
		return Identity{}, apikey.ErrBadKey
	}
	key, err := k.find(ctx, s)
	if err != nil {
		return Identity{}, err
	}
	return Identity{Caller: scanner.Caller{Name: "key " + key.Name}, Scope: key.Scope}, nil
}
