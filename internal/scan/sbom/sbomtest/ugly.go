package sbomtest

import (
	"strconv"
	"strings"

	"stella/internal/scan/inventory"
)

// Ugly is an inventory with one of everything that has ever broken a writer of
// documents. Its package left-pad has as many locations as asked for.
func Ugly(locations int) *Inventory {
	at := func(layer int, path, extractor string) []inventory.Location {
		return []inventory.Location{{Layer: layer, Path: path, Extractor: extractor}}
	}
	many := make([]inventory.Location, locations)
	for i := range many {
		many[i] = inventory.Location{Layer: 1, Path: "app/node_modules/p" + strconv.Itoa(i) + "/node_modules/left-pad/package.json", Extractor: "npm"}
	}
	items := []Item{
		{inventory.Package{Type: inventory.Deb, Namespace: "debian", Name: "libc6", Version: "2.36-9+deb12u4",
			Qualifiers: []inventory.Qualifier{{Key: "upstream", Value: "glibc"}, {Key: "arch", Value: "amd64"}},
			Licenses:   []string{"LGPL-2.1-or-later", "GPL-2+ with exceptions", "MIT OR Apache-2.0"},
			Supplier:   "GNU Libc Maintainers <debian-glibc@lists.example>"},
			"pkg:deb/debian/libc6@2.36-9%2Bdeb12u4?arch=amd64&distro=debian-12&upstream=glibc",
			"pkg:deb/debian/libc6@2.36-9%2Bdeb12u4?arch=amd64&distro=debian-12&upstream=glibc", at(0, "var/lib/dpkg/status", "dpkg")},
		{inventory.Package{Type: inventory.NPM, Name: "left-pad", Version: "1.3.0", Licenses: []string{"(MIT OR WTFPL)"},
			Supplier: "Ann Author <ann@mail.example>"}, "pkg:npm/left-pad@1.3.0", "pkg:npm/left-pad@1.3.0", many},
		{inventory.Package{Type: inventory.NPM, Namespace: "@scope", Name: "declared", Version: "2.0.0", Licenses: []string{"mit"}, Declared: true},
			"pkg:npm/%40scope/declared@2.0.0", "pkg:npm/%40scope/declared@2.0.0", at(1, "app/package-lock.json", "npm-lock")},
		{inventory.Package{Type: inventory.Maven, Namespace: "org.example", Name: "no-version", Licenses: []string{"LicenseRef-own AND MIT"}},
			"pkg:maven/org.example/no-version", "pkg:maven/org.example/no-version", at(1, "app/app.jar!/BOOT-INF/lib/x.jar", "jar")},
		{inventory.Package{Type: inventory.Golang, Namespace: "example.org/mod", Name: "v2", Version: "v2.0.1"},
			"pkg:golang/example.org/mod/v2@v2.0.1", "pkg:golang/example.org/mod/v2@v2.0.1", at(2, "usr/bin/tool", "gobinary")},
		{inventory.Package{Type: inventory.PyPI, Name: "qu\"ote\\back\x01\x1b[31m\u2028\u202e\n\t<b>&", Version: strings.Repeat("9.", 600),
			Licenses: []string{"<see> \"COPYING\" & \x02", "", "GPL-3.0-only WITH Bison-exception-2.2"}, Supplier: "名前 𝕏 Inc."},
			"pkg:pypi/ugly", "pkg:pypi/ugly", at(7, "weird \"path\"\x7f\nname", "wheel")},
		{inventory.Package{Type: inventory.Gem, Name: "𝒷𝓇𝑜𝓀𝑒𝓃-\xff\xfe-💎", Version: "0", Licenses: []string{strings.Repeat("(", 4096)}},
			"pkg:gem/broken", "", nil},
		{inventory.Package{Type: inventory.Cargo, Name: "a", Version: "1"}, "pkg:cargo/a@1", "pkg:cargo/a@1", at(1, "Cargo.lock", "cargo")},
		{inventory.Package{Type: inventory.Cargo, Name: "b", Version: "1"}, "pkg:cargo/b@1", "pkg:cargo/b@1", at(1, "Cargo.lock", "cargo")},
		// Refs that differ only in what an SPDX id cannot hold, or far from their start.
		{inventory.Package{Type: inventory.Cargo, Name: "a", Version: "1"}, "pkg:cargo/a_1", "pkg:cargo/a@1", nil},
		{inventory.Package{Type: inventory.Cargo, Name: "a", Version: "1"}, "pkg:cargo/a@1?" + strings.Repeat("x", 200) + "1", "pkg:cargo/a@1", nil},
		{inventory.Package{Type: inventory.Cargo, Name: "a", Version: "1"}, "pkg:cargo/a@1?" + strings.Repeat("x", 200) + "2", "pkg:cargo/a@1", nil},
	}
	edges := []inventory.Edge{
		{From: "pkg:cargo/a@1", To: "pkg:cargo/b@1"}, {From: "pkg:cargo/b@1", To: "pkg:cargo/a@1"}, // a cycle
		{From: "pkg:cargo/a@1", To: "pkg:cargo/a@1"}, {From: "pkg:gem/broken", To: "pkg:gem/broken"}, // of themselves
		{From: "pkg:npm/left-pad@1.3.0", To: "pkg:npm/%40scope/declared@2.0.0"}, {From: "pkg:cargo/a@1", To: "pkg:pypi/ugly"},
	}
	problems := []inventory.Problem{
		{Layer: 1, Path: "var/lib/rpm/rpmdb.sqlite", Extractor: "rpm", Reason: "page 7 is damaged: its packages are missing"},
		{Layer: -1, Reason: "the scan was stopped after 30m0s"},
		{Layer: 99, Path: "\"\x00\xff", Reason: ""},
	}
	return New(items, edges, problems, &inventory.Release{ID: "debian", VersionID: "12", VersionCodename: "bookworm",
		IDLike: "none", PrettyName: "Debian GNU/Linux 12 (bookworm)", Name: "Debian GNU/Linux"})
}
