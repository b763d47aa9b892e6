package java

import (
	"bytes"
	"strings"

	"stella/internal/scan/inventory"
)

// parseProperties reads pom.properties as Maven writes it: a Java
// properties file (java.util.Properties) of three short lines. A value with a placeholder that the
// build did not replace counts as missing.
func parseProperties(b []byte) (v artifact) {
	for len(b) > 0 {
		var line []byte
		line, b = cutLine(b)
		line = bytes.TrimLeft(line, " \t\f")
		i := bytes.IndexAny(line, "=:")
		if i < 0 || line[0] == '#' || line[0] == '!' {
			continue
		}
		var into *string
		switch string(bytes.TrimSpace(line[:i])) {
		case "groupId":
			into = &v.group
		case "artifactId":
			into = &v.artifact
		case "version":
			into = &v.version
		default:
			continue
		}
		value := inventory.Clean(string(line[i+1:]))
		if value = strings.ReplaceAll(value, `\`, ""); !strings.Contains(value, "${") {
			*into = value // the last one counts, as in Java
		}
	}
	return v
}
