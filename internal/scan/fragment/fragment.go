// Package fragment is what one layer contributes to a scan, as a stream of records on disk.
//
// A fragment holds the packages that were found in the layer, what could not
// be read, and every path of the layer, because any of them may hide something
// below it. It depends on the layer's bytes and on the set of extractors, on nothing else, so the
// same fragment serves every image that has the layer.
//
// Records stand in the order of the layer's entries. An [Entry] record counts:
// its number is the Seq of what was found in it, so that of two entries of
// one name the later wins, as it does when the layer is unpacked.
//
// The stream ends with its own length and checksum: a fragment that was cut or damaged is told from a good one
// by [Check], and is made again.
package fragment

import (
	"io/fs"

	"stella/internal/scan/inventory"
)

// Version is part of every key under which fragments are kept. Raise it with
// any change of the encoding or of what the engine records.
const Version = 1

// MaxPath is the longest path in a layer, in bytes; Linux cannot make a longer one (PATH_MAX in limits.h).
const MaxPath = 4096

// Kind is the kind of a record.
type Kind byte

// The kinds of records.
const (
	// Dir, File and Symlink are entries of the layer; File is everything that is neither of the others.
	Dir     Kind = 'd'
	File    Kind = 'f'
	Symlink Kind = 'l'
	// Whiteout removes Path, and all below it, from the layers below.
	Whiteout Kind = 'w'
	// Opaque removes all that is below Path, but not Path, from the layers below.
	Opaque Kind = 'o'
	// Package was found in the file at Path.
	Package Kind = 'p'
	// Provides and Requires belong to the Package record before them.
	Provides Kind = 'v'
	Requires Kind = 'r'
	// Release is an os-release file.
	Release Kind = 'e'
	// Link is a hard link: its content has another name, Target. Extractor is who wants it, empty for nobody.
	Link Kind = 'h'
	// Problem is something that could not be read.
	Problem Kind = 'x'
	end     Kind = 'z'
)

// IsEntry reports whether the record is an entry of the layer, which counts.
func (k Kind) IsEntry() bool { return k == Dir || k == File || k == Symlink }

// Record is one record. Which fields are set depends on its kind.
type Record struct {
	Kind Kind
	// Seq is the number of the entry, from 1. Whiteouts have 0: they come before every entry of their layer.
	Seq uint64
	// Path is slash-separated, without a leading slash; empty for the root and for problems of the whole layer.
	Path []byte
	// Target is what a symbolic link says, or the path that a hard link shares its content with.
	Target []byte
	// Mode holds the permission bits of a hard link.
	Mode fs.FileMode
	// Member is the place of a package inside the file.
	Member string
	// Extractor is the extractor's name.
	Extractor string
	// Encoded is the package of a Package record, for [Decode].
	Encoded []byte
	// Keys are the key of Provides, and the alternatives of Requires.
	Keys []string
	// Release is set for Release records.
	Release inventory.Release
	// Reason is set for Problem records.
	Reason string
}

// Stats is what the end of a fragment says of its layer.
type Stats struct {
	// Compressed and Uncompressed are in bytes.
	Compressed, Uncompressed int64
	Entries, Files, Packages int64
	// Links is how many hard links an extractor wants.
	Links int64
}

func (s *Stats) fields() []*int64 {
	return []*int64{&s.Compressed, &s.Uncompressed, &s.Entries, &s.Files, &s.Packages, &s.Links}
}
