package java

import (
	"bytes"
	"strings"

	"stella/internal/scan/inventory"
)

// field is an attribute of a manifest that says something about identity.
type field int

const (
	implementationVersion field = iota
	specificationVersion
	pluginVersion
	bundleVersion
	groupID
	implementationVendorID
	bundleSymbolicName
	extensionName
	shortName
	implementationTitle
	implementationVendor
	bundleVendor
	specificationVendor
	bundleLicense
	pluginLicense
	weaveClasses // New Relic's instrumentation, named for what it instruments
	fields
)

var fieldNames = [fields]string{
	"Implementation-Version", "Specification-Version", "Plugin-Version", "Bundle-Version",
	"Group-Id", "Implementation-Vendor-Id", "Bundle-SymbolicName",
	"Extension-Name", "Short-Name", "Implementation-Title",
	"Implementation-Vendor", "Bundle-Vendor", "Specification-Vendor",
	"Bundle-License", "Plugin-License-Name", "Weave-Classes",
}

// manifest is the main section of META-INF/MANIFEST.MF. Versions also come from the
// sections below it, which describe packages in the archive: old
// builds state them only there.
type manifest struct {
	value [fields]string
}

// parse reads the fields; it reports whether it saw the end of the main section, an empty line.
// The format: https://docs.oracle.com/en/java/javase/21/docs/specs/jar/jar.html#jar-manifest
func (m *manifest) parse(b []byte) (ended bool) {
	into := fields // the field that a continuation line continues
	for len(b) > 0 {
		var line []byte
		line, b = cutLine(b)
		switch {
		case len(line) == 0:
			ended, into = true, fields
		case line[0] == ' ':
			if into < fields && len(m.value[into]) < inventory.MaxField {
				m.value[into] += string(line[1:])
			}
		default:
			key, value, ok := bytes.Cut(line, []byte(":"))
			into = fieldNamed(key)
			if !ok || into == fields || m.value[into] != "" || ended && into > bundleVersion {
				into = fields
				continue
			}
			m.value[into] = string(bytes.TrimPrefix(value[:min(len(value), inventory.MaxField)], []byte(" ")))
		}
	}
	for i := range m.value {
		m.value[i] = inventory.Clean(m.value[i])
	}
	return ended
}

// cutLine cuts at CR LF, LF or CR.
func cutLine(b []byte) (line, rest []byte) {
	i := bytes.IndexAny(b, "\r\n")
	if i < 0 {
		return b, nil
	}
	line, rest = b[:i], b[i+1:]
	if b[i] == '\r' && len(rest) > 0 && rest[0] == '\n' {
		rest = rest[1:]
	}
	return line, rest
}

func fieldNamed(key []byte) field {
	for f, name := range fieldNames {
		if len(key) == len(name) && strings.EqualFold(string(key), name) {
			return field(f)
		}
	}
	return fields
}

func (m *manifest) has(f field) bool { return m.value[f] != "" }

// first returns the first of the fields that is set.
func (m *manifest) first(fs ...field) string {
	for _, f := range fs {
		if m.value[f] != "" {
			return m.value[f]
		}
	}
	return ""
}

func (m *manifest) version() string {
	for _, f := range [...]field{implementationVersion, specificationVersion, pluginVersion, bundleVersion} {
		if v := m.value[f]; v != "" && !strings.Contains(v, "${") {
			return v
		}
	}
	return ""
}

// licenses are those of the whole archive. Bundle-License is a list of names or addresses, each with
// attributes (OSGi Core, 3.2.1.10): Apache-2.0;link="https://…",EPL-2.0.
func (m *manifest) licenses() (v []string) {
	for _, clause := range splitQuoted(m.value[bundleLicense], ',') {
		name := strings.Trim(strings.TrimSpace(splitQuoted(clause, ';')[0]), `"`)
		if name != "" && name != "<<EXTERNAL>>" && len(v) < maxLicenses {
			v = append(v, name)
		}
	}
	if name := m.value[pluginLicense]; name != "" {
		v = append(v, name)
	}
	return v
}

// splitQuoted splits at separators outside of double quotes.
func splitQuoted(s string, sep byte) (parts []string) {
	start, quoted := 0, false
	for i := range len(s) {
		switch {
		case s[i] == '"':
			quoted = !quoted
		case s[i] == sep && !quoted:
			parts = append(parts, s[start:i])
			start = i + 1
		}
	}
	return append(parts, s[start:])
}

// group guesses a group id. Maven's archiver writes it as Implementation-Vendor-Id.
func (m *manifest) group(artifact string) string {
	for _, f := range [...]field{groupID, implementationVendorID} {
		if isGroup(m.value[f]) {
			return m.value[f]
		}
	}
	name, _, _ := strings.Cut(m.value[bundleSymbolicName], ";") // directives follow
	if name = strings.TrimSpace(name); isGroup(name) {
		return bundleGroup(name, artifact)
	}
	if isGroup(m.value[extensionName]) {
		return m.value[extensionName]
	}
	return ""
}

// tomcat is the artifact id of a part of Tomcat, or nothing. Its Ant build leaves no descriptor, and a
// distribution's files are named without the prefix (catalina.jar is tomcat-catalina).
func (m *manifest) tomcat() string {
	name, _, _ := strings.Cut(m.value[bundleSymbolicName], ";")
	if part, ok := strings.CutPrefix(strings.TrimSpace(name), "org.apache.tomcat-"); ok && part != "" {
		return "tomcat-" + part
	}
	return ""
}

// bundleGroup takes the artifact id off a Bundle-SymbolicName. maven-bundle-plugin makes the name from group and artifact:
// group.artifact; but org.apache.maven + maven-core is org.apache.maven.core.
func bundleGroup(name, artifact string) string {
	if name == artifact { // as Eclipse and Felix name their artifacts
		return name[:strings.LastIndexByte(name, '.')]
	}
	if g, ok := strings.CutSuffix(name, "."+artifact); ok && (strings.ContainsAny(artifact, "-_.") && isGroup(g)) {
		return g
	}
	if i := strings.IndexByte(artifact, '-'); i > 0 {
		g, ok := strings.CutSuffix(name, "."+strings.ReplaceAll(artifact[i+1:], "-", "."))
		if ok && strings.HasSuffix(g, "."+artifact[:i]) {
			return g
		}
	}
	return name
}

// isGroup reports whether s looks like a reversed domain name.
func isGroup(s string) bool {
	dots, start := 0, true
	for i := range len(s) {
		switch c := s[i]; {
		case start && !letter(c):
			return false
		case c == '.':
			dots++
			start = true
			continue
		case !letter(c) && !digit(c) && c != '-' && c != '_':
			return false
		}
		start = false
	}
	return dots > 0 && !start
}
