// Package inventory is what a scan finds: packages, the distribution they
// belong to, and the problems that kept something from being read.
//
// A [Package] is one package as one file of one layer states it. A [Component]
// is a package of the finished image: equal packages found at several places
// are one component with several locations. An [Edge] is a dependency between
// two components.
//
// Hazard: an image can hold a million packages. Nothing here collects them in
// memory; an [Inventory] is read as streams, in a fixed order, from disk.
package inventory

import "iter"

// Type is a package URL type (https://github.com/package-url/purl-spec).
type Type string

// The package types that Stella's extractors emit.
const (
	Deb      Type = "deb"
	APK      Type = "apk"
	RPM      Type = "rpm"
	ALPM     Type = "alpm"
	Golang   Type = "golang"
	NPM      Type = "npm"
	PyPI     Type = "pypi"
	Maven    Type = "maven"
	Gem      Type = "gem"
	Composer Type = "composer"
	Cargo    Type = "cargo"
	NuGet    Type = "nuget"
)

// FromDistribution reports whether packages of this type carry the
// distribution in their package URL (namespace and distro qualifier). It is
// known only after the squash: os-release may stand in another layer.
func (t Type) FromDistribution() bool {
	return t == Deb || t == APK || t == RPM || t == ALPM
}

// Package is one package as one file states it. Strings are UTF-8 without
// NUL; an extractor repairs what it reads (see [Clean]).
type Package struct {
	Type Type

	// Namespace is the package URL namespace: Maven group id, npm scope with
	// its "@", Go module path up to the last slash, Composer vendor. Empty for
	// distribution packages: the squash sets it.
	Namespace string
	Name      string
	Version   string

	// Qualifiers are package URL qualifiers other than distro, for example
	// arch, epoch, upstream. Order does not matter.
	Qualifiers []Qualifier

	// Licenses are the licence statements of the format, untranslated, in the
	// format's order: SPDX expressions where the format has them.
	Licenses []string
	// Supplier is the maintainer, vendor or author, as stated.
	Supplier string

	// Declared says that a lockfile names the package: it was asked for, and
	// is not proven to be installed at this place.
	Declared bool

	// Provides are the keys under which others can require this package, and
	// Requires what it needs. A key is any string that both sides build the same way; by
	// convention "<type>:<name>", with a directory or file in between where
	// names are only unique below it ("npm:/app/node_modules/x"). Keys are
	// compared exactly, over the whole image.
	Provides []string
	Requires []Requirement
}

// Qualifier is one package URL qualifier.
type Qualifier struct{ Key, Value string }

// Requirement is one dependency: the first of the alternative keys that
// some package of the image provides satisfies it. One that nothing provides is dropped.
type Requirement []string

// Release is what an os-release file says, enough to name a distribution.
type Release struct {
	ID              string // "debian"
	IDLike          string // "rhel fedora"
	VersionID       string // "12"
	VersionCodename string // "bookworm"
	PrettyName      string // "Debian GNU/Linux 12 (bookworm)"
	Name            string // "Debian GNU/Linux"
}

// Location is where a package was found.
type Location struct {
	// Layer is the index of the layer in the image, 0 being the base.
	Layer int
	// Path is slash-separated, relative to the image's root, without a
	// leading slash. A member of an archive follows its archive after "!/":
	// "app/app.jar!/BOOT-INF/lib/x.jar".
	Path string
	// Extractor is the name of the extractor that found it.
	Extractor string
}

// Problem is something that could not be read. An inventory with problems is
// incomplete, and says so in every output.
type Problem struct {
	Layer     int    // index of the layer, -1 where it is about no layer
	Path      string // file in the layer, empty where it is about the whole layer
	Extractor string // empty where the engine itself failed
	Reason    string // a sentence for people: what, why
}

// Component is one package of the finished image.
type Component struct {
	Package
	// Ref names the component in documents: unique, and equal in every scan of the same image.
	Ref string
	// PURL is the canonical package URL.
	PURL string
	// Locations are in order of layer, then path. They are a stream like the
	// components: read them, once, before asking for the next component.
	Locations iter.Seq2[Location, error]
	// LocationCount is how many there are.
	LocationCount int
}

// Edge says that one component depends on another, both by their Ref.
type Edge struct{ From, To string }

// Inventory is the finished result of a scan. Every call of a method that
// returns a stream starts again at the beginning, and gives the same order:
// components by Ref; edges by From, then To, without repeats. It is safe for
// use by one goroutine at a time.
type Inventory interface {
	Components() iter.Seq2[*Component, error]
	Edges() iter.Seq2[Edge, error]
	// Problems are at most a few thousand; the last one says how many more there were.
	Problems() []Problem
	// Release is the distribution of the image's root, nil where no os-release was found.
	Release() *Release
	// Count is the number of components by type.
	Count() map[Type]int
}
