package squash

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"stella/internal/scan/fragment"
	"stella/internal/scan/inventory"
)

// found is a package, an os-release file or a problem at one place.
type found struct {
	kind              fragment.Kind
	time, id          uint64
	member, extractor string
	encoded           []byte
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendFound(b []byte, time, id uint64, r *fragment.Record) []byte {
	b = binary.BigEndian.AppendUint64(append(b, isFound), time)
	b = binary.BigEndian.AppendUint64(b, id)
	b = appendString(appendString(append(b, byte(r.Kind)), r.Member), r.Extractor)
	switch r.Kind {
	case fragment.Package:
		return append(b, r.Encoded...)
	case fragment.Problem:
		return append(b, r.Reason[:min(len(r.Reason), maxReason)]...)
	}
	v := &r.Release
	for _, s := range []string{v.ID, v.IDLike, v.VersionID, v.VersionCodename, v.PrettyName, v.Name} {
		b = appendString(b, s)
	}
	return b
}

var errRecord = errors.New("a sorted record is damaged")

func cutString(b []byte) (string, []byte, error) {
	n, k := binary.Uvarint(b)
	if k <= 0 || n > uint64(len(b)-k) {
		return "", nil, errRecord
	}
	return string(b[k : k+int(n)]), b[k+int(n):], nil
}

func parseFound(b []byte) (f found, err error) {
	if len(b) < 17 {
		return f, errRecord
	}
	f.time, f.id, f.kind = binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:]), fragment.Kind(b[16])
	if f.member, b, err = cutString(b[17:]); err != nil {
		return f, err
	}
	f.extractor, f.encoded, err = cutString(b)
	return f, err
}

// rootRelease is the distribution of one root: the image's own has the empty prefix, one
// that is unpacked inside the image ends in a slash.
type rootRelease struct {
	prefix string
	// etc says that it is the file in /etc, which rules over the one in /usr/lib (os-release(5)).
	etc bool
	inventory.Release
}

func (s *squasher) addRelease(key, value []byte) error {
	f, err := parseFound(value)
	if err != nil {
		return err
	}
	var r rootRelease
	v := &r.Release
	b := f.encoded
	for _, p := range []*string{&v.ID, &v.IDLike, &v.VersionID, &v.VersionCodename, &v.PrettyName, &v.Name} {
		if *p, b, err = cutString(b); err != nil {
			return err
		}
	}
	path := pathOf(key)
	prefix, inEtc := strings.CutSuffix(path, "etc/os-release")
	r.etc = inEtc
	r.prefix = strings.TrimSuffix(prefix, "usr/lib/os-release")
	if len(s.releases) == maxReleases {
		s.problems.add(inventory.Problem{Layer: layerOf(f.time), Path: path, Extractor: f.extractor,
			Reason: fmt.Sprintf("more than %d os-release files: packages below this one get the distribution of a root above it", maxReleases)})
		return nil
	}
	s.releases = append(s.releases, r)
	return nil
}

// sortReleases puts longer prefixes first, and /etc before /usr/lib.
func (s *squasher) sortReleases() {
	slices.SortStableFunc(s.releases, func(a, b rootRelease) int {
		if d := len(b.prefix) - len(a.prefix); d != 0 {
			return d
		}
		if a.etc != b.etc {
			if a.etc {
				return -1
			}
			return 1
		}
		return strings.Compare(a.prefix, b.prefix)
	})
}

// releaseFor is the distribution of the innermost root around path.
func (s *squasher) releaseFor(path string) *inventory.Release {
	for i := range s.releases {
		if strings.HasPrefix(path, s.releases[i].prefix) {
			return &s.releases[i].Release
		}
	}
	return nil
}

func (s *squasher) rootRelease() *inventory.Release {
	for i := range s.releases {
		if s.releases[i].prefix == "" {
			return &s.releases[i].Release
		}
	}
	return nil
}

const (
	// maxProblems are kept; what comes after is counted. An image that fails
	// everywhere needs its first thousand reasons, not a million.
	maxProblems = 1000
	maxReason   = 1 << 10
)

type problems struct {
	kept []inventory.Problem
	more int
}

func (p *problems) add(x inventory.Problem) {
	if len(p.kept) == maxProblems {
		p.more++
		return
	}
	x.Reason = x.Reason[:min(len(x.Reason), maxReason)]
	p.kept = append(p.kept, x)
}

func (p *problems) list() []inventory.Problem {
	if p.more == 0 {
		return p.kept
	}
	return append(p.kept, inventory.Problem{Layer: -1, Reason: fmt.Sprintf("%d more problems are not listed", p.more)})
}
