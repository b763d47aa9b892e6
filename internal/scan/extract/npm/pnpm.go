package npm

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"stella/internal/lines"
	"stella/internal/scan/inventory"
)

// maxURLVersions bounds, in bytes, what is remembered of packages that do not
// come from a registry; a project has a handful of them.
const maxURLVersions = 64 << 10

// pnpmLock is a pnpm-lock.yaml being read (https://github.com/pnpm/spec). It
// is YAML as one program writes it: two spaces for each level, and keys on one line.
//
//	lockfileVersion: '9.0'
//	packages:                       # version 9: about packages, without dependencies
//	  foo@1.0.0:
//	snapshots:                      # version 9: packages with what they were resolved to
//	  foo@1.0.0(bar@2.0.0):
//	    dependencies:
//	      bar: 2.0.0
//
// Before version 9 "packages" holds both, under "/foo/1.0.0_bar@2.0.0" (5) or "/foo@1.0.0(bar@2.0.0)" (6).
type pnpmLock struct {
	*declared
	version  int    // of the format
	section  string // at the left margin
	part     string // of the entry
	key      string // of the entry, empty where none is open
	name     string // stated in the entry, where the key has none
	release  string // version stated in the entry, the same
	dev      bool
	urls     map[string]string // version 9: key of a package from a URL → its version
	urlBytes int
}

func readPnpm(ctx context.Context, r io.Reader, d *declared) error {
	in := lines.New(ctx, r)
	defer in.Close()
	p := pnpmLock{declared: d, urls: map[string]string{}}
	for in.Next() {
		if in.Long() {
			d.out.Partial(fmt.Sprintf("line %d is longer than %d KiB", in.Number(), lines.Max>>10))
			continue
		}
		if err := p.line(string(in.Bytes())); err != nil {
			return err
		}
	}
	if err := in.Err(); err != nil {
		return err
	}
	return p.finish()
}

func (p *pnpmLock) line(line string) error {
	indent := len(line) - len(strings.TrimLeft(line, " "))
	line = strings.TrimRight(line[indent:], " ")
	if rest, ok := strings.CutPrefix(line, ": "); ok && indent == 2 { // the value of a key written as "? key"
		indent, line = 4, strings.TrimLeft(rest, " ")
	}
	if line == "" || line[0] == '#' {
		return nil
	}
	switch {
	case indent == 0:
		if err := p.finish(); err != nil {
			return err
		}
		var value string
		if p.section, value = yamlPair(line); p.section == "lockfileVersion" {
			major, _, _ := strings.Cut(value, ".")
			p.version, _ = strconv.Atoi(major) // 0, the oldest, where it is no number
		}
	case p.section != "packages" && p.section != "snapshots":
	case indent == 2:
		if err := p.finish(); err != nil {
			return err
		}
		if rest, ok := strings.CutPrefix(line, "? "); ok {
			line = rest + ":"
		}
		p.key, _ = yamlPair(line)
	case indent == 4:
		p.field(line)
	case indent == 6 && (p.part == "dependencies" || p.part == "optionalDependencies"):
		if name, value := yamlPair(line); !strings.HasPrefix(value, "link:") {
			p.set.Require(p.prefix + p.target(name, value))
		}
	}
	return nil
}

func (p *pnpmLock) field(line string) {
	key, value := yamlPair(line)
	switch p.part = key; key {
	case "name":
		p.name = value
	case "version":
		p.release = value
	case "dev":
		p.dev = value == "true"
	}
}

// target is the key of the entry that a dependency was resolved to.
func (p *pnpmLock) target(name, value string) string {
	at := strings.IndexByte(value, '@')
	switch {
	case value == "" || value[0] == '/':
		return value
	case p.version < 6 && value[0] >= '0' && value[0] <= '9':
		return "/" + name + "/" + value
	case p.version < 6:
		return value
	case p.version < 9 && value[0] >= '0' && value[0] <= '9':
		return "/" + name + "@" + value
	case p.version < 9:
		return value
	case at < 0 || value[0] >= '0' && value[0] <= '9' || strings.Contains(value[:at], ":"):
		return name + "@" + value
	}
	return value // an alias: "other@1.0.0"
}

// finish gives the entry that was open.
func (p *pnpmLock) finish() error {
	key, name, version, dev := p.key, p.name, p.release, p.dev
	p.key, p.name, p.release, p.part, p.dev = "", "", "", "", false
	if key == "" {
		return nil
	}
	keyName, keyVersion := p.parse(key)
	if name == "" {
		name = keyName
	}
	url := strings.ContainsAny(keyVersion, ":/")
	if p.version >= 9 && p.section == "packages" {
		p.set.Reset()
		if url && version != "" {
			p.remember(keyName+"@"+keyVersion, version)
		}
		return nil
	}
	switch {
	case dev:
		name = ""
	case version != "":
	case url:
		version = p.urls[keyName+"@"+keyVersion]
	default:
		version = keyVersion
	}
	p.set.Provide(p.prefix + key)
	return p.give(name, version, "")
}

func (p *pnpmLock) remember(key, version string) {
	if p.urlBytes += len(key) + len(version) + 64; p.urlBytes > maxURLVersions {
		p.out.Partial(fmt.Sprintf("the version of %.100s is not kept: there are too many packages from URLs", key))
		return
	}
	p.urls[key] = version
}

// parse takes the key of an entry apart. A version with a colon or slash is the URL of a package
// that comes from no registry; a key without a name is all URL.
func (p *pnpmLock) parse(key string) (name, version string) {
	rest, rooted := strings.CutPrefix(key, "/")
	if p.version < 6 {
		if !rooted {
			return "", ""
		}
		from := 0
		if strings.HasPrefix(rest, "@") {
			from = strings.IndexByte(rest, '/') + 1
		}
		i := strings.IndexByte(rest[from:], '/')
		if i < 0 {
			return "", ""
		}
		version, _, _ = strings.Cut(rest[from+i+1:], "_")
		return rest[:from+i], version
	}
	rest, _, _ = strings.Cut(rest, "(")
	return splitDescriptor(rest)
}

// yamlPair splits "key: value", either of which may be in single quotes.
func yamlPair(line string) (key, value string) {
	if rest, ok := strings.CutPrefix(line, "'"); ok {
		key, value, _ = strings.Cut(rest, "'")
		value = strings.TrimPrefix(value, ":")
	} else if i := strings.Index(line+" ", ": "); i >= 0 {
		key, value = line[:i], line[i+1:]
	} else {
		key = line
	}
	value, _, _ = strings.Cut(value, " #")
	return inventory.Clean(key), inventory.Clean(strings.Trim(strings.TrimSpace(value), `'"`))
}
