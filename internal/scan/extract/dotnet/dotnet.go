// Package dotnet reads the NuGet packages of .NET applications from their
// *.deps.json, which the SDK writes next to every application that it builds.
//
// The file has two parts. "targets" lists, for each target framework, the
// libraries that are used and their dependencies; "libraries" says what each library is:
// a package, or the project itself and its references, which are no packages.
// Hazard: "libraries" comes last, and the file may be many megabytes. It is
// therefore read twice: first the libraries, of which only those that are NOT packages
// are remembered (an application has a few of them), then the targets, whose entries are given as
// they come.
package dotnet

import (
	"context"
	"fmt"
	"io"
	"strings"

	"stella/internal/jsonstream"
	"stella/internal/scan/extract"
	"stella/internal/scan/extract/edges"
	"stella/internal/scan/inventory"
)

// maxProjects bounds, in bytes, what is remembered of libraries that are no packages: more
// than 1,500 projects in one application.
const maxProjects = 256 << 10

type extractor struct{}

// New returns the extractor, which is called "dotnet".
func New() extract.Extractor { return extractor{} }

func (extractor) Name() string { return "dotnet" }
func (extractor) Version() int { return 1 }

func (extractor) Wants(h extract.Header) bool {
	return h.Size > 0 && strings.HasSuffix(h.Path, ".deps.json")
}

func (extractor) Extract(ctx context.Context, f *extract.File, out extract.Output) error {
	at, err := f.ReaderAt()
	if err != nil {
		return err
	}
	x := reader{out: out, scope: "nuget:" + edges.Scope(f.Path) + ":", projects: map[string]bool{}}
	librariesErr := jsonstream.Decode(ctx, io.NewSectionReader(at, 0, f.Size), x.libraries)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	// Where the end of the file is missing, what are packages cannot be told
	// for those libraries that come after it, and they are given none the less.
	if err := jsonstream.Decode(ctx, io.NewSectionReader(at, 0, f.Size), x.targets); err != nil {
		return err
	}
	return librariesErr
}

// reader reads one file
// (https://github.com/dotnet/runtime/blob/main/docs/design/features/host-probing.md, and the SDK's runtime-configuration-file.md).
type reader struct {
	out      extract.Output
	scope    string          // of keys
	projects map[string]bool // libraries that are no packages
	bytes    int             // of projects
	set      edges.Set
}

// section calls fn for each member of the objects called name at the top of the document.
func section(d *jsonstream.Decoder, name string, fn func(key string) error) error {
	if d.Kind() != jsonstream.Object {
		return fmt.Errorf("a deps.json is an object, this is %v", d.Kind())
	}
	return d.Object(func(key string) error {
		if key != name || d.Kind() != jsonstream.Object {
			return nil
		}
		return d.Object(fn)
	})
}

func (x *reader) libraries(d *jsonstream.Decoder) error {
	return section(d, "libraries", func(library string) error {
		if d.Kind() != jsonstream.Object {
			return nil
		}
		kind := ""
		err := d.Object(func(key string) (err error) {
			if key == "type" {
				kind, err = d.Text()
			}
			return err
		})
		// A runtime pack is the package with the runtime of a self-contained application.
		if err != nil || kind == "package" || kind == "runtimepack" {
			return err
		}
		if x.bytes += len(library) + 64; x.bytes > maxProjects {
			x.out.Partial(fmt.Sprintf("there are too many projects and references to tell that %.100s is no package", library))
			return nil
		}
		x.projects[library] = true
		return nil
	})
}

func (x *reader) targets(d *jsonstream.Decoder) error {
	defer func() {
		if n := d.Overlong(); n > 0 {
			x.out.Partial(fmt.Sprintf("%d fields of more than %d KiB are left out", n, jsonstream.MaxString>>10))
		}
	}()
	return section(d, "targets", func(string) error {
		if d.Kind() != jsonstream.Object {
			return nil
		}
		return d.Object(func(library string) error { return x.library(d, library) })
	})
}

// library reads an entry of a target: "Name/1.0.0".
func (x *reader) library(d *jsonstream.Decoder, library string) error {
	if x.projects[library] || d.Kind() != jsonstream.Object {
		return nil
	}
	i := strings.LastIndexByte(library, '/')
	if i < 0 {
		return nil
	}
	p := inventory.Package{Type: inventory.NuGet, Version: inventory.Clean(library[i+1:])}
	p.Name = inventory.Clean(strings.TrimPrefix(library[:i], "runtimepack."))
	if p.Name == "" || p.Version == "" {
		return nil
	}
	x.set.Reset()
	x.set.Provide(x.key(library[:i], library[i+1:]))
	err := d.Object(func(key string) error {
		if key != "dependencies" || d.Kind() != jsonstream.Object {
			return nil
		}
		return d.Object(func(name string) error {
			version, err := d.Text()
			x.set.Require(x.key(name, version))
			return err
		})
	})
	if err != nil {
		return err
	}
	x.set.Give(&p)
	x.set.Report(x.out, p.Name)
	return x.out.Package(&p)
}

// key is a library as a key: NuGet compares names without regard to case.
func (x *reader) key(name, version string) string {
	return x.scope + strings.ToLower(name) + "/" + version
}
