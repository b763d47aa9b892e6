package python

import (
	"context"
	"fmt"
	"strings"

	"stella/internal/jsonstream"
	"stella/internal/lines"
	"stella/internal/scan/extract"
	"stella/internal/scan/extract/edges"
	"stella/internal/scan/inventory"
)

// declared gives the packages of one lockfile.
type declared struct {
	out   extract.Output
	scope string
	set   edges.Set
}

func newDeclared(path string, out extract.Output) *declared {
	return &declared{out: out, scope: "pypi:" + edges.Scope(path) + ":"}
}

func (d *declared) require(name string) {
	if name != "" {
		d.set.Require(d.scope + keyName(name))
	}
}

// give gives one package with the dependencies collected since the last one.
func (d *declared) give(name, version string) error {
	defer d.set.Reset()
	name, version = inventory.Clean(name), inventory.Clean(version)
	if name == "" || version == "" {
		return nil
	}
	p := inventory.Package{Type: inventory.PyPI, Name: normalise(name), Version: version, Declared: true}
	d.set.Provide(d.scope + keyName(name))
	d.set.Give(&p)
	d.set.Report(d.out, p.Name)
	return d.out.Package(&p)
}

// readRequirements reads a requirements file
// (https://pip.pypa.io/en/stable/reference/requirements-file-format/): of
// its lines those that pin one version.
func readRequirements(ctx context.Context, f *extract.File, out extract.Output) error {
	in := lines.New(ctx, f)
	defer in.Close()
	d := newDeclared(f.Path, out)
	continued := false
	for in.Next() {
		line := strings.TrimSpace(string(in.Bytes()))
		if in.Long() {
			out.Partial(fmt.Sprintf("line %d is longer than %d KiB", in.Number(), lines.Max>>10))
		}
		skip := continued // options such as --hash follow a requirement on further lines
		continued = strings.HasSuffix(line, `\`)
		if skip || line == "" || line[0] == '#' || line[0] == '-' {
			continue
		}
		line, _, _ = strings.Cut(line, " #")
		name, rest, _ := requirement(strings.TrimSuffix(line, `\`))
		if version, ok := pinned(rest); ok {
			if err := d.give(name, version); err != nil {
				return err
			}
		}
	}
	return in.Err()
}

// pinned is the version that a specifier allows, if it is just one: "[extra]==1.0".
func pinned(spec string) (string, bool) {
	if strings.HasPrefix(spec, "[") {
		_, spec, _ = strings.Cut(spec, "]")
	}
	spec = strings.Trim(strings.TrimSpace(spec), "()")
	if i := strings.Index(spec, " --"); i >= 0 {
		spec = spec[:i]
	}
	version, ok := strings.CutPrefix(spec, "==")
	version = strings.TrimSpace(strings.TrimPrefix(version, "="))
	return version, ok && version != "" && !strings.ContainsAny(version, ",*<>!~ \t")
}

// readPipfile reads a Pipfile.lock: its section "default". What is only
// needed for development is in another, and the file has no edges.
func readPipfile(ctx context.Context, f *extract.File, out extract.Output) error {
	d := newDeclared(f.Path, out)
	return jsonstream.Decode(ctx, f, func(json *jsonstream.Decoder) error {
		defer func() {
			if n := json.Overlong(); n > 0 {
				out.Partial(fmt.Sprintf("%d fields of more than %d KiB are left out", n, jsonstream.MaxString>>10))
			}
		}()
		if json.Kind() != jsonstream.Object {
			return fmt.Errorf("a lockfile is an object, this is %v", json.Kind())
		}
		return json.Object(func(section string) error {
			if section != "default" || json.Kind() != jsonstream.Object {
				return nil
			}
			return json.Object(func(name string) error {
				if json.Kind() != jsonstream.Object {
					return nil
				}
				spec := ""
				err := json.Object(func(key string) (err error) {
					if key == "version" {
						spec, err = json.Text()
					}
					return err
				})
				if err != nil {
					return err
				}
				version, _ := pinned(spec)
				return d.give(name, version)
			})
		})
	})
}

// lock is a poetry.lock, pdm.lock or uv.lock being read. All three are TOML as one program writes
// it, a table for each package:
//
//	[[package]]
//	name = "a"
//	version = "1.0"
//	dependencies = [         # pdm: "b>=1; marker", uv: { name = "b" }
//	]
//	[package.dependencies]   # poetry
//	b = ">=1"
type lock struct {
	*declared
	form          form
	table         string // the header of the table
	name, version string
	list          bool // inside dependencies = […]
	skip          bool // the project itself, or only for development
}

func readLock(ctx context.Context, f *extract.File, form form, out extract.Output) error {
	in := lines.New(ctx, f)
	defer in.Close()
	l := lock{declared: newDeclared(f.Path, out), form: form}
	for in.Next() {
		if in.Long() {
			out.Partial(fmt.Sprintf("line %d is longer than %d KiB", in.Number(), lines.Max>>10))
		}
		if err := l.line(strings.TrimSpace(string(in.Bytes()))); err != nil {
			return err
		}
	}
	if err := in.Err(); err != nil {
		return err
	}
	return l.finish()
}

func (l *lock) finish() error {
	if l.skip {
		l.name = ""
	}
	err := l.give(l.name, l.version)
	*l = lock{declared: l.declared, form: l.form, table: l.table}
	return err
}

func (l *lock) line(line string) error {
	if line == "" || line[0] == '#' {
		return nil
	}
	if l.list {
		l.list = line[0] != ']'
		l.element(line)
		return nil
	}
	if line[0] == '[' {
		l.table = strings.Trim(line, "[]")
		if line == "[[package]]" || !strings.HasPrefix(l.table, "package") {
			return l.finish()
		}
		return nil
	}
	key, value, _ := strings.Cut(line, "=")
	key, value = strings.Trim(strings.TrimSpace(key), `"`), strings.TrimSpace(value)
	switch {
	case l.table == "package":
		l.field(key, value)
	case l.table == "package.dependencies" && l.form == poetry && !strings.Contains(value, "optional = true"):
		l.require(inventory.Clean(key))
	}
	return nil
}

func (l *lock) field(key, value string) {
	switch key {
	case "name":
		l.name = strings.Trim(value, `"`)
	case "version":
		l.version = strings.Trim(value, `"`)
	case "source": // uv: the project and the members of its workspace
		l.skip = l.skip || strings.HasPrefix(value, "{ virtual") || strings.HasPrefix(value, "{ editable") || strings.HasPrefix(value, "{ directory")
	case "category": // poetry before 1.5
		l.skip = l.skip || value == `"dev"`
	case "groups": // poetry since 2.0; those of pdm may be extras as well as for development
		l.skip = l.skip || l.form == poetry && !strings.Contains(value, `"main"`)
	case "dependencies":
		l.list = value == "["
		if !l.list {
			for e := range strings.SplitSeq(strings.Trim(value, "[]"), "},") {
				l.element(e)
			}
		}
	}
}

// element takes one line of dependencies = […].
func (l *lock) element(s string) {
	if _, rest, ok := strings.Cut(s, `name = "`); ok { // uv
		name, _, _ := strings.Cut(rest, `"`)
		l.require(inventory.Clean(name))
		return
	}
	name, _, marker := requirement(strings.Trim(strings.TrimSuffix(s, ","), `"`)) // pdm
	if !onlyExtra(marker) {
		l.require(inventory.Clean(name))
	}
}
