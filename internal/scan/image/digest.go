package image

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"
)

// digest is a well-formed digest: of a known algorithm, with the right number of lower-case
// hexadecimal digits, and so without anything that means something in a path.
type digest struct{ algorithm, hex string }

func (d digest) String() string { return d.algorithm + ":" + d.hex }

func (d digest) hash() hash.Hash {
	if d.algorithm == "sha512" {
		return sha512.New()
	}
	return sha256.New()
}

func parseDigest(s string) (digest, error) {
	algorithm, digits, _ := strings.Cut(s, ":")
	size := 0
	switch algorithm {
	case "sha256":
		size = 2 * sha256.Size
	case "sha512":
		size = 2 * sha512.Size
	default:
		return digest{}, fmt.Errorf("%.100q is not a digest; it must be sha256: or sha512: and hexadecimal digits", s)
	}
	if len(digits) != size || strings.Trim(digits, "0123456789abcdef") != "" {
		return digest{}, fmt.Errorf("%.200q is not a digest: %s has %d lower-case hexadecimal digits", s, algorithm, size)
	}
	return digest{algorithm, digits}, nil
}

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// verify compares a document with the digest that it was promised under.
func verify(kind, promised string, data []byte) error {
	d, err := parseDigest(promised)
	if err != nil {
		return fmt.Errorf("%s: %w", kind, err)
	}
	h := d.hash()
	h.Write(data)
	if got := d.algorithm + ":" + hex.EncodeToString(h.Sum(nil)); got != promised {
		return fmt.Errorf("the %s is not what was promised: expected %s, got %s; it was changed or damaged on the way", kind, promised, got)
	}
	return nil
}
