package executable

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"stella/internal/scan/extract/edges"
	"stella/internal/scan/inventory"
)

// maxLine is the longest line of a module list that is understood. Lines are
// module paths, or build flags.
const maxLine = 32 << 10

// module is a line of the list, with the line that replaces it.
type module struct {
	path, version, sum string
	replaced           bool
	newPath, newVer    string
}

// develVersion is what Go calls the version of a module that was built in place.
const develVersion = "(devel)"

// name is the module that was built: of a replacement by a directory, which has no name that means
// anything elsewhere, the original.
func (m *module) name() (path, version string) {
	path, version = m.path, m.version
	if m.replaced {
		version = m.newVer
		if !strings.HasPrefix(m.newPath, ".") && !strings.HasPrefix(m.newPath, "/") && !windowsPath(m.newPath) {
			path = m.newPath
		}
	}
	if version == develVersion {
		version = ""
	}
	return path, version
}

func windowsPath(p string) bool { return len(p) > 2 && p[1] == ':' && (p[2] == '\\' || p[2] == '/') }

// list is what one pass over a module list calls. Any may be nil.
type list struct {
	main    func(m *module) error
	dep     func(m *module) error
	setting func(key, value string)
	problem func(reason string)
}

// read reads the text that debug.BuildInfo.String documents: a line is a word, a tab, and columns.
func (l *list) read(r *io.SectionReader) error {
	br := bufio.NewReaderSize(io.NewSectionReader(r, 0, r.Size()), maxLine)
	var m *module
	var give func(m *module) error
	flush := func() error {
		defer func() { m = nil }()
		if m == nil || give == nil {
			return nil
		}
		return give(m)
	}
	for n := 1; ; n++ {
		line, err := br.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			l.report(fmt.Sprintf("line %d of its module list has more than %d bytes", n, maxLine))
			if err = skipLine(br); err == nil {
				continue
			}
		}
		if errors.Is(err, io.EOF) {
			return flush() // what has no newline is cut off, or the padding
		}
		if err != nil {
			return err
		}
		word, rest, _ := bytes.Cut(line[:len(line)-1], []byte("\t"))
		switch string(word) {
		case "=>": // it may follow its module at a distance, as runtime/debug has it
			c := strings.Split(string(rest), "\t")
			if m == nil || len(c) != 3 {
				l.report(fmt.Sprintf("line %d of its module list, a replacement, has %d columns in place of 3, or replaces nothing", n, len(c)))
				continue
			}
			m.replaced, m.newPath, m.newVer, m.sum = true, c[0], c[1], c[2]
			if err := flush(); err != nil {
				return err
			}
		case "mod", "dep":
			if err := flush(); err != nil {
				return err
			}
			if give = l.dep; string(word) == "mod" {
				give = l.main
			}
			c := strings.Split(string(rest), "\t")
			if len(c) != 2 && len(c) != 3 || c[0] == "" {
				l.report(fmt.Sprintf("line %d of its module list has %d columns in place of 2 or 3", n, len(c)))
				continue
			}
			if m = (&module{path: c[0], version: c[1]}); len(c) == 3 {
				m.sum = c[2]
			}
		case "build":
			if key, value, ok := strings.Cut(string(rest), "="); ok && l.setting != nil {
				l.setting(unquote(key), unquote(value))
			}
		}
	}
}

func (l *list) report(reason string) {
	if l.problem != nil {
		l.problem(reason)
	}
}

// skipLine skips the rest of a line.
func skipLine(br *bufio.Reader) error {
	for {
		_, err := br.ReadSlice('\n')
		if !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}

func unquote(s string) string {
	if u, err := strconv.Unquote(s); err == nil {
		return u
	}
	return s
}

// goBinary gives the main module, then Go's standard library, then the modules in their order.
// A module replaced by another is that other one; one replaced by a directory keeps its name and loses its
// version. Versions keep their "v", except that of the standard library, which has none ("1.26.1"): it is how
// vulnerability databases name it.
func (s *scan) goBinary(l *layout) error {
	b, err := findBuildInfo(l)
	if b == nil || err != nil {
		return err
	}
	g := goBinary{scan: s, buildInfo: b}
	if b.modules != nil {
		if err := g.survey(); err != nil {
			return err
		}
	}
	if err := g.emitMain(); err != nil {
		return err
	}
	if v := stdlibVersion(b.version); v != "" {
		p := inventory.Package{
			Type: inventory.Golang, Name: "stdlib", Version: inventory.Clean(v),
			Licenses: []string{"BSD-3-Clause"}, Provides: []string{g.key("stdlib")},
		}
		if err := s.out.Package(&p); err != nil {
			return err
		}
	}
	if b.modules == nil {
		return nil
	}
	deps := list{dep: func(m *module) error {
		if err := s.ctx.Err(); err != nil {
			return err
		}
		if *m == g.main {
			return nil
		}
		return g.emit(m, "")
	}}
	return deps.read(b.modules)
}

// goBinary is a Go binary while it is read.
type goBinary struct {
	*scan
	*buildInfo
	main     module // its path is empty where there is none
	settings settings
	links    edges.Set // of the main module
}

// survey finds the main module and what it requires.
//
// Without a main module ("go run file.go", Bazel) the one dependency that was built in
// place is it. The tools of Go itself have none: they are part of the standard library's distribution.
func (g *goBinary) survey() error {
	g.links.Require(g.key("stdlib"))
	var inPlace module
	count := 0
	l := list{
		main: func(m *module) error {
			if m.path != "command-line-arguments" {
				g.main = *m
			}
			return nil
		},
		dep: func(m *module) error {
			if m.version == develVersion && !m.replaced {
				inPlace = *m
				count++
			}
			if !g.links.Reject() {
				g.links.Require(g.key(m.path))
			}
			return g.ctx.Err()
		},
		setting: g.settings.set,
		problem: g.out.Partial,
	}
	if err := l.read(g.modules); err != nil {
		return err
	}
	if g.main.path == "" && count == 1 {
		g.main = inPlace
	}
	return nil
}

// key identifies a module within this file.
func (g *goBinary) key(module string) string {
	return "golang:/" + g.scope + ":" + edges.Scope(module)
}

func (g *goBinary) emitMain() error {
	if g.main.path == "" {
		return nil
	}
	version := ""
	if g.main.version == develVersion && !g.main.replaced {
		version = g.settings.mainVersion(g.main.path)
	}
	if err := g.emit(&g.main, version); err != nil {
		return err
	}
	g.links.Report(g.out, inventory.Clean(g.main.path))
	return nil
}

// emit gives a module, with another version where it states none.
func (g *goBinary) emit(m *module, version string) error {
	path, stated := m.name()
	if stated != "" {
		version = stated
	}
	p := inventory.Package{
		Type:    inventory.Golang,
		Name:    inventory.Clean(path),
		Version: inventory.Clean(version),
	}
	if m == &g.main {
		g.links.Give(&p)
	}
	p.Provides = []string{g.key(m.path)}
	if i := strings.LastIndexByte(p.Name, '/'); i > 0 && i < len(p.Name)-1 {
		p.Namespace, p.Name = p.Name[:i], p.Name[i+1:]
	}
	if p.Name == "" {
		return nil
	}
	return g.out.Package(&p)
}
