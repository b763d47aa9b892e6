package sbom

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"path"
	"strconv"
	"strings"
	"time"

	packageurl "github.com/package-url/packageurl-go"

	"stella/internal/scan/inventory"
)

// uuidSpace is the name space of Stella's document ids, a random UUID of version 4 made once.
var uuidSpace = [16]byte{0x82, 0x3f, 0x53, 0xab, 0xb5, 0xdb, 0x42, 0x23, 0x97, 0xe1, 0xf4, 0x60, 0xc2, 0x12, 0x6f, 0xca}

// uuid names the document: equal documents have equal names, and anything
// that makes a different document (another image, format, version of Stella, time, or a scan
// that could read less) makes a different name. It is of version 5 (RFC 9562, section 5.5), a hash of the
// image's digest and these. Version 8 would allow a better hash, but readers from before 2024
// reject it, and nothing depends on the name being hard to forge.
func (d *Document) uuid(f Format) string {
	h := sha1.New()
	h.Write(uuidSpace[:])
	field(h, f.String(), d.ToolVersion, d.timestamp(), d.Subject.Digest)
	if d.Subject.Digest == "" {
		field(h, d.Subject.Reference, d.Subject.Name)
		for i := range d.Subject.Layers {
			field(h, d.Subject.layer(i))
		}
	}
	count := d.Inventory.Count()
	for _, t := range sortedTypes(count) {
		field(h, string(t), strconv.Itoa(count[t]))
	}
	for _, p := range d.Inventory.Problems() {
		field(h, strconv.Itoa(p.Layer), p.Path, p.Extractor, p.Reason)
	}
	u := h.Sum(nil)[:16]
	u[6] = u[6]&0x0f | 0x50
	u[8] = u[8]&0x3f | 0x80
	x := hex.EncodeToString(u)
	return x[:8] + "-" + x[8:12] + "-" + x[12:16] + "-" + x[16:20] + "-" + x[20:]
}

// field adds texts to a hash, so that no two lists of texts look the same.
func field(h hash.Hash, texts ...string) {
	for _, t := range texts {
		h.Write([]byte(strconv.Itoa(len(t)) + ":" + t))
	}
}

// timestamp is the time of creation in UTC and whole seconds, as SPDX wants it; "" where it is not known.
func (d *Document) timestamp() string {
	if d.Created.IsZero() {
		return ""
	}
	return d.Created.UTC().Format(time.RFC3339)
}

// purl is the package URL of the image, of type oci: named after the last element
// of the repository, versioned by the digest. "" where the digest is not known. The digest's
// colon stays as it is, as in the package URLs of the components: the standard of 2025 (ECMA-427) no longer escapes it.
func (s *Subject) purl() string {
	if s.Digest == "" {
		return ""
	}
	name := path.Base(s.Repository)
	if s.Repository == "" {
		name = path.Base(s.title())
	}
	var q packageurl.Qualifiers
	for _, kv := range [][2]string{{"arch", s.Architecture}, {"repository_url", s.Repository}, {"tag", s.Tag}} {
		if kv[1] != "" {
			q = append(q, packageurl.Qualifier{Key: kv[0], Value: kv[1]})
		}
	}
	return packageurl.NewPackageURL(packageurl.TypeOCI, "", strings.ToLower(name), s.Digest, q, "").ToString()
}

// sha256Hex is the hash in a digest, "" for digests of other algorithms and for malformed ones.
func sha256Hex(digest string) string {
	h, ok := strings.CutPrefix(digest, "sha256:")
	if !ok || len(h) != 2*sha256.Size {
		return ""
	}
	if _, err := hex.DecodeString(h); err != nil {
		return ""
	}
	return strings.ToLower(h)
}

// readable is how many bytes of a text are kept in an identifier made from it, for people's eyes.
const readable = 32

// appendID makes an SPDX identifier of any text: what may stand in one (letters,
// digits, "." and "-"), and then 128 bits of the text's SHA-256. The hash alone makes it
// unique; an image that was made to confuse cannot find two texts with the same one.
func appendID(dst []byte, prefix, text string) []byte {
	dst = append(dst, prefix...)
	for i := range min(len(text), readable) {
		c := text[i]
		if c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || c == '.' {
			dst = append(dst, c)
		} else if dst[len(dst)-1] != '-' {
			dst = append(dst, '-')
		}
	}
	if dst[len(dst)-1] != '-' {
		dst = append(dst, '-')
	}
	var stack [256]byte
	sum := sha256.Sum256(append(stack[:0], text...))
	return hex.AppendEncode(dst, sum[:16])
}

// fullName is what people call a package: with its npm scope, Maven group, Go
// module path or Composer vendor, in the way each of them writes it.
func fullName(p *inventory.Package) string {
	switch {
	case p.Namespace == "" || p.Type.FromDistribution():
		return p.Name
	case p.Type == inventory.Maven:
		return p.Namespace + ":" + p.Name
	default:
		return p.Namespace + "/" + p.Name
	}
}
