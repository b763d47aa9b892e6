// Package keys says who sent a request to rdev-api, and what they may do.
//
// An API key is a secret of 256 random bits with a name, a scope and the projects that it is for. The database
// has its SHA-256 alone, which is enough to check it: nobody can try 2^256 secrets, so there is nothing for a slow
// hash to slow down. A peer is a user of this machine at the other end of a Unix socket, whom the kernel names: root and
// the service's own user may do everything, whom the socket's group lets in may run commands. The master key is
// one from a file, for who makes the first keys where nobody has a socket.
//
// Hazards:
//
//   - Where there are both, the key in the Authorization header counts, and not the peer's user.
//   - Who sends wrong keys is refused for a while, unread. Behind a proxy all callers have one address, so keys that
//     were right before are still looked at.
//   - A key is looked up at each request, so that a revoked one is refused at once; a stream that is open ends
//     only if somebody ends it (stream.Hub.EndKey).
package keys

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"stella/internal/limit"
	"stella/internal/listen"
	"stella/internal/rdev"
)

// Why a request is from nobody. Their texts are for the caller.
var (
	ErrNoKey   = errors.New("an API key is needed: send it as Authorization: Bearer KEY; an administrator makes one with stella rdev keys create")
	ErrBadKey  = errors.New("the API key is not valid: it is wrong, or was revoked, or has expired")
	ErrTooMany = rdev.Errorf(rdev.ErrTooMany, "too many wrong API keys came from this address: wait a minute").After(time.Minute)
)

const (
	// failuresPerSecond and failuresAtOnce are how many wrong keys of one address are looked up: each costs a
	// read of the database.
	failuresPerSecond = 0.5
	failuresAtOnce    = 20
	// maxKnown is how many keys that were right are remembered: 32 bytes each.
	maxKnown = 1024
	// MinMaster is the fewest bytes of a master key, which cannot be guessed if they are random.
	MinMaster = 32
)

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
	keys   *Keys
	master []byte // the hash; nil is none
	failed *limit.Rates
	known  *limit.Recent[[sha256.Size]byte, struct{}]
}

// NewGate makes a gate for these keys, and a master key where that is not empty.
func NewGate(keys *Keys, master string) *Gate {
	g := &Gate{
		keys:   keys,
		failed: limit.NewRates(failuresPerSecond, failuresAtOnce),
		known:  limit.NewRecent[[sha256.Size]byte, struct{}](maxKnown),
	}
	if master != "" {
		g.master = secret{text: master}.hash()
	}
	return g
}

type peerKey struct{}

// ConnContext is for http.Server: it tells requests who has the other end of their connection.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	if uid, ok := listen.Peer(c); ok {
		return context.WithValue(ctx, peerKey{}, uid)
	}
	return ctx
}

// Identify returns who sent r. The error matches [ErrNoKey], [ErrBadKey] or [ErrTooMany], or is the database's.
func (g *Gate) Identify(r *http.Request) (Identity, error) {
	uid, isPeer := r.Context().Value(peerKey{}).(int)
	headers := r.Header.Values("Authorization")
	switch {
	case len(headers) == 0 && isPeer:
		return peer(uid), nil
	case len(headers) == 0:
		return Identity{}, ErrNoKey
	}
	from, address := origin(r.RemoteAddr), r.RemoteAddr
	if isPeer {
		from, address = fmt.Sprintf("uid %d", uid), socket
	}
	id, err := g.identify(r.Context(), from, headers)
	id.From = address
	return id, err
}

// socket is where peers come from.
const socket = "socket"

func peer(uid int) Identity {
	local := uid == 0 || uid == os.Geteuid()
	id := Identity{Caller: rdev.Caller{Name: fmt.Sprintf("uid %d", uid), Local: local}, Scope: rdev.ScopeRun, From: socket}
	if local {
		id.Scope = rdev.ScopeAdmin
	}
	return id
}

func (g *Gate) identify(ctx context.Context, from string, headers []string) (Identity, error) {
	text, ok := bearer(headers)
	hash := sha256.Sum256([]byte(text))
	if !g.known.Has(hash) && g.failed.Empty(from) {
		return Identity{}, ErrTooMany
	}
	id, err := Identity{}, error(ErrBadKey)
	if ok && g.master != nil && subtle.ConstantTimeCompare(hash[:], g.master) == 1 {
		id, err = Identity{Caller: rdev.Caller{Name: "master key"}, Scope: rdev.ScopeAdmin}, nil
	} else if s, is := parseSecret(text); ok && is {
		id, err = g.lookUp(ctx, s)
	}
	if errors.Is(err, ErrBadKey) {
		g.failed.Take(from)
	}
	if err != nil {
		return Identity{}, err
	}
	g.known.Get(hash, func() struct{} { return struct{}{} })
	return id, nil
}

func (g *Gate) lookUp(ctx context.Context, s secret) (Identity, error) {
	key, until, err := g.keys.find(ctx, s)
	if err != nil {
		return Identity{}, err
	}
	return Identity{Caller: rdev.Caller{Name: CallerName(key.Name)}, Scope: key.Scope, Projects: key.Projects, Until: until}, nil
}

// CallerName is the name of the caller who has the key of that name.
func CallerName(key string) string { return "key " + key }

// bearer finds the key in the values of the header.
func bearer(headers []string) (text string, ok bool) {
	scheme, text, _ := strings.Cut(headers[0], " ")
	return strings.TrimSpace(text), len(headers) == 1 && strings.EqualFold(scheme, "Bearer")
}

// origin is the part of a remote address that one caller cannot change at will: the address, or of IPv6 the network,
// which is what a customer gets.
func origin(remote string) string {
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return remote
	}
	addr := at.Addr().Unmap()
	if addr.Is4() {
		return addr.String()
	}
	network, err := addr.WithZone("").Prefix(64)
	if err != nil {
		return addr.String()
	}
	return network.String()
}
