// Package composer reads the packages of PHP: what Composer installed
// (vendor/composer/installed.json) and what composer.lock declares.
//
// Names are "vendor/package"; the vendor is the namespace. Platform packages
// (php, ext-json, lib-curl) have no vendor and are not packages of the image.
// Of a lockfile the section "packages-dev" is left out; of installed.json
// nothing is: it is there, whatever it is for.
package composer

import (
	"context"
	"fmt"
	"strings"

	"stella/internal/jsonstream"
	"stella/internal/scan/extract"
	"stella/internal/scan/extract/edges"
	"stella/internal/scan/inventory"
)

// maxLicenses is how many licences are kept of one package; real ones offer up to three.
const maxLicenses = 32

type extractor struct{}

// New returns the extractor, which is called "composer".
func New() extract.Extractor { return extractor{} }

func (extractor) Name() string { return "composer" }
func (extractor) Version() int { return 1 }

func (extractor) Wants(h extract.Header) bool {
	return h.Size > 0 && (ends(h.Path, "composer/installed.json") || ends(h.Path, "composer.lock"))
}

// ends reports whether path ends with whole elements of suffix.
func ends(path, suffix string) bool {
	rest, ok := strings.CutSuffix(path, suffix)
	return ok && (rest == "" || rest[len(rest)-1] == '/')
}

func (extractor) Extract(ctx context.Context, f *extract.File, out extract.Output) error {
	x := reader{out: out, lock: ends(f.Path, "composer.lock"), scope: "composer:" + edges.Scope(f.Path) + ":"}
	return jsonstream.Decode(ctx, f, x.document)
}

// reader reads one file (https://getcomposer.org/doc/ for the lockfile's fields).
type reader struct {
	*jsonstream.Decoder
	out   extract.Output
	lock  bool
	scope string // of keys

	pkg  inventory.Package
	set  edges.Set
	lost int // licences
}

// document reads installed.json of Composer 1, a list of packages, or a lockfile or installed.json of
// Composer 2, an object that has the list as "packages".
func (x *reader) document(d *jsonstream.Decoder) error {
	x.Decoder = d
	defer func() {
		if n := d.Overlong(); n > 0 {
			x.out.Partial(fmt.Sprintf("%d fields of more than %d KiB are left out", n, jsonstream.MaxString>>10))
		}
	}()
	switch d.Kind() {
	case jsonstream.Array:
		return d.Array(x.element)
	case jsonstream.Object:
		return d.Object(func(key string) error {
			if key != "packages" || d.Kind() != jsonstream.Array {
				return nil
			}
			return d.Array(x.element)
		})
	}
	return fmt.Errorf("the file is to hold a list of packages, this is %v", d.Kind())
}

func (x *reader) element(int) error {
	if x.Kind() != jsonstream.Object {
		return nil
	}
	x.pkg = inventory.Package{Type: inventory.Composer, Declared: x.lock}
	x.set.Reset()
	x.lost = 0
	if err := x.Object(x.member); err != nil {
		return err
	}
	if x.pkg.Name == "" || x.pkg.Version == "" {
		return nil
	}
	if x.lost > 0 {
		x.out.Partial(fmt.Sprintf("%d licences of %.100s beyond the first %d are left out", x.lost, x.pkg.Name, maxLicenses))
	}
	x.set.Give(&x.pkg)
	x.set.Report(x.out, x.pkg.Name)
	return x.out.Package(&x.pkg)
}

func (x *reader) member(key string) (err error) {
	var s string
	switch key {
	case "name":
		s, err = x.Text()
		x.name(s)
	case "version":
		s, err = x.Text()
		x.pkg.Version = inventory.Clean(s)
	case "license":
		return x.license()
	case "authors":
		return x.authors()
	case "require":
		return x.names(func(name string) { x.set.Require(x.key(name)) })
	case "replace", "provide": // others may ask for these names and get this package
		return x.names(func(name string) { x.set.Provide(x.key(name)) })
	}
	return err
}

func (x *reader) name(s string) {
	vendor, name, ok := strings.Cut(inventory.Clean(s), "/")
	if !ok {
		vendor, name = "", vendor
	}
	x.pkg.Namespace, x.pkg.Name = vendor, name
	x.set.Provide(x.key(s))
}

// key is a name as a key: Composer compares names without regard to case.
func (x *reader) key(name string) string { return x.scope + strings.ToLower(name) }

// names calls fn for each package, but not platform package, that is a key of the next object.
func (x *reader) names(fn func(string)) error {
	if x.Kind() != jsonstream.Object {
		return nil // an empty object is written as []
	}
	return x.Object(func(name string) error {
		if strings.Contains(name, "/") {
			fn(name)
		}
		return nil
	})
}

// license reads one SPDX identifier or a list of them, to choose from.
func (x *reader) license() error {
	add := func() error {
		s, err := x.Text()
		switch s = inventory.Clean(s); {
		case s == "":
		case len(x.pkg.Licenses) == maxLicenses:
			x.lost++
		default:
			x.pkg.Licenses = append(x.pkg.Licenses, s)
		}
		return err
	}
	if x.Kind() == jsonstream.Array {
		return x.Array(func(int) error { return add() })
	}
	return add()
}

// authors takes the first author.
func (x *reader) authors() error {
	if x.Kind() != jsonstream.Array {
		return nil
	}
	return x.Array(func(i int) error {
		if i > 0 || x.Kind() != jsonstream.Object {
			return nil
		}
		var name, email string
		err := x.Object(func(key string) (err error) {
			switch key {
			case "name":
				name, err = x.Text()
			case "email":
				email, err = x.Text()
			}
			return err
		})
		if email != "" {
			name = strings.TrimSpace(name + " <" + email + ">")
		}
		x.pkg.Supplier = inventory.Clean(name)
		return err
	})
}
