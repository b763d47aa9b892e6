package gem

import (
	"fmt"
	"strconv"
	"strings"

	"stella/internal/lines"
	"stella/internal/scan/extract"
	"stella/internal/scan/extract/edges"
	"stella/internal/scan/inventory"
)

// maxList is how many licences or authors are kept of one gem.
const maxList = 64

// spec is a gemspec being read.
type spec struct {
	dir                     string // the gem directory, above "specifications"
	name, version, platform string
	licenses, authors       []string
	lost                    int
	otherwise               bool // in the branch for a RubyGems of before 2008, which repeats the dependencies
	set                     edges.Set
}

func readSpec(in *lines.Reader, path string, out extract.Output) error {
	s := spec{dir: gemDir(path)}
	for in.Next() {
		// The list of files may be a very long line; only fields that count are missed.
		if s.line(strings.TrimSpace(string(in.Bytes()))) && in.Long() {
			out.Partial(fmt.Sprintf("line %d is longer than %d KiB", in.Number(), lines.Max>>10))
		}
	}
	readErr := in.Err()
	if s.name == "" || s.version == "" {
		if readErr == nil {
			out.Partial("the gemspec states no name or no version in the form that RubyGems writes")
		}
		return readErr
	}
	if s.lost > 0 {
		out.Partial(fmt.Sprintf("%d licences or authors beyond the first %d are left out", s.lost, maxList))
	}
	p := inventory.Package{Type: inventory.Gem, Name: s.name, Licenses: s.licenses, Supplier: inventory.Clean(strings.Join(s.authors, ", "))}
	setVersion(&p, s.version, s.platform)
	s.set.Provide("gem:" + s.dir + ":" + s.name)
	s.set.Provide("gem:" + s.name)
	s.set.Give(&p)
	s.set.Report(out, p.Name)
	if err := out.Package(&p); err != nil {
		return err
	}
	return readErr
}

// gemDir is the directory whose specifications the file at path is one of.
func gemDir(path string) string {
	if i := strings.LastIndex("/"+path, "/specifications/"); i >= 0 {
		return edges.Scope(path[:max(i-1, 0)])
	}
	return ""
}

// line takes a trimmed line of the program, and reports whether it was of use.
func (s *spec) line(line string) bool {
	switch line {
	case "else":
		s.otherwise = true
	case "end":
		s.otherwise = false
	}
	if rest, ok := strings.CutPrefix(line, "# stub: "); ok {
		s.stub(strings.Fields(rest))
		return true
	}
	rest, ok := strings.CutPrefix(line, "s.")
	if !ok {
		return false
	}
	if name, value, ok := strings.Cut(rest, " = "); ok {
		return s.assign(name, value)
	}
	call, args, _ := strings.Cut(rest, "(")
	if s.otherwise || call != "add_runtime_dependency" && call != "add_dependency" {
		return false
	}
	if name, _, ok := literal(args); ok {
		// Gems that come with Ruby stand in another directory than those
		// that were installed later: any of that name will do.
		name = inventory.Clean(name)
		s.set.Require("gem:"+s.dir+":"+name, "gem:"+name)
	}
	return true
}

// stub takes "name version platform require-paths". Another such comment
// lists extensions.
func (s *spec) stub(fields []string) {
	if len(fields) >= 3 && s.name == "" {
		s.name, s.version, s.platform = inventory.Clean(fields[0]), inventory.Clean(fields[1]), inventory.Clean(fields[2])
	}
}

func (s *spec) assign(name, value string) bool {
	switch name {
	case "name":
		setLiteral(&s.name, value)
	case "version":
		value = strings.TrimPrefix(value, "Gem::Version.new(")
		setLiteral(&s.version, value)
	case "platform":
		setLiteral(&s.platform, value)
	case "licenses", "license":
		s.licenses = s.list(value)
	case "authors", "author":
		s.authors = s.list(value)
	default:
		return false
	}
	return true
}

// setLiteral sets to where value is a string literal, and leaves it where it is computed.
func setLiteral(to *string, value string) {
	if v, _, ok := literal(value); ok && !strings.Contains(v, "#{") {
		*to = inventory.Clean(v)
	}
}

// list reads string literals that are separated by anything.
func (s *spec) list(value string) (out []string) {
	for value != "" {
		v, rest, ok := literal(value)
		if !ok {
			value = value[1:]
			continue
		}
		value = rest
		switch v = inventory.Clean(v); {
		case v == "":
		case len(out) == maxList:
			s.lost++
		default:
			out = append(out, v)
		}
	}
	return out
}

// literal reads the Ruby string literal at the start of s: "…" with escapes, '…', or %q<…>.
func literal(s string) (value, rest string, ok bool) {
	if rest, ok := strings.CutPrefix(s, "%q<"); ok {
		return strings.Cut(rest, ">")
	}
	if s == "" || s[0] != '"' && s[0] != '\'' {
		return "", "", false
	}
	quote := s[0]
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == quote:
			return b.String(), s[i+1:], true
		case c == '\\' && i+1 < len(s):
			i++
			if quote == '"' && s[i] == 'u' {
				n := unicode(&b, s[i+1:])
				i += n
			} else {
				b.WriteByte(s[i])
			}
		default:
			b.WriteByte(c)
		}
	}
	return "", "", false
}

// unicode writes the character of \u00e9 or \u{1f600} to b and returns how many bytes
// it took after the u. Anything else is left out.
func unicode(b *strings.Builder, s string) int {
	digits, n := s[:min(4, len(s))], 4
	if strings.HasPrefix(s, "{") {
		end := strings.IndexByte(s, '}')
		if end < 0 {
			return 0
		}
		digits, n = s[1:end], end+1
	}
	v, err := strconv.ParseUint(digits, 16, 32)
	if err != nil {
		return 0
	}
	b.WriteRune(rune(v))
	return min(n, len(s))
}
