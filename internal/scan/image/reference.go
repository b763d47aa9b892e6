package image

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// The schemes of references, named as syft names them.
const (
	schemeRegistry      = "registry"
	schemeOCIDir        = "oci-dir"
	schemeOCIArchive    = "oci-archive"
	schemeDockerArchive = "docker-archive"
	schemeDir           = "dir"
)

// maxReference is the longest reference, in bytes: a path of PATH_MAX and a name.
const maxReference = 8 << 10

// reference is a parsed reference.
type reference struct {
	scheme string // "" while a bare path has to be looked into
	name   string // everything behind the scheme
	path   string // not for a registry
	// tag and digest choose from an index; at most one is set. For a registry there is
	// only the digest of [Options], in the place of the name's own tag or digest.
	tag, digest string
}

// elsewhere answers those who bring references from other tools.
var elsewhere = []struct{ prefix, instead string }{
	{"docker://", "registry:NAME"},
	{"oci:", "oci-dir:PATH"},
	{"docker-daemon:", "docker save NAME -o FILE and docker-archive:FILE"},
	{"podman:", "podman save NAME -o FILE and docker-archive:FILE"},
	{"containerd:", "ctr images export FILE NAME and oci-archive:FILE"},
	{"containers-storage:", "podman save NAME -o FILE and docker-archive:FILE"},
	{"http://", "the name without http://, with its host listed as a plain-HTTP host"},
	{"https://", "the name without https://"},
}

// parseReference takes a reference apart. What looks like a path is one if
// exists says so: a path that has ':' or '@' in it wins over a tag or digest.
func parseReference(s string, exists func(path string) bool) (*reference, error) {
	switch {
	case s == "":
		return nil, errors.New("the image reference is empty; give a name such as debian:12, or a path")
	case len(s) > maxReference:
		return nil, fmt.Errorf("the image reference has %d bytes; no name or path is longer than %d", len(s), maxReference)
	case strings.ContainsRune(s, 0):
		return nil, errors.New("the image reference has a zero byte in it")
	}
	scheme, rest, ok := strings.Cut(s, ":")
	if ok {
		switch scheme {
		case schemeRegistry:
			return named(scheme, rest)
		case schemeDir:
			return &reference{scheme: scheme, name: rest, path: rest}, empty(scheme, rest)
		case schemeOCIDir, schemeOCIArchive, schemeDockerArchive:
			r, err := located(rest, exists)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", scheme, err)
			}
			if r == nil {
				return nil, fmt.Errorf("%s: %q: %w", scheme, rest, os.ErrNotExist)
			}
			r.scheme = scheme
			return r, nil
		}
	}
	if r, err := located(s, exists); r != nil || err != nil {
		return r, err
	}
	for _, e := range elsewhere {
		if strings.HasPrefix(s, e.prefix) {
			return nil, fmt.Errorf("Stella does not know %s references; use %s", e.prefix, e.instead)
		}
	}
	if strings.HasPrefix(s, "/") || strings.HasPrefix(s, "./") || strings.HasPrefix(s, "../") || strings.HasPrefix(s, "~") {
		return nil, fmt.Errorf("%q: %w", s, os.ErrNotExist)
	}
	return named(schemeRegistry, s)
}

func named(scheme, name string) (*reference, error) {
	return &reference{scheme: scheme, name: name}, empty(scheme, name)
}

func empty(scheme, rest string) error {
	if rest == "" {
		return fmt.Errorf("there is nothing behind %s:", scheme)
	}
	return nil
}

// located splits "path", "path@digest", "path:tag" and "path:tag@digest" where
// the path exists, the longest one winning; nil where none does.
func located(s string, exists func(string) bool) (*reference, error) {
	if exists(s) {
		return &reference{name: s, path: s}, nil
	}
	rest, promised := s, ""
	if at := strings.LastIndexByte(s, '@'); at >= 0 {
		if _, err := parseDigest(s[at+1:]); err == nil {
			rest, promised = s[:at], s[at+1:]
		} else if exists(s[:at]) {
			return nil, err
		}
	}
	if promised != "" && exists(rest) {
		return &reference{name: s, path: rest, digest: promised}, nil
	}
	for i := len(rest) - 1; i > 0; i-- {
		if rest[i] != ':' || !exists(rest[:i]) {
			continue
		}
		r := &reference{name: s, path: rest[:i], digest: promised}
		if promised == "" {
			r.tag = rest[i+1:]
		}
		if r.tag == "" && promised == "" {
			return nil, fmt.Errorf("the tag behind %q is empty", s)
		}
		return r, nil
	}
	return nil, nil
}

// guessDir settles what a bare path is, where it leads to a directory.
func (r *reference) guessDir(p *Paths) error {
	if r.scheme != "" {
		return nil
	}
	info, err := p.stat(r.path)
	if err != nil || !info.IsDir() {
		return err
	}
	r.scheme = schemeDir
	if p.exists(filepath.Join(r.path, "oci-layout")) {
		r.scheme = schemeOCIDir
	} else if r.tag != "" || r.digest != "" {
		return fmt.Errorf("%s is a directory without the file oci-layout: no OCI layout that a tag or digest could choose from", r.path)
	}
	return nil
}

// quoted is the reference for errors, where it must not fill the screen.
func (r *reference) quoted() string {
	if len(r.name) > 300 {
		return r.name[:300] + "…"
	}
	return r.name
}
