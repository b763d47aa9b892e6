package java

import (
	"bytes"
	"strconv"
	"strings"
	"unicode/utf8"

	"stella/internal/scan/inventory"
)

const (
	// maxLicenses bounds what is kept of one pom.xml: two are common, five exist.
	maxLicenses = 16
	// maxNesting is how deep elements are followed; what is wanted stands at most three deep.
	maxNesting = 64
)

// parsePOM reads the identity and licences of a Maven project, which may be cut off. encoding/xml would
// do, at ten times the cost of inflating it: this one knows elements, text, CDATA
// and the predefined entities, and skips all else. What the pom.xml
// inherits is taken from its parent element; placeholders are looked up in it.
func parsePOM(b []byte) artifact {
	var v, parent artifact
	walkXML(b, func(path, text string) bool {
		switch path {
		case "project/groupId":
			v.group = text
		case "project/artifactId":
			v.artifact = text
		case "project/version":
			v.version = text
		case "project/parent/groupId":
			parent.group = text
		case "project/parent/artifactId":
			parent.artifact = text
		case "project/parent/version":
			parent.version = text
		case "project/licenses/license/name":
			if text = inventory.Clean(text); text != "" && len(v.licenses) < maxLicenses {
				v.licenses = append(v.licenses, text)
			}
		}
		return true
	})
	r := resolver{pom: b, own: &v, parent: &parent}
	parent.group, parent.version = r.resolve(parent.group), r.resolve(parent.version)
	v.group = or(r.resolve(v.group), parent.group)
	v.version = or(r.resolve(v.version), parent.version)
	v.artifact = r.resolve(v.artifact)
	return v
}

// resolver replaces placeholders by what the same pom.xml says.
type resolver struct {
	pom         []byte
	own, parent *artifact
}

// maxLookups ends properties that refer to each other.
const maxLookups = 8

// resolve returns s with its placeholders replaced, or nothing where one is not to be had here.
func (r *resolver) resolve(s string) string {
	for range maxLookups {
		i := strings.Index(s, "${")
		if i < 0 {
			return inventory.Clean(s)
		}
		n := strings.IndexByte(s[i:], '}')
		if n < 0 || len(s) > inventory.MaxField {
			return ""
		}
		value := r.property(s[i+2 : i+n])
		if value == "" {
			return ""
		}
		s = s[:i] + value + s[i+n+1:]
	}
	return ""
}

func (r *resolver) property(name string) (value string) {
	name = strings.TrimPrefix(strings.TrimPrefix(name, "project."), "pom.")
	switch name {
	case "groupId":
		return or(r.own.group, r.parent.group)
	case "artifactId":
		return r.own.artifact
	case "version":
		return or(r.own.version, r.parent.version)
	case "parent.groupId":
		return r.parent.group
	case "parent.artifactId":
		return r.parent.artifact
	case "parent.version":
		return r.parent.version
	}
	walkXML(r.pom, func(path, text string) bool {
		if p, ok := strings.CutPrefix(path, "project/properties/"); ok && p == name {
			value = text
		}
		return value == ""
	})
	return value
}

// walkXML calls fn with the path and the text of each element that holds
// text and no elements, until fn says no. Prefixes of names are dropped.
func walkXML(b []byte, fn func(path, text string) bool) {
	var (
		path  []byte
		ends  [maxNesting]int // length of path before each open element
		depth int
		text  []byte
		leaf  bool // nothing but text since the last start tag
	)
	for len(b) > 0 {
		i := bytes.IndexByte(b, '<')
		if i < 0 {
			return
		}
		if leaf {
			text = appendText(text, b[:i])
		}
		b = b[i:]
		switch {
		case bytes.HasPrefix(b, []byte("<!--")):
			b = after(b, "-->")
		case bytes.HasPrefix(b, []byte("<![CDATA[")):
			inner := b[len("<![CDATA["):]
			b = after(b, "]]>")
			if leaf {
				text = append(text, inner[:max(0, len(inner)-len(b)-len("]]>"))]...)
			}
		case bytes.HasPrefix(b, []byte("<!")), bytes.HasPrefix(b, []byte("<?")):
			b = after(b, ">")
		case bytes.HasPrefix(b, []byte("</")):
			b = after(b, ">")
			if leaf && len(text) <= inventory.MaxField && wanted(path) && !fn(string(path), string(text)) {
				return
			}
			if depth--; depth < 0 {
				return
			}
			if depth < maxNesting {
				path = path[:ends[depth]]
			}
			leaf = false
		default:
			name, empty, rest := startTag(b)
			b = rest
			leaf, text = !empty, text[:0]
			if empty {
				continue
			}
			if depth < maxNesting {
				ends[depth] = len(path)
				if depth > 0 {
					path = append(path, '/')
				}
				path = append(path, name...)
			}
			depth++
		}
	}
}

// wanted spares most elements, those of dependencies and plugins, their strings.
func wanted(path []byte) bool {
	return bytes.Count(path, []byte("/")) == 1 || bytes.HasPrefix(path, []byte("project/parent/")) ||
		bytes.HasPrefix(path, []byte("project/properties/")) || bytes.HasPrefix(path, []byte("project/licenses/"))
}

// after is b behind the first mark, nothing where there is none.
func after(b []byte, mark string) []byte {
	i := bytes.Index(b, []byte(mark))
	if i < 0 {
		return nil
	}
	return b[i+len(mark):]
}

// startTag splits the start tag that b begins with.
func startTag(b []byte) (name []byte, empty bool, rest []byte) {
	i := bytes.IndexAny(b, ">\"'")
	for i >= 0 && b[i] != '>' { // a quoted value may hold >
		q := bytes.IndexByte(b[i+1:], b[i])
		if q < 0 {
			return nil, true, nil
		}
		i += q + 2
		n := bytes.IndexAny(b[i:], ">\"'")
		if n < 0 {
			return nil, true, nil
		}
		i += n
	}
	if i < 0 {
		return nil, true, nil
	}
	tag := b[1:i]
	tag, empty = bytes.CutSuffix(tag, []byte("/"))
	if n := bytes.IndexAny(tag, " \t\r\n"); n >= 0 {
		tag = tag[:n]
	}
	if n := bytes.IndexByte(tag, ':'); n >= 0 {
		tag = tag[n+1:]
	}
	return tag, empty, b[i+1:]
}

var entities = map[string]string{"lt": "<", "gt": ">", "amp": "&", "quot": `"`, "apos": "'"}

// appendText appends b with its entities replaced.
func appendText(text, b []byte) []byte {
	for {
		i := bytes.IndexByte(b, '&')
		if i < 0 {
			return append(text, b...)
		}
		text = append(text, b[:i]...)
		b = b[i:]
		n := bytes.IndexByte(b[:min(len(b), 12)], ';')
		if n < 0 {
			return append(text, b...)
		}
		name := string(b[1:n])
		b = b[n+1:]
		if num, ok := strings.CutPrefix(name, "#"); ok {
			base := 10
			if hex, ok := strings.CutPrefix(num, "x"); ok {
				num, base = hex, 16
			}
			if r, err := strconv.ParseUint(num, base, 32); err == nil && r <= utf8.MaxRune {
				text = utf8.AppendRune(text, rune(r))
			}
			continue
		}
		text = append(text, entities[name]...)
	}
}
