package apikey

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"

	"stella/internal/limit"
	"stella/internal/listen"
)

// Why a request is from nobody. Their texts are for the caller.
var (
	ErrNoKey   = errors.New("an API key is needed: send it as Authorization: Bearer KEY")
	ErrBadKey  = errors.New("the API key is not valid: it is wrong, or was revoked, or has expired")
	ErrTooMany = errors.New("too many wrong API keys came from this address: wait a minute")
)

const (
	// failuresPerSecond and failuresAtOnce are how many wrong keys of one address are looked up: each costs a
	// read of the service's database.
	failuresPerSecond = 0.5
	failuresAtOnce    = 20
	// maxKnown is how many keys that were right are remembered: some hundred bytes each.
	maxKnown = 1024
)

// Rules are what a service says of its callers, whom it knows as I.
type Rules[I any] struct {
	// Command is what somebody who has no key can ask an administrator to run.
	Command string
	// Peer is who a user of this machine is.
	Peer func(Peer) I
	// Find returns who has the key of this text, which need not have the form of one, or an error that matches [ErrBadKey].
	Find func(ctx context.Context, text string) (I, error)
}

// Gate tells who sent a request. It may be used by several goroutines.
type Gate[I any] struct {
	Rules[I]
	failed *limit.Rates
	known  *limit.Recent[Hash, struct{}]
}

// NewGate makes a gate with these rules.
func NewGate[I any](rules Rules[I]) *Gate[I] {
	return &Gate[I]{rules, limit.NewRates(failuresPerSecond, failuresAtOnce), limit.NewRecent[Hash, struct{}](maxKnown)}
}

// Identify returns who sent r. The error matches [ErrNoKey], [ErrBadKey] or [ErrTooMany], or is another one of Find.
func (g *Gate[I]) Identify(r *http.Request) (I, error) {
	peer, isPeer := PeerOf(r.Context())
	headers := r.Header.Values("Authorization")
	var nobody I
	switch {
	case len(headers) == 0 && isPeer:
		return g.Peer(peer), nil
	case len(headers) == 0:
		return nobody, fmt.Errorf("%w; an administrator makes one with %s", ErrNoKey, g.Command)
	}
	from := origin(r.RemoteAddr)
	if isPeer {
		from = peer.String()
	}
	text, ok := bearer(headers)
	hash := HashOf(text)
	if !g.known.Has(hash) && g.failed.Empty(from) {
		return nobody, ErrTooMany
	}
	id, err := nobody, ErrBadKey
	if ok {
		id, err = g.Find(r.Context(), text)
	}
	if errors.Is(err, ErrBadKey) {
		g.failed.Take(from)
	}
	if err != nil {
		return nobody, err
	}
	g.known.Get(hash, func() struct{} { return struct{}{} })
	return id, nil
}

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

// Peer is a user of this machine, by number, at the other end of a Unix socket.
type Peer int

// String is the peer's name among callers.
func (p Peer) String() string { return fmt.Sprintf("uid %d", int(p)) }

// CouldStopUs reports whether they are root, or the user that this process runs as: who has its power anyhow.
func (p Peer) CouldStopUs() bool { return p == 0 || int(p) == os.Geteuid() }

type peerKey struct{}

// ConnContext is for http.Server: it tells requests who has the other end of their connection.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	if uid, ok := listen.Peer(c); ok {
		return context.WithValue(ctx, peerKey{}, Peer(uid))
	}
	return ctx
}

// PeerOf is who has the other end of a request's connection, if that is a Unix socket.
func PeerOf(ctx context.Context) (Peer, bool) {
	p, ok := ctx.Value(peerKey{}).(Peer)
	return p, ok
}
