// Package extract defines how a package format is read: an [Extractor] says
// from a file's header alone whether it wants the file, and turns the file
// into packages.
//
// The engine owns all I/O. It calls Wants for every regular file of every
// layer, millions of times, and Extract for those that are wanted, with a
// [File] that streams straight from the layer. One file goes to one
// extractor: the first in the list that wants it.
//
// The contract of every extractor, which extracttest checks:
//
//   - It holds at most [Budget] bytes of live memory, whatever the input: a
//     length that the input states is never believed, and what grows with the
//     input is written out as it is found.
//   - It never panics, never loops without reading, and stops when ctx ends.
//   - Bad input loses nothing that was good: it says what it could not read
//     with [Output.Partial], or by the error that it returns, and the packages
//     that it already gave stay.
//   - Same bytes, same output, in the same order.
package extract

import (
	"context"
	"io/fs"

	"stella/internal/scan/inventory"
)

// Budget is the most live memory, in bytes, that one Extract may hold beyond the File itself.
// Two workers within 32 MiB leave no more.
const Budget = 1 << 20

// Header is what a layer says of a regular file before its content.
type Header struct {
	// Path is slash-separated and clean, without a leading slash.
	Path string
	Size int64
	// Mode holds the permission bits.
	Mode fs.FileMode
}

// Extractor reads one package format. It has no state: Extract runs at the same time
// on several files.
type Extractor interface {
	// Name is short and lower-case, and never changes: "dpkg".
	Name() string
	// Version is raised whenever the same file would give another output: cached results of other versions are not used.
	Version() int
	// Wants is called for every file: it must not allocate.
	Wants(h Header) bool
	// Extract reads the file and gives what it finds to out. Its error says
	// what could not be read, for people, without the path: the engine adds
	// path and layer.
	Extract(ctx context.Context, f *File, out Output) error
}

// Databases is implemented by extractors whose files stand at fixed places
// that distributions like to reach through a symbolic link (/var/lib/rpm). The
// engine follows such links over all layers and extracts what they lead to,
// with [File.Path] being the place and not the target.
type Databases interface {
	// Databases are paths relative to the root: a file ("lib/apk/db/installed"), or,
	// ending in a slash, a directory all of whose wanted files count.
	Databases() []string
}

// Output takes what an extractor finds. An error from it is the engine's (the
// disk is full, the scan was cancelled): Extract returns it as it is.
type Output interface {
	// Package takes a package. The engine copies: the value and its slices may be used again.
	Package(p *inventory.Package) error
	// PackageAt is Package for something inside the file, such as a jar in a
	// jar: member is appended to the file's path after "!/".
	PackageAt(member string, p *inventory.Package) error
	// Release takes what an os-release file says.
	Release(r *inventory.Release) error
	// Partial records that something in this file could not be read, while
	// reading goes on. The sentence names the place in the file (line, member,
	// record). Beyond a fixed number per file it only counts.
	Partial(reason string)
}
