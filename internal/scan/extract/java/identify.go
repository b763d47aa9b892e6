package java

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strings"

	"stella/internal/scan/extract/edges"
	"stella/internal/scan/inventory"
	"stella/internal/zipstream"
)

const (
	// maxDescriptors bounds, in bytes, what is remembered of where descriptors
	// are: some two thousand of them. Big shaded archives have three hundred.
	maxDescriptors  = 384 << 10
	descriptorBytes = 200 // of one, besides its name

	// maxText is the most of a pom.xml that is read; those in archives have a tenth of it.
	maxText       = 128 << 10
	maxManifest   = 64 << 10
	maxProperties = 16 << 10
)

// descriptor is where the Maven files of one artifact are.
type descriptor struct {
	dir        string
	properties zipstream.Member
	xml        zipstream.Member
	has, hasXM bool
}

// contents is what one pass over a directory finds.
type contents struct {
	manifest    zipstream.Member
	hasManifest bool
	descriptors []descriptor
	index       map[string]int // into descriptors, by dir
	used        int            // bytes remembered

	nested bool
	links  edges.Set // of the main package
}

// identify finds the packages that an archive itself is, and says whether it holds other archives. An
// error that isDamage is about a part of the archive; what could be read was given.
func (s *scan) identify(a *zipstream.Archive, member string) (nested bool, err error) {
	var c contents
	c.links.Provide(s.key(member))
	err = a.Entries(func(e *zipstream.Entry) error {
		s.note(&c, e, member)
		return s.ctx.Err()
	})
	if err != nil && !isDamage(err) {
		return false, err
	}
	if e := s.packages(a, &c, member); e != nil {
		return false, e
	}
	return c.nested, err
}

var (
	manifestName = []byte("META-INF/MANIFEST.MF")
	mavenDir     = []byte("META-INF/maven/")
)

// note remembers an entry if it matters.
func (s *scan) note(c *contents, e *zipstream.Entry, member string) {
	switch {
	case e.NameCut:
		s.out.Partial(fmt.Sprintf("%s: a member with a name of more than %d bytes was left out", s.base(member), zipstream.MaxName))
	case bytes.EqualFold(e.Name, manifestName):
		if c.hasManifest && (c.manifest.CRC32 != e.CRC32 || c.manifest.Size != e.Size) {
			s.out.Partial(s.base(member) + ": it has several different manifests: the first one was read")
		}
		if !c.hasManifest {
			c.manifest, c.hasManifest = e.Member, true
		}
	case bytes.HasSuffix(e.Name, []byte("pom.properties")):
		s.noteDescriptor(c, e, member, false)
	case bytes.HasSuffix(e.Name, []byte("/pom.xml")) && bytes.Contains(e.Name, mavenDir):
		s.noteDescriptor(c, e, member, true)
	case isArchive(e.Name) && e.Size >= minArchive:
		c.nested = true
		if !c.links.Reject() {
			c.links.Require(s.key(join(member, e.Name)))
		}
	}
}

func (s *scan) noteDescriptor(c *contents, e *zipstream.Entry, member string, xml bool) {
	name := string(e.Name)
	dir, file := path.Split(name)
	if file != "pom.properties" && file != "pom.xml" {
		return
	}
	i, ok := c.index[dir]
	if !ok {
		if c.used += descriptorBytes + 2*len(dir); c.used > maxDescriptors {
			s.out.Partial(fmt.Sprintf("%s: it has more Maven descriptors than the %d that were read", s.base(member), len(c.descriptors)))
			return
		}
		if c.index == nil {
			c.index = make(map[string]int)
		}
		i = len(c.descriptors)
		c.index[dir] = i
		c.descriptors = append(c.descriptors, descriptor{dir: dir})
	}
	d := &c.descriptors[i]
	m, has := &d.properties, &d.has
	if xml {
		m, has = &d.xml, &d.hasXM
	}
	if *has {
		if m.CRC32 != e.CRC32 || m.Size != e.Size {
			s.out.Partial(fmt.Sprintf("%s: it has several different %s: the first one was read", s.base(member), inventory.Clean(name)))
		}
		return
	}
	*m, *has = e.Member, true
}

// key is what the main package of an archive provides.
func (s *scan) key(member string) string {
	if member == "" {
		return "maven:/" + edges.Scope(s.f.Path)
	}
	return "maven:/" + edges.Scope(s.f.Path+"!/"+member)
}

// keyOf is what the package of another descriptor provides.
func (s *scan) keyOf(member string, d *descriptor) string {
	return s.key(member) + "#" + edges.Scope(d.dir)
}

// packages gives the main package and those of all other descriptors.
func (s *scan) packages(a *zipstream.Archive, c *contents, member string) error {
	slices.SortFunc(c.descriptors, func(a, b descriptor) int { return strings.Compare(a.dir, b.dir) })
	r := reading{scan: s, a: a, member: member, name: splitName(s.base(member))}
	if c.hasManifest {
		b, whole, err := r.text(&c.manifest, maxManifest, "META-INF/MANIFEST.MF")
		if err != nil {
			return err
		}
		if !r.manifest.parse(b) && !whole {
			s.out.Partial(fmt.Sprintf("%s: its manifest's main section has more than the %d bytes that were read", r.base(member), maxManifest))
		}
	}
	main, at, err := r.choose(c.descriptors)
	if err != nil {
		return err
	}
	if main.artifact == "" && (c.hasManifest || r.name.version != "") && !r.manifest.has(weaveClasses) {
		main = r.guess()
	}
	// Every descriptor but the main one is a package that main, being shaded, requires.
	if main.artifact != "" {
		for i := range c.descriptors {
			if i != at {
				c.links.Require(s.keyOf(member, &c.descriptors[i]))
			}
		}
		if err := r.emitMain(main, &c.links); err != nil {
			return err
		}
		c.links.Report(s.out, r.base(member))
	}
	for i := range c.descriptors {
		if i == at {
			continue
		}
		if err := r.emitOther(&c.descriptors[i], main); err != nil {
			return err
		}
	}
	return nil
}

// artifact is a package before it is one.
type artifact struct {
	group, artifact, version string
	licenses                 []string
}

func (a *artifact) complete() bool { return a.group != "" && a.artifact != "" && a.version != "" }

func (r *reading) emitMain(m artifact, links *edges.Set) error {
	if v := r.manifest.licenses(); len(v) > 0 {
		m.licenses = v
	}
	return r.emit(m, r.manifest.first(implementationVendor, bundleVendor, specificationVendor), links)
}

func (r *reading) emitOther(d *descriptor, main artifact) error {
	v, err := r.describe(d, true)
	if err != nil {
		return err
	}
	if !v.complete() || v.group == main.group && v.artifact == main.artifact && v.version == main.version {
		return nil // without a version it proves nothing; a copy of main is main
	}
	var links edges.Set
	links.Provide(r.keyOf(r.member, d))
	return r.emit(v, "", &links)
}

func (r *reading) emit(v artifact, supplier string, links *edges.Set) error {
	p := inventory.Package{
		Type:      inventory.Maven,
		Namespace: inventory.Clean(v.group),
		Name:      inventory.Clean(v.artifact),
		Version:   inventory.Clean(v.version),
		Licenses:  v.licenses,
		Supplier:  inventory.Clean(supplier),
	}
	if p.Name == "" {
		return nil
	}
	links.Give(&p)
	if r.member == "" {
		return r.out.Package(&p)
	}
	return r.out.PackageAt(r.member, &p)
}
