package keys

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"
)

const (
	secretPrefix = "rdev_"
	idBytes      = 8
	secretBytes  = 32
)

// secret is an API key as its user has it: rdev_ID_SECRET. The ID finds it in the database; comparing the whole takes
// the same time wherever a wrong one differs.
type secret struct{ text, id string }

func newSecret() secret {
	b := make([]byte, idBytes+secretBytes)
	rand.Read(b) // it never fails
	id := hex.EncodeToString(b[:idBytes])
	return secret{secretPrefix + id + "_" + base64.RawURLEncoding.EncodeToString(b[idBytes:]), id}
}

// hash is what the database has of it.
func (s secret) hash() []byte {
	sum := sha256.Sum256([]byte(s.text))
	return sum[:]
}

// parseSecret refuses what cannot be a key before the database is asked.
func parseSecret(text string) (secret, bool) {
	rest, ok := strings.CutPrefix(text, secretPrefix)
	id, tail, _ := strings.Cut(rest, "_")
	ok = ok && len(id) == hex.EncodedLen(idBytes) && len(tail) == base64.RawURLEncoding.EncodedLen(secretBytes)
	return secret{text, id}, ok
}
