package executable

import (
	"strings"
	"time"
)

// settings are the build settings that tell the version of a main module that says "(devel)": Go before 1.24
// wrote that for everything that was not installed by "go install module@version".
type settings struct {
	ldflags, revision, time string
}

func (s *settings) set(key, value string) {
	switch key {
	case "-ldflags":
		s.ldflags = value
	case "vcs.revision":
		s.revision = value
	case "vcs.time":
		s.time = value
	}
}

// mainVersion is, in this order: what the linker was told to set a variable for the version to
// (-X main.version=1.2.3, as release builds do); the pseudo-version of the revision, as Go 1.24 would write it
// in a repository without tags; nothing.
func (s *settings) mainVersion(module string) string {
	if v := versionFromLDFlags(s.ldflags, module); v != "" {
		return v
	}
	return pseudoVersion(s.revision, s.time)
}

// pseudoVersion follows https://go.dev/ref/mod#pseudo-versions.
func pseudoVersion(revision, commitTime string) string {
	const short = 12
	t, err := time.Parse(time.RFC3339, commitTime)
	if err != nil || len(revision) < short || strings.Trim(revision, "0123456789abcdef") != "" {
		return ""
	}
	return "v0.0.0-" + t.UTC().Format("20060102150405") + "-" + revision[:short]
}

// versionFromLDFlags finds -X with a variable of the main package or module whose name
// says that it holds the version, and a value that is one. A variable called just "version" is preferred.
func versionFromLDFlags(flags, module string) (found string) {
	x := false
	for word := range linkerWords(flags) {
		value, joined := strings.CutPrefix(word, "-X=")
		isValue := x || joined
		x = word == "-X" && !isValue
		if !isValue {
			continue
		}
		variable, value, _ := strings.Cut(value, "=")
		dot := strings.LastIndexByte(variable, '.')
		if dot < 0 {
			continue
		}
		pkg, name := variable[:dot], strings.ToLower(variable[dot+1:])
		if pkg != "main" && pkg != module && !strings.HasPrefix(pkg, module+"/") {
			continue
		}
		if value, ok := semantic(value); ok && (name == "version" || found == "" && namesVersion(name)) {
			if found = value; name == "version" {
				return found
			}
		}
	}
	return found
}

// namesVersion: appVersion, GitVersion, buildTag, but not goVersion.
func namesVersion(name string) bool {
	for _, s := range [...]string{"version", "ver", "tag"} {
		if p, ok := strings.CutSuffix(name, s); ok {
			return p != "go" && p != "golang" && p != "min" && p != "api" && p != "schema"
		}
	}
	return false
}

// linkerWords splits flags at spaces outside of quotes, which it removes.
func linkerWords(flags string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		var word strings.Builder
		quote := byte(0)
		for i := range len(flags) {
			switch c := flags[i]; {
			case quote == 0 && (c == '\'' || c == '"'):
				quote = c
			case c == quote:
				quote = 0
			case quote == 0 && (c == ' ' || c == '\t' || c == '\n'):
				if word.Len() > 0 && !yield(word.String()) {
					return
				}
				word.Reset()
			default:
				word.WriteByte(c)
			}
		}
		if word.Len() > 0 {
			yield(word.String())
		}
	}
}

// semantic returns a semantic version with a "v", if s is one with or without.
func semantic(s string) (string, bool) {
	core, _, _ := strings.Cut(strings.TrimPrefix(s, "v"), "+")
	core, _, _ = strings.Cut(core, "-")
	parts := strings.Split(core, ".")
	if len(parts) != 3 || len(s) > 128 {
		return "", false
	}
	for _, p := range parts {
		if p == "" || strings.Trim(p, "0123456789") != "" {
			return "", false
		}
	}
	if strings.ContainsAny(s, " /\\\"'") {
		return "", false
	}
	return "v" + strings.TrimPrefix(s, "v"), true
}

// stdlibVersion takes the version out of "go1.26.1", "go1.26.1 X:boringcrypto" or
// "devel go1.27-1a2b3c4 Tue Mar 3 …".
func stdlibVersion(goVersion string) string {
	for _, word := range strings.Fields(goVersion) {
		if v, ok := strings.CutPrefix(word, "go"); ok && v != "" && v[0] >= '0' && v[0] <= '9' {
			return v
		}
	}
	return ""
}
