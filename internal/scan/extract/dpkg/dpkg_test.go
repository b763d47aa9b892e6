package dpkg

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"stella/internal/scan/extract"
	"stella/internal/scan/extract/extracttest"
	"stella/internal/scan/inventory"
)

const path = "var/lib/dpkg/status"

func qualifiers(kv ...string) (q []inventory.Qualifier) {
	for i := 0; i < len(kv); i += 2 {
		q = append(q, inventory.Qualifier{Key: kv[i], Value: kv[i+1]})
	}
	return q
}

func TestWants(t *testing.T) {
	for path, want := range map[string]bool{
		"var/lib/dpkg/status":                    true,
		"opt/chroot/var/lib/dpkg/status":         true,
		"var/lib/dpkg/status.d/base":             true,
		"x/var/lib/dpkg/status.d/libc6":          true,
		"var/lib/dpkg/status.d/base.md5sums":     false,
		"var/lib/dpkg/status.d/sub/base":         false,
		"var/lib/dpkg/status-old":                false,
		"xvar/lib/dpkg/status":                   false,
		"var/lib/dpkg/info/base-files.conffiles": false,
		"status":                                 false,
	} {
		if got := New().Wants(extract.Header{Path: path}); got != want {
			t.Errorf("Wants(%q) = %v", path, got)
		}
	}
	if n := testing.AllocsPerRun(100, func() { New().Wants(extract.Header{Path: "opt/chroot/var/lib/dpkg/status.d/base"}) }); n != 0 {
		t.Errorf("Wants allocates %v times", n)
	}
}

// testdata/status is six paragraphs of a Debian 12 system, some fields left
// out; the versions and sources agree with its dpkg-query -W.
func TestDebian(t *testing.T) {
	data, err := os.ReadFile("testdata/status")
	if err != nil {
		t.Fatal(err)
	}
	r := extracttest.Run(t, New(), path, data)
	want := []inventory.Package{
		{
			Type: inventory.Deb, Name: "adduser", Version: "3.134", Qualifiers: qualifiers("arch", "all"),
			Supplier: "Debian Adduser Developers <adduser@packages.debian.org>",
			Provides: []string{"deb:adduser"}, Requires: []inventory.Requirement{{"deb:passwd"}},
		},
		{
			Type: inventory.Deb, Name: "bash", Version: "5.2.15-2+b8", Qualifiers: qualifiers("arch", "amd64", "upstream", "bash@5.2.15-2"),
			Supplier: "Matthias Klose <doko@debian.org>",
			Provides: []string{"deb:bash"},
			Requires: []inventory.Requirement{{"deb:base-files"}, {"deb:debianutils"}, {"deb:libc6"}, {"deb:libtinfo6"}},
		},
		{
			Type: inventory.Deb, Name: "libc6", Version: "2.36-9+deb12u14", Qualifiers: qualifiers("arch", "amd64", "upstream", "glibc"),
			Supplier: "GNU Libc Maintainers <debian-glibc@lists.debian.org>",
			Provides: []string{"deb:libc6"}, Requires: []inventory.Requirement{{"deb:libgcc-s1"}},
		},
		{
			Type: inventory.Deb, Name: "libgcc-s1", Version: "12.2.0-14+deb12u1", Qualifiers: qualifiers("arch", "amd64", "upstream", "gcc-12"),
			Supplier: "Debian GCC Maintainers <debian-gcc@lists.debian.org>",
			Provides: []string{"deb:libgcc1", "deb:libgcc-s1"}, Requires: []inventory.Requirement{{"deb:gcc-12-base"}, {"deb:libc6"}},
		},
		{
			Type: inventory.Deb, Name: "perl-base", Version: "5.36.0-7+deb12u4", Qualifiers: qualifiers("arch", "amd64", "upstream", "perl"),
			Supplier: "Niko Tyni <ntyni@debian.org>",
			Provides: []string{"deb:libfile-path-perl", "deb:libfile-temp-perl", "deb:libio-socket-ip-perl", "deb:libscalar-list-utils-perl",
				"deb:libsocket-perl", "deb:libxsloader-perl", "deb:perlapi-5.36.0", "deb:perl-base"},
			Requires: []inventory.Requirement{{"deb:libc6"}, {"deb:libcrypt1"}, {"deb:dpkg"}},
		},
		{
			Type: inventory.Deb, Name: "mawk", Version: "1.3.4.20200120-3.1", Qualifiers: qualifiers("arch", "amd64"),
			Supplier: "Boyuan Yang <byang@debian.org>",
			Provides: []string{"deb:awk", "deb:mawk"}, Requires: []inventory.Requirement{{"deb:libc6"}},
		},
	}
	if diff := cmp.Diff(want, r.Packages); diff != "" || r.Err != nil || r.Reasons != nil {
		t.Errorf("error %v, reasons %q\n%s", r.Err, r.Reasons, diff)
	}
}

func TestStatus(t *testing.T) {
	for status, want := range map[string]bool{
		"install ok installed":             true,
		"hold ok installed":                true,
		"deinstall ok installed":           true,
		"install ok triggers-awaited":      true,
		"install ok triggers-pending":      true,
		"install ok unpacked":              false,
		"install ok half-configured":       false,
		"install reinstreq half-installed": false,
		"deinstall ok config-files":        false,
		"unknown ok not-installed":         false,
		"purge ok not-installed":           false,
	} {
		r := extracttest.Run(t, New(), path, []byte("Package: a\nStatus: "+status+"\nVersion: 1\n"))
		if got := len(r.Packages) == 1; got != want || r.Err != nil || r.Reasons != nil {
			t.Errorf("%q: listed %v, error %v, reasons %q", status, got, r.Err, r.Reasons)
		}
	}
	for _, status := range []string{"install ok inst", "install", "\x00"} { // cut, or garbage
		r := extracttest.Run(t, New(), path, []byte("Package: a\nStatus: "+status+"\nVersion: 1\n"))
		if len(r.Packages) != 0 || len(r.Reasons) != 1 {
			t.Errorf("%q: %d packages, reasons %q", status, len(r.Packages), r.Reasons)
		}
	}
}

func TestForms(t *testing.T) {
	const ok = "Status: install ok installed\n"
	for _, c := range []struct {
		name, path, text string
		want             []string // name version requires…
		reason           string
	}{
		{"distroless", "var/lib/dpkg/status.d/base", "Package: base-files\nVersion: 11.1\nArchitecture: amd64\n", []string{"base-files 11.1"}, ""},
		{"distroless, removed", "var/lib/dpkg/status.d/base", "Package: a\nVersion: 1\nStatus: deinstall ok config-files\n", nil, ""},
		{"no status", path, "Package: a\nVersion: 1\n\nPackage: b\nVersion: 2\n" + ok, []string{"b 2"}, `line 1 states no status of "a"`},
		{"no version", path, "Package: a\n" + ok, nil, "line 1 states no version of a"},
		{"no name", path, "\n\nVersion: 1\n" + ok, nil, "line 3 names no package"},
		{"not a database", path, "{\n\"a\": [1, 2]\n}\n", nil, "line 1 states no status"},
		{"field names have no case", path, "PACKAGE: a\nversion:1\nsTaTuS:install ok installed", []string{"a 1"}, ""},
		{"line ends of DOS, a line of blanks", path, "Package: a\r\nVersion: 1\r\nStatus: install ok installed\r\n \t\r\nPackage: b\nVersion: 2\n" + ok, []string{"a 1", "b 2"}, ""},
		{"folded", path, "Package: a\nVersion: 1\n" + ok + "Depends: x (>= 1),\n y |\n\tz:any\nDescription: d\n Depends: no\n", []string{"a 1 [deb:x] [deb:y deb:z]"}, ""},
		{"alternatives and restrictions", path, "Package: a\nVersion: 1\n" + ok + "Pre-Depends: p[amd64]\nDepends: default-mta | mail-transport-agent, , q(>=1)<!x>\n", []string{"a 1 [deb:p] [deb:default-mta deb:mail-transport-agent] [deb:q]"}, ""},
		{"a chroot", "srv/jail/var/lib/dpkg/status", "Package: a\nVersion: 1\n" + ok + "Depends: x\n", []string{"a 1 [deb:/srv/jail:x]"}, ""},
		{"many alternatives", path, "Package: a\nVersion: 1\n" + ok + "Depends: " + strings.Repeat("|", 50_000), []string{"a 1"}, "1 of the licences and dependencies of a"},
	} {
		r := extracttest.Run(t, New(), c.path, []byte(c.text))
		var got []string
		for _, p := range r.Packages {
			s := p.Name + " " + p.Version
			for _, q := range p.Requires {
				s += fmt.Sprint(" ", []string(q))
			}
			got = append(got, s)
		}
		if diff := cmp.Diff(c.want, got); diff != "" || r.Err != nil {
			t.Errorf("%s: error %v\n%s", c.name, r.Err, diff)
		}
		if all := strings.Join(r.Reasons, "\n"); (c.reason == "") != (all == "") || !strings.Contains(all, c.reason) {
			t.Errorf("%s: reasons %q", c.name, r.Reasons)
		}
	}
}

func TestUpstream(t *testing.T) {
	for source, want := range map[string]string{
		"":          "",
		"s":         "s",
		"s (2)":     "s@2",
		" s  ( 2 )": "s@2",
		"s (1)":     "s", // the package's own version
		"(2)":       "",
	} {
		if got := upstream(source, "1"); got != want {
			t.Errorf("upstream(%q) = %q, want %q", source, got, want)
		}
	}
}

// A file that is cut off loses what is cut off and no more.
func TestTruncated(t *testing.T) {
	data, err := os.ReadFile("testdata/status")
	if err != nil {
		t.Fatal(err)
	}
	data = data[:1200] // three paragraphs and a half
	whole := extracttest.Run(t, New(), path, data).Packages
	for n := range data {
		got := extracttest.Run(t, New(), path, data[:n]).Packages
		if full := strings.Count(string(data[:n]), "\n\n"); len(got) < full || !cmp.Equal(whole[:full], got[:full], cmpopts.EquateEmpty()) {
			t.Fatalf("of the first %d bytes, with %d paragraphs, came %d packages, or others", n, full, len(got))
		}
	}
}

// generate gives n texts, made while they are read.
func generate(n int, text func(i int) string) io.Reader {
	r, w := io.Pipe()
	go func() {
		b := bufio.NewWriter(w)
		for i := range n {
			if _, err := b.WriteString(text(i)); err != nil {
				return
			}
		}
		b.Flush()
		w.Close()
	}()
	return r
}

func TestMemory(t *testing.T) {
	for _, c := range []struct {
		name     string
		n        int
		text     func(i int) string
		packages int
	}{
		{"20,000 packages, 12 MB", 20_000, func(i int) string {
			return fmt.Sprintf("Package: p%d\nStatus: install ok installed\nVersion: 1\nProvides: %sv\nDepends: %sx\nConffiles:\n%s\n",
				i, strings.Repeat("v, ", 10), strings.Repeat("libx (>= 1), ", 20), strings.Repeat(" /etc/file 0123\n", 15))
		}, 20_000},
		{"one field of 54 MiB that nobody wants", 864, longField("Description"), 1},
		{"one list of 12 MiB", 200, longField("Depends"), 1},
		{"one list folded over 12 MiB", 200, func(i int) string {
			if i == 0 {
				return "Package: a\nStatus: install ok installed\nVersion: 1\nDepends:\n"
			}
			return strings.Repeat(" libx (>= 1), liby,\n", 3<<10)
		}, 1},
		{"one name of 12 MiB", 200, longField("Package"), 1},
	} {
		live, n, err := extracttest.Peak(t, New(), extracttest.Header(path, 0), generate(c.n, c.text))
		if err != nil || n != c.packages || live > extract.Budget {
			t.Errorf("%s: %d packages, %d bytes live, error %v", c.name, n, live, err)
		}
		t.Logf("%s: %d KiB live", c.name, live>>10)
	}
}

// longField is a paragraph with one line, in parts of 64 KiB, at the end of the file.
func longField(name string) func(i int) string {
	part := strings.Repeat("abc, defgh | i,,", 4<<10)
	return func(i int) string {
		if i == 0 {
			return "Package: a\nStatus: install ok installed\nVersion: 1\n" + name + ": " + part
		}
		return part
	}
}

func FuzzExtract(f *testing.F) {
	data, err := os.ReadFile("testdata/status")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data[:700], false)
	f.Add([]byte("Package: a\nVersion: 1\nDepends: x |\n y,(\n"), true)
	f.Fuzz(func(t *testing.T, data []byte, single bool) {
		p := path
		if single {
			p = statusDir + "/a"
		}
		extracttest.Fuzz(t, New(), p, 0o644, data)
		// What stands before a paragraph does not change it.
		r := extracttest.Run(t, New(), p, append([]byte("Package: zz\nVersion: 1\nStatus: install ok installed\n\n"), data...))
		if len(r.Packages) == 0 || r.Packages[0].Name != "zz" {
			t.Fatalf("the first package was lost: %+v", r)
		}
		if alone := extracttest.Run(t, New(), p, data); !cmp.Equal(r.Packages[1:], alone.Packages, cmpopts.EquateEmpty()) {
			t.Fatalf("packages differ after another paragraph: %v and %v", r.Packages[1:], alone.Packages)
		}
	})
}
