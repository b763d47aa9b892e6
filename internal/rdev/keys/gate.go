// Package keys says who sent a request to rdev-api, and what they may do.
//
// A key has a name, a scope and the projects that it is for. A peer, a user of this machine at the other end of a Unix socket, needs
// none: root and the service's own user may do everything, whom the socket's group lets in may run commands. The
// master key is one from a file, for who makes the first keys where nobody has a socket. What keys look like and how
// requests carry them is [apikey]'s, its hazards too. A stream whose key is revoked ends only if somebody ends it (stream.Hub.EndKey).
package keys

import (
	"context"
	"net/http"
	"slices"
	"time"

	"stella/internal/apikey"
	"stella/internal/rdev"
)

// MinMaster is the fewest bytes of a master key, which cannot be guessed if they are random.
const MinMaster = 32

// Identity is who sent a request, and what they may do.
type Identity struct {
	rdev.Caller
	Scope rdev.Scope
	// Projects are those that they may see; empty is all.
	Projects []string
	// From is the address that they have, or "socket".
	From string
	// Until is when their key expires; zero is never.
	Until time.Time
}

// May reports whether a project is one of theirs.
func (i Identity) May(project string) bool {
	return len(i.Projects) == 0 || slices.Contains(i.Projects, project)
}

// Gate tells who sent a request. It may be used by several goroutines.
type Gate struct {
	gate   *apikey.Gate[Identity]
	keys   *Keys
	master []byte // the hash; nil is none
}

// NewGate makes a gate for these keys, and a master key where that is not empty.
func NewGate(keys *Keys, master string) *Gate {
	g := &Gate{keys: keys}
	g.gate = apikey.NewGate(apikey.Rules[Identity]{Command: "stella rdev keys create", Peer: peer, Find: g.find})
	if master != "" {
		hash := apikey.HashOf(master)
		g.master = hash[:]
	}
	return g
}

// Identify returns who sent r. The error matches those of [apikey.Gate.Identify].
func (g *Gate) Identify(r *http.Request) (Identity, error) {
	id, err := g.gate.Identify(r)
	id.From = r.RemoteAddr
	if _, isPeer := apikey.PeerOf(r.Context()); isPeer {
		id.From = "socket"
	}
	return id, err
}

func peer(p apikey.Peer) Identity {
	id := Identity{Caller: rdev.Caller{Name: p.String(), Local: p.CouldStopUs()}, Scope: rdev.ScopeRun}
	if id.Local {
		id.Scope = rdev.ScopeAdmin
	}
	return id
}

// find returns who has the key of this text, or the master key.
func (g *Gate) find(ctx context.Context, text string) (Identity, error) {
	if g.master != nil && apikey.HashOf(text).Is(g.master) {
		return Identity{Caller: rdev.Caller{Name: "master key"}, Scope: rdev.ScopeAdmin}, nil
	}
	s, ok := apikey.Parse(secretPrefix, text)
	if !ok {
		return Identity{}, apikey.ErrBadKey
	}
	key, until, err := g.keys.find(ctx, s)
	if err != nil {
		return Identity{}, err
	}
	return Identity{Caller: rdev.Caller{Name: CallerName(key.Name)}, Scope: key.Scope, Projects: key.Projects, Until: until}, nil
}

// CallerName is the name of the caller who has the key of that name.
func CallerName(key string) string { return "key " + key }
