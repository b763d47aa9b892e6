// Package dpkg reads the database of dpkg, the package manager of Debian and
// its derivatives.
//
// A database is a text of paragraphs, one per package, each with fields
// (deb822(5), deb-control(5)). It stands in one file, var/lib/dpkg/status, or, in distroless images, in one file per
// package below var/lib/dpkg/status.d.
//
// Hazards: a paragraph in the status file is not a package yet, its Status
// decides; Debian states no licences here; one field can be larger than all memory there is.
package dpkg

import (
	"context"
	"fmt"
	"strings"

	"stella/internal/scan/extract"
	"stella/internal/scan/extract/pkgdb"
	"stella/internal/scan/inventory"
)

const (
	statusFile = "var/lib/dpkg/status"
	statusDir  = "var/lib/dpkg/status.d"
)

// Extractor reads dpkg databases below any root of the image.
type Extractor struct{}

// New returns the extractor.
func New() extract.Extractor { return Extractor{} }

// Name implements extract.Extractor.
func (Extractor) Name() string { return "dpkg" }

// Version implements extract.Extractor.
func (Extractor) Version() int { return 1 }

// Databases implements extract.Databases.
func (Extractor) Databases() []string { return []string{statusFile, statusDir + "/"} }

// Wants implements extract.Extractor.
func (Extractor) Wants(h extract.Header) bool {
	_, _, ok := place(h.Path)
	return ok
}

// place says below which root the database at path is, and whether it is a
// file of status.d, which lists installed packages only.
func place(path string) (root string, single, ok bool) {
	if root, ok = pkgdb.Root(path, statusFile); ok {
		return root, false, true
	}
	dir, name := pkgdb.Split(path)
	// Beside each package, distroless puts the checksums of its files.
	if strings.HasSuffix(name, ".md5sums") {
		return "", false, false
	}
	root, ok = pkgdb.Root(dir, statusDir)
	return root, true, ok
}

// Extract implements extract.Extractor.
func (Extractor) Extract(ctx context.Context, f *extract.File, out extract.Output) error {
	root, single, _ := place(f.Path)
	lines := pkgdb.NewLines(ctx, f)
	defer lines.Close()
	p := paragraph{rec: pkgdb.NewRecord(inventory.Deb, root), single: single}
	for lines.Next() {
		line := lines.Bytes()
		if blank(line) {
			if err := p.end(out); err != nil {
				return err
			}
			continue
		}
		p.line(line, lines.Number(), lines.Long())
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read line %d of a dpkg database: %w", lines.Number(), err)
	}
	return p.end(out)
}

// blank reports whether a line separates paragraphs: only spaces and tabs, as deb822(5) has it.
func blank(line []byte) bool {
	for _, c := range line {
		if c != ' ' && c != '\t' && c != '\r' {
			return false
		}
	}
	return true
}
