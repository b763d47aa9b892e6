// Package pacman reads the database of pacman, the package manager of Arch
// Linux and its derivatives.
//
// The database is a directory per package below var/lib/pacman/local, whose
// file desc is a text of sections: a line "%NAME%", the values one per line, an empty line.
//
// Hazard: a dependency on a shared library states its version with the name
// ("libcrypto.so=3-64"); two packages may provide different versions of it.
package pacman

import (
	"context"
	"fmt"
	"strings"

	"stella/internal/scan/extract"
	"stella/internal/scan/extract/pkgdb"
	"stella/internal/scan/inventory"
)

const localDir = "var/lib/pacman/local"

// Extractor reads pacman databases below any root of the image.
type Extractor struct{}

// New returns the extractor.
func New() extract.Extractor { return Extractor{} }

// Name implements extract.Extractor.
func (Extractor) Name() string { return "pacman" }

// Version implements extract.Extractor.
func (Extractor) Version() int { return 1 }

// Databases implements extract.Databases.
func (Extractor) Databases() []string { return []string{localDir + "/"} }

// Wants implements extract.Extractor.
func (Extractor) Wants(h extract.Header) bool {
	_, ok := root(h.Path)
	return ok
}

// root is the root of "var/lib/pacman/local/bash-5.2.037-1/desc".
func root(path string) (string, bool) {
	dir, name := pkgdb.Split(path)
	if name != "desc" {
		return "", false
	}
	dir, _ = pkgdb.Split(dir)
	return pkgdb.Root(dir, localDir)
}

// Extract implements extract.Extractor.
func (Extractor) Extract(ctx context.Context, f *extract.File, out extract.Output) error {
	r, _ := root(f.Path)
	lines := pkgdb.NewLines(ctx, f)
	defer lines.Close()
	d := desc{rec: pkgdb.NewRecord(inventory.ALPM, r)}
	for lines.Next() {
		line := strings.TrimSpace(string(lines.Bytes()[:min(len(lines.Bytes()), maxValue)]))
		switch {
		case line == "":
		case line[0] == '%' && line[len(line)-1] == '%' && len(line) > 2:
			d.section = line
		default:
			if d.value(line) && (lines.Long() || len(lines.Bytes()) > maxValue) {
				out.Partial(fmt.Sprintf("line %d, of section %s, is longer than %d bytes; its rest was left out", lines.Number(), d.section, maxValue))
			}
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read line %d of a pacman package description: %w", lines.Number(), err)
	}
	return d.end(out)
}

// maxValue is the most bytes of a line that are kept: every line is one name or statement.
const maxValue = inventory.MaxField

// desc collects a package.
type desc struct {
	rec        *pkgdb.Record
	section    string
	arch, base string
}

// value takes a line of the current section, and reports whether the section is wanted.
func (d *desc) value(v string) bool {
	p := &d.rec.Package
	switch d.section {
	case "%NAME%":
		p.Name = v
	case "%VERSION%":
		p.Version = v
	case "%ARCH%":
		d.arch = v
	case "%BASE%":
		d.base = v
	case "%LICENSE%":
		d.rec.License(v)
	case "%PACKAGER%":
		// makepkg writes this where nobody is named.
		if v != "Unknown Packager" {
			p.Supplier = v
		}
	case "%PROVIDES%":
		name := bare(v)
		d.rec.Provide(name)
		if name != v && soname(name) {
			d.rec.Provide(v)
		}
	case "%DEPENDS%":
		name := bare(v)
		if name != v && soname(name) {
			d.rec.Require(v, name)
		} else {
			d.rec.Require(name)
		}
	default:
		return false
	}
	return true
}

func soname(name string) bool { return strings.HasSuffix(name, ".so") }

// bare cuts the version bound off: "glibc>=2.36", "libfoo.so=1-64". Optional
// dependencies, which end in a description, are not read.
func bare(v string) string {
	if i := strings.IndexAny(v, "<>="); i >= 0 {
		v = v[:i]
	}
	return v
}

func (d *desc) end(out extract.Output) error {
	d.rec.Qualify("arch", d.arch)
	d.rec.Qualify("upstream", d.base)
	return d.rec.Emit(out, "the description")
}
