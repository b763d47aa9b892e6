package java

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"stella/internal/scan/inventory"
	"stella/internal/zipstream"
)

// reading identifies one archive.
type reading struct {
	*scan
	a        *zipstream.Archive
	member   string // path of the archive in the file, empty for the file itself
	name     fileName
	manifest manifest
}

// text reads a small member, at most limit bytes of it, into the scan's buffer: valid until
// the next call. A damaged one is Partial, and then what was read before the damage counts.
func (r *reading) text(m *zipstream.Member, limit int, name string) (b []byte, whole bool, err error) {
	if m.Size > r.left {
		r.out.Partial(fmt.Sprintf("%s: %s: %v", r.base(r.member), inventory.Clean(name), errInflated))
		return nil, true, nil
	}
	in, err := r.dec.Open(r.a, m)
	n := 0
	if err == nil {
		n, err = io.ReadFull(in, r.scan.text[:limit])
	}
	r.left -= int64(n)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	} else if isDamage(err) {
		r.out.Partial(fmt.Sprintf("%s: %s: %v", r.base(r.member), inventory.Clean(name), err))
		err = nil
	}
	return r.scan.text[:n], int64(n) == m.Size, err
}

// describe reads a descriptor. Where only the identity matters, pom.xml is not
// read unless it has to stand in for pom.properties.
func (r *reading) describe(d *descriptor, licenses bool) (artifact, error) {
	var v artifact
	if d.has {
		b, whole, err := r.text(&d.properties, maxProperties, d.dir+"pom.properties")
		if err != nil {
			return v, err
		}
		if !whole && len(b) == maxProperties {
			r.out.Partial(fmt.Sprintf("%s: %spom.properties: only %d bytes were read", r.base(r.member), inventory.Clean(d.dir), maxProperties))
		}
		v = parseProperties(b)
	}
	if !d.hasXM || !licenses && v.complete() {
		return v, nil
	}
	b, whole, err := r.text(&d.xml, maxText, d.dir+"pom.xml")
	if err != nil {
		return v, err
	}
	if !whole && len(b) == maxText && licenses {
		r.out.Partial(fmt.Sprintf("%s: %spom.xml: only %d bytes were read", r.base(r.member), inventory.Clean(d.dir), maxText))
	}
	x := parsePOM(b)
	v.licenses = x.licenses
	// Its parts stand in for what is missing, but never mix two artifacts.
	if v.artifact == "" || v.artifact == x.artifact {
		v.group, v.artifact, v.version = or(v.group, x.group), x.artifact, or(v.version, x.version)
	}
	return v, nil
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// How well a descriptor fits the file name, best last.
const (
	unfit      = iota
	loose      // one begins or ends with the other
	similar    // the same but for punctuation and case
	exact      // the same
	exactWhole // the same, and the version too
)

// choose returns the main package among the descriptors and its index, -1 where none is.
func (r *reading) choose(ds []descriptor) (main artifact, at int, err error) {
	best := 0
	at = -1
	for i := range ds {
		v, err := r.describe(&ds[i], false)
		if err != nil {
			return artifact{}, -1, err
		}
		if v.artifact == "" {
			continue
		}
		// A pom.xml beside it breaks ties: shading tends to drop those of others.
		fit := 2 * r.name.fit(v)
		if fit <= 2*loose && (fit > 0 || len(ds) == 1) {
			if !r.agrees(v.version) {
				continue
			}
			fit = max(fit, 1) // the only one there is
		}
		if fit > 1 && ds[i].hasXM {
			fit++
		}
		if fit > best {
			best, at = fit, i
		}
	}
	if at < 0 {
		return artifact{}, -1, nil
	}
	if main, err = r.describe(&ds[at], true); err != nil {
		return artifact{}, -1, err
	}
	main.version = or(main.version, r.statedVersion())
	main.group = or(main.group, r.groupFor(main.artifact, main.version))
	return main, at, nil
}

// agrees reports whether file name and manifest state no other version. The version of an OSGi bundle has
// three numbers and perhaps a qualifier (OSGi Core, 3.2.5): 1.18.0 is Maven's 1.18, 5.0.1.2021 its 5.0.1.
func (r *reading) agrees(version string) bool {
	stated := r.statedVersion()
	if stated == "" || version == "" || stated == version {
		return true
	}
	return r.name.version == "" && stated == r.manifest.value[bundleVersion] && strings.HasPrefix(stated, version+".")
}

// statedVersion is what file name or manifest say.
func (r *reading) statedVersion() string {
	if r.name.version != "" {
		return r.name.version
	}
	return r.manifest.version()
}

// guess identifies an archive without a descriptor of its own.
func (r *reading) guess() artifact {
	name := or(r.manifest.tomcat(), r.name.name)
	if name == "" {
		name = r.manifest.first(bundleSymbolicName, extensionName, shortName, implementationTitle)
		name, _, _ = strings.Cut(name, ";")
	}
	version := r.statedVersion()
	return artifact{group: r.groupFor(name, version), artifact: name, version: version}
}

// groupFor guesses the group id of an artifact that has no descriptor.
func (r *reading) groupFor(name, version string) string {
	if g := knownGroup(name, version); g != "" {
		return g
	}
	if strings.HasPrefix(name, "gradle-") && r.manifest.value[implementationTitle] == "Gradle" {
		return "org.gradle" // others name their plugins gradle-… too
	}
	if g := r.manifest.group(name); g != "" {
		return g
	}
	if i := strings.LastIndexByte(name, '.'); i > 0 && isGroup(name) {
		return name[:i]
	}
	return name
}
