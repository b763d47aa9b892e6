package main

import (
	"path"
	"regexp"
	"slices"
	"strings"
)

// verdict says who is right where tools differ.
type verdict string

const (
	peerWrong    verdict = "the peer is wrong"
	notInstalled verdict = "not installed"
	sameThing    verdict = "the same thing under another name"
	peerMisses   verdict = "the peer does not look there"
	guess        verdict = "both guess"
	gap          verdict = "a gap of ours"
)

// rule explains differences of one class: those for which all of its conditions hold.
type rule struct {
	class   string
	verdict verdict
	tool    string // the peer; empty for both
	missing bool   // about what Stella lacks, else about what only Stella has
	key     *regexp.Regexp
	// places must match every place of the package, and there must be one; nil is any.
	places *regexp.Regexp
	// check is a further condition; nil is none.
	check  func(*comparison, *difference) bool
	reason string
}

func (r *rule) explains(c *comparison, d *difference) bool {
	if r.missing != d.missing || r.tool != "" && r.tool != c.tool || !r.key.MatchString(d.key) {
		return false
	}
	if r.places != nil && (len(d.places) == 0 || slices.ContainsFunc(d.places, func(p string) bool { return !r.places.MatchString(p) })) {
		return false
	}
	return r.check == nil || r.check(c, d)
}

// everywhere reports whether ok holds in every place of a package, for one of those that the other tool has in that place.
func everywhere(c *comparison, d *difference, ok func(place string, other *found) bool) bool {
	for _, place := range d.places {
		if !slices.ContainsFunc(c.others(d, place), func(o *found) bool { return o.kind() == d.kind() && ok(place, o) }) {
			return false
		}
	}
	return len(d.places) > 0
}

// sameVersion allows one of two versions to be missing, or to be the other with the qualifier of an OSGi bundle (5.0.1.2021…).
func sameVersion(a, b *found) bool {
	x, y := a.version(), b.version()
	return x == y || unversioned(a) || unversioned(b) || qualified(x, y) || qualified(y, x)
}

func qualified(long, short string) bool {
	return strings.Count(short, ".") == 2 && strings.HasPrefix(long, short+".")
}

func unversioned(f *found) bool { return f.version() == "" || f.version() == "unknown" }

// otherGroup: in every place the other tool has that artifact in that version, with another group id.
func otherGroup(c *comparison, d *difference) bool {
	return everywhere(c, d, func(_ string, o *found) bool {
		return o.artifact() == d.artifact() && sameVersion(o, d.found)
	})
}

// namedAfterFile: the artifact id is the archive's file name, and the other tool names another artifact in its place.
func namedAfterFile(c *comparison, d *difference) bool {
	return everywhere(c, d, func(place string, o *found) bool {
		return isFileName(place, d.artifact()) && !isFileName(place, o.artifact()) && sameVersion(o, d.found)
	})
}

// otherNamedAfterFile is namedAfterFile of the other tool's package.
func otherNamedAfterFile(c *comparison, d *difference) bool {
	return everywhere(c, d, func(place string, o *found) bool {
		return isFileName(place, o.artifact()) && sameVersion(o, d.found)
	})
}

// otherName: in every place the other tool has one or the other kind of package.
func otherName(c *comparison, d *difference) bool {
	return everywhere(c, d, func(place string, o *found) bool {
		return sameVersion(o, d.found) && (o.artifact() == d.artifact() || isFileName(place, o.artifact()) || isFileName(place, d.artifact()))
	})
}

// namedAfterBundle: the group id ends in the artifact id, both of them a Bundle-SymbolicName.
func namedAfterBundle(c *comparison, d *difference) bool {
	name, _ := cutVersion(d.key)
	group := strings.TrimPrefix(name[:max(0, strings.LastIndexByte(name, '/'))], "maven:")
	artifact, _, _ := strings.Cut(d.artifact(), ";")
	return strings.HasSuffix(group, "."+artifact) && everywhere(c, d, func(_ string, o *found) bool {
		_, version := cutVersion(o.key)
		return version != "" && version == d.version()
	})
}

// besidesShaded: the package is named after the archive, in which the other tool has only descriptors of others.
func besidesShaded(c *comparison, d *difference) bool {
	return !slices.ContainsFunc(d.places, func(place string) bool {
		return !isFileName(place, d.artifact()) || len(c.others(d, place)) > 0 || len(c.others(d, place+descriptors)) == 0
	})
}

// isFileName reports whether an archive's name is artifact.jar or artifact-version.jar.
func isFileName(place, artifact string) bool {
	base := strings.ToLower(path.Base(strings.ReplaceAll(place, "!/", "/")))
	rest, ok := strings.CutPrefix(strings.TrimSuffix(base, path.Ext(base)), artifact)
	return ok && (rest == "" || rest[0] == '-' && len(rest) > 1 && rest[1] >= '0' && rest[1] <= '9')
}

func withoutVersion(_ *comparison, d *difference) bool { return d.version() == "" }

// otherKey: Stella has the package that names gives for this one's name, in a version that contains this one's.
func otherKey(names map[string]string) func(*comparison, *difference) bool {
	return func(c *comparison, d *difference) bool {
		want := names[d.key[strings.IndexByte(d.key, ':')+1:strings.LastIndexByte(d.key, '@')]]
		for key := range c.ours {
			if strings.HasPrefix(key, want+"@") && strings.Contains(key, d.version()) {
				return want != ""
			}
		}
		return false
	}
}

// row is the rule's row in the table of docs/parity.md.
func (r *rule) row() string {
	side, tool := "only Stella", r.tool
	if tool == "" {
		tool = "both"
	}
	if r.missing {
		side = "only the peer"
	}
	return "| " + strings.Join([]string{r.class, side, tool, string(r.verdict), r.reason}, " | ") + " |"
}
