package java

import "strings"

// fileName is what an archive's name says of it.
type fileName struct {
	base    string // without the suffix
	name    string // without the version; empty where it does not begin with a letter
	version string
}

// splitName splits name-version.jar: the version is what follows the first
// dash before something that looks like one. Eclipse writes name_version, some name.1.2.3.
func splitName(file string) fileName {
	f := fileName{base: file}
	if i := strings.LastIndexByte(file, '.'); i > 0 {
		f.base = file[:i]
	}
	if f.base == "" || !letter(f.base[0]) {
		return f
	}
	f.name = f.base
	for _, sep := range [...]byte{'-', '_', '.'} {
		for i := 1; i < len(f.base)-1; i++ {
			if f.base[i] == sep && versionAfter(sep, f.base[i+1:]) {
				f.name, f.version = f.base[:i], f.base[i+1:]
				return f
			}
		}
	}
	return f
}

func letter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
func digit(c byte) bool  { return '0' <= c && c <= '9' }

func versionAfter(sep byte, s string) bool {
	switch sep {
	case '-':
		return startsVersion(s)
	case '_':
		return digit(s[0])
	}
	// After a dot only two numbers or more: commons.lang3 and log4j1.2 are names.
	return digit(s[0]) && strings.Contains(s, ".") && strings.Trim(s, "0123456789.") == ""
}

// startsVersion is true for 1.2, 20231013-jre, build5, r4, RC1.
func startsVersion(s string) bool {
	if digit(s[0]) {
		return true
	}
	for _, prefix := range [...]string{"build", "rc", "r"} {
		if len(s) <= len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) || !digit(s[len(prefix)]) {
			continue
		}
		rest := strings.TrimLeft(s[len(prefix):], "0123456789")
		return prefix == "build" || rest == "" || !letter(rest[0])
	}
	return false
}

// fit says how well an artifact fits the name.
func (f *fileName) fit(v artifact) int {
	switch a := v.artifact; {
	case v.version != "" && strings.HasPrefix(f.base, a) && startsWhole(f.base[len(a):], v.version):
		return exactWhole
	case f.name == a || f.base == a:
		return exact
	case sameName(f.name, a) || sameName(f.base, a):
		return similar
	case f.name != "" && (strings.HasPrefix(a, f.name) || strings.HasSuffix(f.name, a)):
		return loose
	}
	return unfit
}

// startsWhole reports whether rest is "-version", alone or before a classifier.
func startsWhole(rest, version string) bool {
	if rest == "" || rest[0] != '-' || !strings.HasPrefix(rest[1:], version) {
		return false
	}
	rest = rest[1+len(version):]
	return rest == "" || rest[0] == '-'
}

// sameName compares without regard to case and the kind of punctuation.
func sameName(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if fold(a[i]) != fold(b[i]) {
			return false
		}
	}
	return true
}

func fold(c byte) byte {
	switch {
	case c == '_' || c == '.':
		return '-'
	case 'A' <= c && c <= 'Z':
		return c + 'a' - 'A'
	}
	return c
}
