// Package rpm reads the databases of rpm, the package manager of Red Hat,
// SUSE and their derivatives.
//
// A database is one file in one of three formats (backends): a Berkeley DB
// hash ("Packages"), rpm's own ndb ("Packages.db") or SQLite ("rpmdb.sqlite"). Which one is told by the
// content, not by the name. In all of them a record is a number and a blob; the
// blob is a header: an index of tags, then their data. Everything else in the
// file serves to find records by other keys and is not read.
//
// The readers walk the records with two windows on the file of some KiB. A
// header has a list of all files of its package and so a few MiB: of that the index streams by and only the
// data of wanted tags is looked at.
//
// Hazards: every number in the file may lie, so that all of them are checked
// against the file's size, and no page is visited twice: a file cannot ask for
// more work than it is long. A database that cannot be read is an error and a record that
// cannot be read is a partial result, never fewer packages in silence. SQLite may
// have committed changes in a write-ahead log, a second file; rpm empties it when it is done, and one that is not empty is reported.
//
// Limits: a dependency on a file ("/usr/bin/sh") leads to a package only where
// one provides that path as a name, as the file lists are not read; rich dependencies
// ("(a if b)") and those on rpm's own features ("rpmlib(…)") lead nowhere and are dropped. So is what SUSE's
// release packages say of packages to remove, "weakremover(…)", ten thousand names that nothing requires.
package rpm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"stella/internal/scan/extract"
	"stella/internal/scan/extract/pkgdb"
	"stella/internal/scan/inventory"
)

// The directories of a database, relative to a root. Newer distributions keep
// it below /usr with a symbolic link at the old place.
var dirs = [...]string{"var/lib/rpm", "usr/share/rpm", "usr/lib/sysimage/rpm"}

const walName = "rpmdb.sqlite-wal"

// Extractor reads rpm databases below any root of the image.
type Extractor struct{}

// New returns the extractor.
func New() extract.Extractor { return Extractor{} }

// Name implements extract.Extractor.
func (Extractor) Name() string { return "rpm" }

// Version implements extract.Extractor.
func (Extractor) Version() int { return 1 }

// Databases implements extract.Databases.
func (Extractor) Databases() []string {
	var d []string
	for _, dir := range dirs {
		d = append(d, dir+"/")
	}
	return d
}

// Wants implements extract.Extractor.
func (Extractor) Wants(h extract.Header) bool {
	dir, name := pkgdb.Split(h.Path)
	switch name {
	case "Packages", "Packages.db", "rpmdb.sqlite":
	case walName:
		if h.Size <= walHeader {
			return false
		}
	default:
		return false
	}
	_, ok := root(dir)
	return ok
}

func root(dir string) (string, bool) {
	for _, d := range dirs {
		if r, ok := pkgdb.Root(dir, d); ok {
			return r, true
		}
	}
	return "", false
}

// Extract implements extract.Extractor.
func (Extractor) Extract(ctx context.Context, f *extract.File, out extract.Output) error {
	dir, name := pkgdb.Split(f.Path)
	if name == walName {
		return wal(f, out)
	}
	if f.Size == 0 {
		return fmt.Errorf("the rpm database is empty (0 bytes): its packages cannot be listed")
	}
	r, err := f.ReaderAt()
	if err != nil {
		return fmt.Errorf("read the rpm database: %w", err)
	}
	top, _ := root(dir)
	d := &database{
		ctx: ctx,
		src: &source{r: r, size: f.Size},
		out: out,
		rec: pkgdb.NewRecord(inventory.RPM, top),
	}
	return d.read()
}

// read finds out the format and reads all records.
func (d *database) read() error {
	start := make([]byte, min(d.src.size, 72))
	if _, err := io.ReadFull(io.NewSectionReader(d.src.r, 0, d.src.size), start); err != nil {
		return fmt.Errorf("read the rpm database: %w", err)
	}
	var err error
	switch {
	case strings.HasPrefix(string(start), sqliteMagic):
		err = d.sqlite()
	case strings.HasPrefix(string(start), ndbMagic):
		err = d.ndb()
	case len(start) >= 16 && binary.LittleEndian.Uint32(start[12:]) == bdbHashMagic:
		err = d.bdb(binary.LittleEndian)
	case len(start) >= 16 && binary.BigEndian.Uint32(start[12:]) == bdbHashMagic:
		err = d.bdb(binary.BigEndian)
	default:
		return fmt.Errorf("the rpm database is in no known format (neither a Berkeley DB hash, nor ndb, nor SQLite), and begins with %.16q", start)
	}
	if d.src.err != nil {
		return fmt.Errorf("read the rpm database: %w", d.src.err)
	}
	if f, ok := errors.AsType[fatal](err); ok {
		return f.error
	}
	return err
}
