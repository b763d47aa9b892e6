package npm

import (
	"context"
	"fmt"
	"io"

	"stella/internal/jsonstream"
	"stella/internal/scan/extract"
	"stella/internal/scan/extract/edges"
	"stella/internal/scan/inventory"
)

const (
	// maxLicenses is how many licences are kept of one package; real ones
	// name up to three.
	maxLicenses = 32

	// maxDir is the longest directory, in bytes, for which dependencies are
	// resolved: longer ones would use up the budget with the first of them.
	maxDir = 1 << 10

	deepDir = "the dependencies of a package are left out: the path of its directory has more than 1,024 bytes"
)

// manifest is a package.json being read. Its form is described at
// https://docs.npmjs.com/cli/configuring-npm/package-json; what is out there is less tidy.
type manifest struct {
	*jsonstream.Decoder
	dir           string
	name, version string
	author        string
	licenses      []string
	lostLicenses  int
	set           edges.Set
}

func readManifest(ctx context.Context, r io.Reader, dir string, out extract.Output) error {
	m := manifest{dir: dir}
	overlong := 0
	readErr := jsonstream.Decode(ctx, r, func(d *jsonstream.Decoder) error {
		defer func() { overlong = d.Overlong() }()
		m.Decoder = d
		if d.Kind() != jsonstream.Object {
			return nil
		}
		return d.Object(m.member)
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	p := inventory.Package{Type: inventory.NPM, Version: inventory.Clean(m.version), Supplier: inventory.Clean(m.author), Licenses: m.licenses}
	setName(&p, m.name)
	reportOverlong(out, overlong) // also where it was the name that is missing now
	if p.Name == "" || p.Version == "" {
		return readErr
	}
	if m.lostLicenses > 0 {
		out.Partial(fmt.Sprintf("%d licences beyond the first %d are left out", m.lostLicenses, maxLicenses))
	}
	if len(dir) > maxDir {
		out.Partial(deepDir)
	} else {
		m.set.Provide("npm:" + dir)
		m.set.Give(&p)
		m.set.Report(out, p.Name)
	}
	if err := out.Package(&p); err != nil {
		return err
	}
	return readErr
}

func (m *manifest) member(key string) (err error) {
	switch key {
	case "name":
		m.name, err = m.Text()
	case "version":
		m.version, err = m.Text()
	case "author":
		m.author, err = m.person()
	case "license", "licence", "licenses":
		return m.license(0)
	case "dependencies", "optionalDependencies", "peerDependencies":
		if m.Kind() != jsonstream.Object {
			return nil
		}
		return m.Object(func(name string) error {
			if len(m.dir) <= maxDir {
				resolve(&m.set, "npm:", m.dir, name)
			}
			return nil
		})
	}
	return err
}

// person reads "Name <mail> (url)", or the same as an object.
func (m *manifest) person() (string, error) {
	if m.Kind() != jsonstream.Object {
		return m.Text()
	}
	var name, email string
	err := m.Object(func(key string) (err error) {
		switch key {
		case "name":
			name, err = m.Text()
		case "email":
			email, err = m.Text()
		}
		return err
	})
	switch {
	case email == "":
		return name, err
	case name == "":
		return email, err
	}
	return name + " <" + email + ">", err
}

// license reads an SPDX expression, or one of the older forms: an object with a type, or
// a list of either.
func (m *manifest) license(level int) error {
	switch m.Kind() {
	case jsonstream.String:
		s, err := m.Text()
		m.addLicense(s)
		return err
	case jsonstream.Object:
		return m.Object(func(key string) error {
			if key != "type" && key != "name" {
				return nil
			}
			s, err := m.Text()
			m.addLicense(s)
			return err
		})
	case jsonstream.Array:
		if level > 0 {
			return nil
		}
		return m.Array(func(int) error { return m.license(level + 1) })
	}
	return nil
}

func (m *manifest) addLicense(s string) {
	s = inventory.Clean(s)
	switch {
	case s == "":
	case len(m.licenses) == maxLicenses:
		m.lostLicenses++
	default:
		m.licenses = append(m.licenses, s)
	}
}

// reportOverlong tells out of n fields of a JSON file that were not kept.
func reportOverlong(out extract.Output, n int) {
	if n > 0 {
		out.Partial(fmt.Sprintf("%d fields of more than %d KiB are left out", n, jsonstream.MaxString>>10))
	}
}
