// Package python reads the packages of Python: what is installed (METADATA of
// *.dist-info, PKG-INFO of *.egg-info, and *.egg-info files) and what
// lockfiles declare (requirements files, Pipfile.lock, poetry.lock, pdm.lock, uv.lock).
//
// Names are normalised as the package URL type pypi asks: lower case, "_" as
// "-". Keys of dependencies use the stricter normalisation of PEP 503, which takes "." for "-" too,
// and are scoped by directory: each environment resolves for itself.
//
// Hazard: a METADATA file is e-mail headers followed by a body, and both may be
// huge: whole descriptions and licence texts in one header. Of those the first
// line counts. The dependencies of an egg-info directory stand in another file, requires.txt, which is not read.
package python

import (
	"context"
	"strings"

	"stella/internal/scan/extract"
)

type extractor struct{}

// New returns the extractor, which is called "python".
func New() extract.Extractor { return extractor{} }

func (extractor) Name() string { return "python" }
func (extractor) Version() int { return 1 }

func (extractor) Wants(h extract.Header) bool { return h.Size > 0 && formOf(h.Path) != none }

func (extractor) Extract(ctx context.Context, f *extract.File, out extract.Output) error {
	switch form := formOf(f.Path); form {
	case metadata:
		return readMetadata(ctx, f, sitePackages(f.Path), out)
	case requirements:
		return readRequirements(ctx, f, out)
	case pipfile:
		return readPipfile(ctx, f, out)
	default:
		return readLock(ctx, f, form, out)
	}
}

// form is a kind of file.
type form int

const (
	none form = iota
	metadata
	requirements
	pipfile
	poetry
	pdm
	uv
)

func formOf(path string) form {
	dir, base := split(path)
	switch base {
	case "METADATA":
		if strings.HasSuffix(dir, "dist-info") || strings.HasSuffix(dir, "DIST-INFO") {
			return metadata
		}
		return none
	case "PKG-INFO":
		if strings.HasSuffix(dir, "egg-info") || strings.HasSuffix(dir, "EGG-INFO") {
			return metadata
		}
		return none
	case "Pipfile.lock":
		return pipfile
	case "poetry.lock":
		return poetry
	case "pdm.lock":
		return pdm
	case "uv.lock":
		return uv
	}
	switch {
	case strings.HasSuffix(base, ".egg-info"):
		return metadata
	case strings.HasSuffix(base, ".txt") && strings.Contains(base, "requirements"):
		return requirements
	case strings.HasSuffix(base, ".py.lock"): // of a script: uv lock --script
		return uv
	}
	return none
}

// split is path.Split without the slash, and without allocating.
func split(path string) (dir, base string) {
	i := strings.LastIndexByte(path, '/')
	return path[:max(i, 0)], path[i+1:]
}

// sitePackages is the directory that Python would search for the package whose metadata is at path.
func sitePackages(path string) string {
	dir, base := split(path)
	if strings.HasSuffix(base, ".egg-info") {
		return dir
	}
	dir, base = split(dir)
	if base == "EGG-INFO" { // below site-packages/name.egg
		dir, _ = split(dir)
	}
	return dir
}

// normalise makes the name of a package URL
// (https://github.com/package-url/purl-spec/blob/main/types-doc/pypi-definition.md).
func normalise(name string) string {
	return strings.ReplaceAll(strings.ToLower(name), "_", "-")
}

// keyName is the name as a key: PEP 503 takes runs of "-", "_" and "." for one.
func keyName(name string) string {
	b := make([]byte, 0, len(name))
	for _, c := range []byte(strings.ToLower(name)) {
		if c == '_' || c == '.' {
			c = '-'
		}
		if c != '-' || len(b) == 0 || b[len(b)-1] != '-' {
			b = append(b, c)
		}
	}
	return string(b)
}

// requirement splits a requirement of PEP 508 into its name, what stands
// between name and marker, and the marker: "a[b]>=1; python_version<'3'" is "a", "[b]>=1", "python_version<'3'".
func requirement(s string) (name, rest, marker string) {
	s, marker, _ = strings.Cut(s, ";")
	s = strings.TrimSpace(s)
	i := 0
	for i < len(s) && nameByte(s[i]) {
		i++
	}
	return s[:i], strings.TrimSpace(s[i:]), strings.TrimSpace(marker)
}

func nameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.'
}

// onlyExtra reports whether a marker asks for an extra, which nobody may have
// asked for.
func onlyExtra(marker string) bool {
	for i := 0; ; {
		j := strings.Index(marker[i:], "extra")
		if j < 0 {
			return false
		}
		i += j + len("extra")
		if strings.HasPrefix(strings.TrimLeft(marker[i:], " "), "==") {
			return true
		}
	}
}
