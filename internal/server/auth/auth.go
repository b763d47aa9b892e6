// Package auth says who sent a request, and what they may do.
//
// An API key is a secret of 256 random bits with a name and a scope. The
// database has its SHA-256 alone, which is enough to check it: nobody can try 2^256 secrets, so
// there is nothing for a slow hash to slow down. A peer is a user of this machine at the
// other end of a Unix socket, whom the kernel names: root, and the server's own
// user, may do everything; others may submit scans.
//
// Hazards:
//
//   - A key in the Authorization header counts, and a peer's user does not, where there are both.
//   - Who sends wrong keys is refused for a while, unread. Behind a proxy all
//     callers have one address, so keys that were right before are still looked at.
//   - A key is looked up at each request, so that a revoked one is refused at once. A stream that
//     is open stays open until its age ends it.
package auth

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"

	"stella/internal/limit"
	"stella/internal/listen"
	"stella/internal/scanner"
)

// Why a request is from nobody. Their texts are for the caller.
var (
	ErrNoKey   = errors.New("an API key is needed: send it as Authorization: Bearer KEY; an administrator makes one with stella keys create")
	ErrBadKey  = errors.New("the API key is not valid: it is wrong, or was revoked, or has expired")
	ErrTooMany = errors.New("too many wrong API keys came from this address: wait a minute")
)

const (
	// failuresPerSecond and failuresAtOnce are how many wrong keys of one address are
	// looked up: each costs a read of the database.
	failuresPerSecond = 0.5
	failuresAtOnce    = 20
	// maxKnown is how many keys that were right are remembered: 32 bytes each.
	maxKnown = 1024
)

// Identity is who sent a request, and what they may do.
type Identity struct {
	scanner.Caller
	Scope scanner.Scope
}

// Gate tells who sent a request. It may be used by several goroutines.
type Gate struct {
	keys   *Keys
	failed *limit.Rates
	known  *limit.Recent[[sha256.Size]byte, struct{}]
}

// NewGate makes a gate for these keys.
func NewGate(keys *Keys) *Gate {
	return &Gate{
		keys:   keys,
		failed: limit.NewRates(failuresPerSecond, failuresAtOnce),
		known:  limit.NewRecent[[sha256.Size]byte, struct{}](maxKnown),
	}
}

type peerKey struct{}

// ConnContext is for http.Server: it tells requests who has the other end of their connection.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	if uid, ok := listen.Peer(c); ok {
		return context.WithValue(ctx, peerKey{}, uid)
	}
	return ctx
}

// Identify returns who sent r. The error matches [ErrNoKey], [ErrBadKey] or
// [ErrTooMany], or is the database's.
func (g *Gate) Identify(r *http.Request) (Identity, error) {
	uid, isPeer := r.Context().Value(peerKey{}).(int)
	headers := r.Header.Values("Authorization")
	switch {
	case len(headers) == 0 && isPeer:
		return peer(uid), nil
	case len(headers) == 0:
		return Identity{}, ErrNoKey
	}
	from := origin(r.RemoteAddr)
	if isPeer {
		from = fmt.Sprintf("uid %d", uid)
	}
	return g.identify(r.Context(), from, headers)
}

func peer(uid int) Identity {
	local := uid == 0 || uid == os.Geteuid()
	id := Identity{Caller: scanner.Caller{Name: fmt.Sprintf("uid %d", uid), Local: local}, Scope: scanner.ScopeScan}
	if local {
		id.Scope = scanner.ScopeAdmin
	}
	return id
}

func (g *Gate) identify(ctx context.Context, from string, headers []string) (Identity, error) {
	secret, err := parse(headers)
	hash := sha256.Sum256([]byte(secret.text))
	if !g.known.Has(hash) && g.failed.Empty(from) {
		return Identity{}, ErrTooMany
	}
	var key scanner.Key
	if err == nil {
		key, err = g.keys.find(ctx, secret.id, hash)
	}
	if errors.Is(err, ErrBadKey) {
		g.failed.Take(from)
	}
	if err != nil {
		return Identity{}, err
	}
	g.known.Get(hash, func() struct{} { return struct{}{} })
	return Identity{Caller: scanner.Caller{Name: "key " + key.Name}, Scope: key.Scope}, nil
}

// parse finds the key in the values of the header.
func parse(headers []string) (secret, error) {
	scheme, text, _ := strings.Cut(headers[0], " ")
	s, ok := parseSecret(strings.TrimSpace(text))
	if len(headers) > 1 || !strings.EqualFold(scheme, "Bearer") || !ok {
		return secret{}, ErrBadKey
	}
	return s, nil
}

// origin is the part of a remote address that one caller cannot change at will:
// the address, or of IPv6 the network, which is what a customer gets.
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
