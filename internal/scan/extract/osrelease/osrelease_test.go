package osrelease

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"stella/internal/scan/extract"
	"stella/internal/scan/extract/extracttest"
	"stella/internal/scan/inventory"
)

const path = "usr/lib/os-release"

func TestWants(t *testing.T) {
	for path, want := range map[string]bool{
		"etc/os-release":                   true,
		"usr/lib/os-release":               true,
		"srv/jail/etc/os-release":          true,
		"etc/lsb-release":                  false,
		"os-release":                       false,
		"lib/os-release":                   false,
		"betc/os-release":                  false,
		"usr/share/doc/etc/os-release.txt": false,
	} {
		if got := New().Wants(extract.Header{Path: path}); got != want {
			t.Errorf("Wants(%q) = %v", path, got)
		}
	}
}

func TestRelease(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       inventory.Release
	}{
		// As in Debian 12's base-files.
		{"Debian", `PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
NAME="Debian GNU/Linux"
VERSION_ID="12"
VERSION="12 (bookworm)"
VERSION_CODENAME=bookworm
ID=debian
HOME_URL="https://www.debian.org/"
`, inventory.Release{ID: "debian", VersionID: "12", VersionCodename: "bookworm", PrettyName: "Debian GNU/Linux 12 (bookworm)", Name: "Debian GNU/Linux"}},
		{"quotes", `# ID=no
  ID='fe'"dora"\ x y
ID_LIKE="rhel \"fedora\" \$x \n \\"
VERSION_ID='a\"b'
NAME=
PRETTY_NAME="open`, inventory.Release{ID: "fedora x", IDLike: `rhel "fedora" $x \n \`, VersionID: `a\"b`, PrettyName: "open"}},
		{"the last one counts, line ends of DOS", "ID=a\r\nID=b\r\nexport NAME=x\r\n", inventory.Release{ID: "b"}},
		{"a rolling release has no version", "ID=arch\nNAME=\"Arch Linux\"", inventory.Release{ID: "arch", Name: "Arch Linux"}},
	} {
		r := extracttest.Run(t, New(), path, []byte(c.text))
		if diff := cmp.Diff([]inventory.Release{c.want}, r.Releases); diff != "" || r.Err != nil || r.Reasons != nil {
			t.Errorf("%s: error %v, reasons %q\n%s", c.name, r.Err, r.Reasons, diff)
		}
		for n := range c.text {
			extracttest.Run(t, New(), path, []byte(c.text[:n]))
		}
	}
}

func TestBad(t *testing.T) {
	for _, text := range []string{"", "\x7fELF\x00\x00", "VERSION=1\n", "ID\n=x\n"} {
		r := extracttest.Run(t, New(), path, []byte(text))
		if len(r.Releases) != 0 || len(r.Reasons) != 1 || r.Err != nil {
			t.Errorf("%q: %+v", text, r)
		}
	}
	// What stands beyond the limit is not read, and that is said.
	r := extracttest.Run(t, New(), path, []byte("ID=big\n"+strings.Repeat("#\n", maxFile)+"ID=late\n"))
	if len(r.Releases) != 1 || r.Releases[0].ID != "big" || len(r.Reasons) != 1 || !strings.Contains(r.Reasons[0], "first 64 KiB") {
		t.Errorf("a large file: %+v", r)
	}
}

func TestMemory(t *testing.T) {
	data := "ID=" + strings.Repeat("x", 16<<20)
	live, _, err := extracttest.Peak(t, New(), extracttest.Header(path, int64(len(data))), strings.NewReader(data))
	if err != nil || live > extract.Budget {
		t.Errorf("%d bytes live, error %v", live, err)
	}
}

func FuzzExtract(f *testing.F) {
	f.Add("ID=debian\nNAME=\"a \\\"b\"\n")
	f.Add("ID='")
	f.Fuzz(func(t *testing.T, s string) {
		extracttest.Fuzz(t, New(), path, 0o644, []byte(s))
		// What is quoted as the shell does comes back.
		if len(s) > 1000 || !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
			return
		}
		q := strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`, "`", "\\`").Replace(s)
		r := extracttest.Run(t, New(), path, fmt.Appendf(nil, "ID=\"%s\"\nNAME=n", q))
		if len(r.Releases) != 1 || r.Releases[0].ID != strings.TrimSpace(s) {
			t.Fatalf("%q came back as %+v", s, r.Releases)
		}
	})
}
