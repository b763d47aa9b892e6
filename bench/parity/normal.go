package main

import (
	"net/url"
	"regexp"
	"strings"
)

// keyOf reduces a package URL to what is compared, as "type:namespace/name@version":
//
//   - Qualifiers and subpath go: the tools differ in distro, upstream and arch.
//   - deb, apk, rpm and alpm lose their namespace, the distribution: scalibr writes
//     "linux" where it sees no os-release.
//   - golang and maven are compared without regard to case: scalibr writes both in small letters.
//   - golang versions lose "v" and "go": scalibr writes neither.
//   - pypi names are normalised as PEP 503 has it: the purl specification
//     leaves dots alone, both peers write dashes.
//   - pacman, which is no type of the purl specification, is alpm.
//
// What is not a package URL is its own key.
func keyOf(purl string) string {
	if i := strings.IndexAny(purl, "?#"); i >= 0 {
		purl = purl[:i]
	}
	kind, name, ok := strings.Cut(strings.TrimPrefix(purl, "pkg:"), "/")
	if !ok {
		return purl
	}
	kind = strings.ToLower(kind)
	if plain, err := url.PathUnescape(name); err == nil {
		name = plain
	}
	name, version := cutVersion(name)
	if kind == "pacman" {
		kind = "alpm"
	}
	switch kind {
	case "deb", "apk", "rpm", "alpm":
		name = name[strings.LastIndexByte(name, '/')+1:]
	case "golang":
		name = strings.ToLower(name)
		version = strings.TrimPrefix(strings.TrimPrefix(version, "go"), "v")
	case "maven":
		name, version = strings.ToLower(name), strings.ToLower(version)
	case "pypi":
		name = strings.ToLower(separators.ReplaceAllString(name, "-"))
	}
	if version != "" {
		name += "@" + version
	}
	return kind + ":" + name
}

var separators = regexp.MustCompile(`[-_.]+`)

// archive is the end of the name of an archive inside of a path, before what the tools separate members with.
var archive = regexp.MustCompile(`(?i)(\.(?:jar|war|ear|par|sar|nar|kar|far|jpi|hpi|lpkg|rar|zip))[:/]`)

// placeOf writes a path as Stella does: without a leading slash, members after "!/".
func placeOf(path string) string {
	return archive.ReplaceAllString(strings.TrimPrefix(path, "/"), "$1!/")
}
