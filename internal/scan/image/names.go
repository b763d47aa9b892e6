package image

import (
	"cmp"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// entryName is what an entry of index.json is called: containerd and BuildKit
// write the whole name, the specification's annotation is most often the tag alone.
func (d *descriptor) entryName() string {
	return cmp.Or(d.Annotations.Containerd, d.Annotations.Ref)
}

// hasName reports whether a person can mean the entry with that name or tag.
func (d *descriptor) hasName(want string) bool {
	a := &d.Annotations
	if want == a.Ref || want == a.Containerd || sameName(want, a.Ref) || sameName(want, a.Containerd) {
		return true
	}
	colon := strings.LastIndexByte(a.Containerd, ':')
	return colon >= 0 && a.Containerd[colon+1:] == want
}

// sameName compares names as registries understand them: alpine:3.20 is docker.io/library/alpine:3.20.
func sameName(a, b string) bool {
	if !strings.ContainsAny(a, ":/") || !strings.ContainsAny(b, ":/") {
		return false // tags, not names
	}
	x, err := name.ParseReference(a)
	if err != nil {
		return false
	}
	y, err := name.ParseReference(b)
	return err == nil && x.Name() == y.Name()
}

// anyNamed reports whether any of the entries has a name.
func anyNamed(all []descriptor) bool {
	for i := range all {
		if all[i].entryName() != "" {
			return true
		}
	}
	return false
}

// entryNames lists entries for an error.
func entryNames(all []descriptor) string {
	var names []string
	for i := range all {
		if n := all[i].entryName(); n != "" {
			names = append(names, n)
		} else if all[i].isImage() {
			names = append(names, all[i].Digest)
		}
	}
	if len(names) == 0 {
		return "none"
	}
	return enumerate(names)
}
