// Package apk reads the database of apk, the package manager of Alpine Linux,
// Wolfi and Chainguard.
//
// The database is one text, lib/apk/db/installed: a record per package, ended by an
// empty line, of lines "X:value" whose letter is the field. Besides names,
// packages provide and need what begins with so: (shared libraries), cmd: and pc: (commands, pkg-config files).
//
// Hazards: letters differ by case (P is the package, p what it provides); the
// lines about files (F, R, a, Z) are nearly all of the text.
package apk

import (
	"context"
	"fmt"
	"strings"

	"stella/internal/scan/extract"
	"stella/internal/scan/extract/pkgdb"
	"stella/internal/scan/inventory"
)

// Both places of the database; newer releases moved /lib below /usr.
const (
	oldFile = "lib/apk/db/installed"
	newFile = "usr/lib/apk/db/installed"
)

// Extractor reads apk databases below any root of the image.
type Extractor struct{}

// New returns the extractor.
func New() extract.Extractor { return Extractor{} }

// Name implements extract.Extractor.
func (Extractor) Name() string { return "apk" }

// Version implements extract.Extractor.
func (Extractor) Version() int { return 1 }

// Databases implements extract.Databases.
func (Extractor) Databases() []string { return []string{oldFile, newFile} }

// Wants implements extract.Extractor.
func (Extractor) Wants(h extract.Header) bool {
	_, ok := pkgdb.Root(h.Path, oldFile) // matches newFile too: its root then ends in usr
	return ok
}

func root(path string) string {
	if r, ok := pkgdb.Root(path, newFile); ok {
		return r
	}
	r, _ := pkgdb.Root(path, oldFile)
	return r
}

// Extract implements extract.Extractor.
func (Extractor) Extract(ctx context.Context, f *extract.File, out extract.Output) error {
	lines := pkgdb.NewLines(ctx, f)
	defer lines.Close()
	r := record{rec: pkgdb.NewRecord(inventory.APK, root(f.Path))}
	for lines.Next() {
		line := lines.Bytes()
		if len(line) == 0 {
			if err := r.end(out); err != nil {
				return err
			}
			continue
		}
		r.line(line, lines.Number(), lines.Long(), out)
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read line %d of an apk database: %w", lines.Number(), err)
	}
	return r.end(out)
}

// record collects the record that is being read.
type record struct {
	rec          *pkgdb.Record
	first        int // number of its first line, 0 before it
	arch, origin string
	bad          bool // said already that a line is no field
}

// line takes one line that is not empty.
func (r *record) line(line []byte, number int, long bool, out extract.Output) {
	if r.first == 0 {
		r.first = number
		r.rec.Reset()
	}
	if len(line) < 2 || line[1] != ':' {
		// One sentence per record is enough for a file that is something else.
		if !r.bad {
			r.bad = true
			out.Partial(fmt.Sprintf("line %d is not a field (a letter and a colon); it was left out", number))
		}
		return
	}
	letter, value, most := line[0], line[2:], inventory.MaxField
	switch letter {
	case 'p', 'D':
		most = pkgdb.MaxLine
	case 'P', 'V', 'A', 'L', 'm', 'o':
	default:
		return
	}
	if len(value) > most {
		value, long = value[:most], true
	}
	if long {
		out.Partial(fmt.Sprintf("line %d, field %c, is longer than %d KiB; its rest was left out", number, letter, most>>10))
	}
	r.field(letter, string(value))
}

func (r *record) field(letter byte, value string) {
	p := &r.rec.Package
	switch letter {
	case 'P':
		p.Name = inventory.Clean(value)
	case 'V':
		p.Version = inventory.Clean(value)
	case 'A':
		r.arch = value
	case 'L':
		r.rec.License(value)
	case 'm':
		p.Supplier = inventory.Clean(value)
	case 'o':
		r.origin = inventory.Clean(value)
	case 'p':
		for item := range strings.FieldsSeq(value) {
			r.rec.Provide(bare(item))
		}
	case 'D':
		for item := range strings.FieldsSeq(value) {
			// "!name" is a conflict.
			if item[0] != '!' {
				r.rec.Require(bare(item))
			}
		}
	}
}

// bare cuts the version bound or the repository off: "so:libz.so.1=1.3.1", "musl>=1.2", "foo@edge".
func bare(item string) string {
	if i := strings.IndexAny(item, "<>=~@"); i >= 0 {
		item = item[:i]
	}
	return item
}

// end gives the package and begins anew.
func (r *record) end(out extract.Output) error {
	if r.first == 0 {
		return nil
	}
	r.rec.Qualify("arch", r.arch)
	if r.origin != r.rec.Package.Name {
		r.rec.Qualify("upstream", r.origin)
	}
	place := fmt.Sprintf("the record at line %d", r.first)
	*r = record{rec: r.rec}
	return r.rec.Emit(out, place)
}
