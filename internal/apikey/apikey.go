// Package apikey is how a service knows who sent a request: what its API keys look like, how a request carries one,
// and how often somebody may send a wrong one. What keys there are and what they allow, the service says.
//
// A [Secret] is 256 random bits with an ID before them, PREFIX_ID_BITS. The service keeps its [Hash] alone, a plain SHA-256, which is enough
// to check it: nobody can try 2^256 secrets, so there is nothing for a slow hash to slow down. A [Peer] is a user of this
// machine at the other end of a Unix socket, whom the kernel names. A [Gate] tells them apart.
//
// Hazards:
//
//   - Where there are both, the key in the Authorization header counts, and not the peer.
//   - Who sends wrong keys is refused for a while, unread. Behind a proxy all callers have one address, so keys that
//     were right before are still looked at.
//   - A key is looked up at each request, so that a revoked one is refused at once. What is open, such as a
//     stream, the service has to end itself.
package apikey

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"strings"
)

const (
	idBytes     = 8
	secretBytes = 32
)

// Secret is an API key as its user has it. The ID finds it among those that are kept; comparing the hash of the whole takes
// the same time wherever a wrong one differs.
type Secret struct{ Text, ID string }

// New makes a secret that begins with prefix, by which people and scanners for leaked keys know whose it is.
func New(prefix string) Secret {
	b := make([]byte, idBytes+secretBytes)
	rand.Read(b) // it never fails
	id := hex.EncodeToString(b[:idBytes])
	return Secret{prefix + "_" + id + "_" + base64.RawURLEncoding.EncodeToString(b[idBytes:]), id}
}

// Parse refuses what cannot be a secret of prefix, before anybody looks for it.
func Parse(prefix, text string) (Secret, bool) {
	rest, ok := strings.CutPrefix(text, prefix+"_")
	id, bits, _ := strings.Cut(rest, "_")
	if !ok || len(id) != hex.EncodedLen(idBytes) || len(bits) != base64.RawURLEncoding.EncodedLen(secretBytes) {
		return Secret{}, false
	}
	return Secret{text, id}, true
}

// Hash is what a service keeps of a secret.
func (s Secret) Hash() Hash { return HashOf(s.Text) }

// Hash is the SHA-256 of a secret.
type Hash [sha256.Size]byte

// HashOf is the hash of a secret of any form.
func HashOf(text string) Hash { return sha256.Sum256([]byte(text)) }

// Is reports whether this is the hash that was kept, in a time that does not tell where they differ.
func (h Hash) Is(kept []byte) bool { return subtle.ConstantTimeCompare(h[:], kept) == 1 }
