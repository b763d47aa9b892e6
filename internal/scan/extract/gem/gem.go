// Package gem reads the packages of Ruby: what RubyGems installed
// (specifications/*.gemspec, and below it default/ for gems that come with
// Ruby) and what Gemfile.lock declares.
//
// A gemspec is a Ruby program. Those in specifications are written by
// RubyGems itself, one statement on a line, and that form is what is read;
// anything computed is not. The comment "# stub:", from which RubyGems itself takes name, version
// and platform without running the program, covers the rest.
//
// A gem may be built for one platform ("x86_64-linux"), which then is a qualifier of its package URL.
package gem

import (
	"context"
	"fmt"
	"strings"

	"stella/internal/lines"
	"stella/internal/scan/extract"
	"stella/internal/scan/extract/edges"
	"stella/internal/scan/inventory"
)

type extractor struct{}

// New returns the extractor, which is called "gem".
func New() extract.Extractor { return extractor{} }

func (extractor) Name() string { return "gem" }
func (extractor) Version() int { return 1 }

func (extractor) Wants(h extract.Header) bool {
	if h.Size == 0 {
		return false
	}
	if strings.HasSuffix(h.Path, ".gemspec") {
		return strings.HasPrefix(h.Path, "specifications/") || strings.Contains(h.Path, "/specifications/")
	}
	base := h.Path[strings.LastIndexByte(h.Path, '/')+1:]
	return base == "Gemfile.lock" || base == "gems.locked" // two names of the same
}

func (extractor) Extract(ctx context.Context, f *extract.File, out extract.Output) error {
	in := lines.New(ctx, f)
	defer in.Close()
	if strings.HasSuffix(f.Path, ".gemspec") {
		return readSpec(in, f.Path, out)
	}
	return readLock(in, f.Path, out)
}

// setVersion sets version and, unless the gem is pure Ruby, platform.
func setVersion(p *inventory.Package, version, platform string) {
	p.Version = inventory.Clean(version)
	if platform = inventory.Clean(platform); platform != "" && platform != "ruby" {
		p.Qualifiers = []inventory.Qualifier{{Key: "platform", Value: platform}}
	}
}

// readLock reads the specs of a lockfile:
//
//	GEM
//	  remote: …
//	  specs:
//	    nokogiri (1.16.2-x86_64-linux)
//	      racc (~> 1.4)
func readLock(in *lines.Reader, path string, out extract.Output) error {
	scope := "gem:" + edges.Scope(path) + ":"
	var p inventory.Package
	var set edges.Set
	give := func() error {
		defer set.Reset()
		if p.Name == "" || p.Version == "" {
			return nil
		}
		set.Give(&p)
		set.Report(out, p.Name)
		return out.Package(&p)
	}
	specs := false
	for in.Next() {
		if in.Long() {
			out.Partial(fmt.Sprintf("line %d is longer than %d KiB", in.Number(), lines.Max>>10))
			continue
		}
		line := string(in.Bytes())
		indent := len(line) - len(strings.TrimLeft(line, " "))
		name, paren, _ := strings.Cut(strings.TrimSpace(line), " (")
		name = inventory.Clean(strings.TrimSuffix(name, "!"))
		switch {
		case name == "":
		case indent < 4:
			specs = indent == 2 && name == "specs:"
		case !specs:
		case indent == 4:
			if err := give(); err != nil {
				return err
			}
			version, platform, _ := strings.Cut(strings.TrimSuffix(paren, ")"), "-")
			p = inventory.Package{Type: inventory.Gem, Name: name, Declared: true}
			setVersion(&p, version, platform)
			set.Provide(scope + name)
		case indent == 6:
			set.Require(scope + name)
		}
	}
	if err := in.Err(); err != nil {
		return err
	}
	return give()
}
