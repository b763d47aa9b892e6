// Package npm reads the packages of Node.js: what is installed (package.json,
// wherever it stands) and what lockfiles declare (package-lock.json,
// npm-shrinkwrap.json, yarn.lock of both generations, pnpm-lock.yaml).
//
// A package.json without a name or a version is no package: such files mark
// directories as modules of one kind or the other. Broken ones are test data of their packages more often than not; they
// are said to be unreadable, and what stood before the break counts.
//
// A lockfile below node_modules was published by mistake or describes how a
// dependency was developed; what that dependency brought along is installed next to it
// and found there. So lockfiles below node_modules are not read. Packages that a lockfile marks as needed for development only
// are left out, as syft does by default; yarn.lock and pnpm-lock.yaml since version 9 do not mark them.
//
// Dependencies are resolved as Node.js does: the nearest node_modules above
// the package that has the name. Hazard: pnpm installs dependencies as symbolic links, which are no
// packages here, so that such trees have few edges but those of the lockfile.
package npm

import (
	"context"
	"strings"

	"stella/internal/scan/extract"
	"stella/internal/scan/extract/edges"
	"stella/internal/scan/inventory"
)

type extractor struct{}

// New returns the extractor, which is called "npm".
func New() extract.Extractor { return extractor{} }

func (extractor) Name() string { return "npm" }
func (extractor) Version() int { return 1 }

func (extractor) Wants(h extract.Header) bool {
	if h.Size == 0 {
		return false
	}
	dir, base := split(h.Path)
	switch base {
	case "package.json":
		return true
	case "package-lock.json", "npm-shrinkwrap.json", "yarn.lock", "pnpm-lock.yaml":
		return !strings.HasPrefix(dir, "node_modules/") && !strings.Contains(dir, "/node_modules/") &&
			dir != "node_modules" && !strings.HasSuffix(dir, "/node_modules")
	}
	return false
}

func (extractor) Extract(ctx context.Context, f *extract.File, out extract.Output) error {
	dir, base := split(f.Path)
	switch base {
	case "package.json":
		return readManifest(ctx, f, dir, out)
	case "yarn.lock":
		return readYarn(ctx, f, newDeclared(f.Path, out))
	case "pnpm-lock.yaml":
		return readPnpm(ctx, f, newDeclared(f.Path, out))
	}
	return readPackageLock(ctx, f, newDeclared(f.Path, out))
}

// split is path.Split without the slash, and without allocating.
func split(path string) (dir, base string) {
	i := strings.LastIndexByte(path, '/')
	return path[:max(i, 0)], path[i+1:]
}

// setName sets the package's name, and the scope as its namespace.
func setName(p *inventory.Package, name string) {
	p.Namespace, p.Name = "", inventory.Clean(name)
	if scope, rest, ok := strings.Cut(p.Name, "/"); ok && len(scope) > 1 && scope[0] == '@' {
		p.Namespace, p.Name = scope, rest
	}
}

// maxAncestors is how many directories upwards a dependency is looked for.
// The deepest tree that npm itself ever made has some thirty.
const maxAncestors = 64

// resolve adds the requirement of the package in dir for name: one candidate
// for each place where Node.js would look (https://nodejs.org/api/modules.html#loading-from-node_modules-folders).
func resolve(set *edges.Set, prefix, dir, name string) {
	if name = inventory.Clean(name); name == "" || set.Reject() {
		return
	}
	var buf [16]string
	keys := buf[:0]
	for len(keys) < maxAncestors {
		parent, base := split(dir)
		if base != "node_modules" && !strings.HasPrefix(base, "@") {
			at := dir
			if at != "" {
				at += "/"
			}
			keys = append(keys, prefix+at+"node_modules/"+name)
		}
		if dir == "" {
			break
		}
		dir = parent
	}
	set.Require(keys...)
}

// declared gives the packages of one lockfile.
type declared struct {
	out    extract.Output
	prefix string // of keys, which are only unique in this file
	set    edges.Set
	pkg    inventory.Package
}

func newDeclared(path string, out extract.Output) *declared {
	return &declared{out: out, prefix: "npm:" + edges.Scope(path) + "#"}
}

// give gives one package with the keys collected since the last one. Without
// a name or version there is no package, only the keys are dropped.
func (d *declared) give(name, version, license string) error {
	defer d.set.Reset()
	d.pkg = inventory.Package{Type: inventory.NPM, Version: inventory.Clean(version), Declared: true}
	setName(&d.pkg, name)
	if d.pkg.Name == "" || d.pkg.Version == "" {
		return nil
	}
	if license = inventory.Clean(license); license != "" {
		d.pkg.Licenses = []string{license}
	}
	d.set.Give(&d.pkg)
	d.set.Report(d.out, d.pkg.Name)
	return d.out.Package(&d.pkg)
}
