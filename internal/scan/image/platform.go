package image

import (
	"cmp"
	"fmt"
	"runtime"
	"strings"
)

// platform is what an image runs on, as in the OCI image index.
type platform struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
	Variant      string `json:"variant"`
	OSVersion    string `json:"os.version"`
}

func (p platform) String() string {
	s := cmp.Or(p.OS, "?") + "/" + cmp.Or(p.Architecture, "?")
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	if p.OSVersion != "" {
		s += " (" + p.OSVersion + ")"
	}
	return s
}

// wanted is the platform to choose. It is asked when a person named it, and else only preferred.
type wanted struct {
	platform
	asked bool
}

// parsePlatform reads Options.Platform.
func parsePlatform(s string) (wanted, error) {
	if s == "" {
		return wanted{platform: normal(platform{OS: "linux", Architecture: runtime.GOARCH})}, nil
	}
	parts := strings.Split(s, "/")
	if len(parts) < 2 || len(parts) > 3 || len(s) > 100 {
		return wanted{}, fmt.Errorf("platform %.100q: write it as os/architecture or os/architecture/variant, such as linux/arm64/v8", s)
	}
	for _, p := range parts {
		if p == "" || strings.Trim(strings.ToLower(p), "abcdefghijklmnopqrstuvwxyz0123456789._-") != "" {
			return wanted{}, fmt.Errorf("platform %.100q: the part %.100q is not a name", s, p)
		}
	}
	p := platform{OS: parts[0], Architecture: parts[1]}
	if len(parts) == 3 {
		p.Variant = parts[2]
	}
	return wanted{normal(p), true}, nil
}

// normal spells a platform as Go and OCI do, so that equal ones compare equal: the
// synonyms are those that uname and package managers use.
func normal(p platform) platform {
	p.OS = strings.ToLower(p.OS)
	p.Architecture = strings.ToLower(p.Architecture)
	p.Variant = strings.ToLower(p.Variant)
	switch p.Architecture {
	case "x86_64", "x86-64":
		p.Architecture = "amd64"
	case "i386", "i686":
		p.Architecture = "386"
	case "aarch64":
		p.Architecture = "arm64"
	case "armhf", "armv7l":
		p.Architecture, p.Variant = "arm", "v7"
	case "armel":
		p.Architecture, p.Variant = "arm", "v6"
	}
	switch p.Variant {
	case "5", "6", "7", "8":
		p.Variant = "v" + p.Variant
	}
	switch {
	case p.Architecture == "arm64" && p.Variant == "v8", p.Architecture == "amd64" && p.Variant == "v1":
		p.Variant = ""
	case p.Architecture == "arm" && p.Variant == "":
		p.Variant = "v7"
	}
	return p
}

// rank says how well an image for have suits want: 0 not at all, more is
// better. A newer ARM runs the code of an older one.
func rank(want, have platform) int {
	have = normal(have)
	if want.OS != have.OS || want.Architecture != have.Architecture {
		return 0
	}
	if want.Variant == have.Variant {
		return 10
	}
	if want.Architecture == "arm" && have.Variant < want.Variant && have.Variant >= "v5" {
		return int(have.Variant[1] - '0')
	}
	return 0
}
