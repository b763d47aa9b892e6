package hostile

import (
	"fmt"
	"strings"
)

const statusPath = "var/lib/dpkg/status"

func paragraph(name string) string {
	return "Package: " + name + "\nStatus: install ok installed\nVersion: 1\nArchitecture: all\nMaintainer: A <a@example.org>\nDepends: libc6 (>= 2.36), debconf | cdebconf\n" +
		"Description: a package\n " + strings.Repeat("Some words about it. ", 12) + "\n\n"
}

var textInputs = []input{
	{name: "dpkg-status-40m", what: "a dpkg status of 40 MiB: 95,000 packages", does: "finds them all",
		make: in(statusPath, numbered(95_000, func(i int) string { return paragraph(name(i)) })), counts: map[string]int{"deb": 95_000}},
	{name: "dpkg-field-54m", what: "a dpkg status with one field of 54 MiB on one line", does: "finds the packages; the field is not one that counts",
		make:  in(statusPath, join(text(paragraph("first")), text("Package: huge\nStatus: install ok installed\nVersion: 1\nArchitecture: all\nConffiles: "), repeat("a", 54<<20), text("\n\n"+paragraph("last")))),
		finds: []string{"pkg:deb/first@1", "pkg:deb/huge@1", "pkg:deb/last@1"}},
	{name: "dpkg-depends-54m", what: "a dpkg status with Depends of 54 MiB", does: "finds the packages, and says that the field is left out",
		make: in(statusPath, join(text(paragraph("first")), text("Package: huge\nStatus: install ok installed\nVersion: 1\nArchitecture: all\nDepends: a"), repeat(", dependency (>= 1.0)", 54<<20/21), text("\n\n"+paragraph("last")))),
		exit: 5, says: []string{statusPath, "huge"}, finds: []string{"pkg:deb/first@1", "pkg:deb/huge@1", "pkg:deb/last@1"}},
	{name: "dpkg-garbage", what: "a dpkg status of noise behind two good packages", does: "finds the two, and names the file",
		make: in(statusPath, join(text(paragraph("first")+paragraph("last")), noise(1<<20))), exit: 5, says: []string{statusPath},
		finds: []string{"pkg:deb/first@1", "pkg:deb/last@1"}},
	{name: "dpkg-truncated", what: "a dpkg status that ends in the middle of a paragraph", does: "finds the whole ones, and names the package that was cut",
		make: in(statusPath, text(paragraph("first")+"Package: cut\nStatus: install ok inst")), exit: 5, says: []string{statusPath, "cut"},
		finds: []string{"pkg:deb/first@1"}},
	{name: "apk-garbage", what: "an apk database of noise behind a good package", does: "finds the package, and names the file",
		make: in("lib/apk/db/installed", join(text("P:good\nV:1-r0\nA:x86_64\n\n"), noise(1<<20))), exit: 5, says: []string{"lib/apk/db/installed"},
		finds: []string{"pkg:apk/good@1-r0"}},
	{name: "metadata-long-lines", what: "a Python METADATA with header lines of 100 KB and 10 MB", does: "finds the package",
		make: in("opt/lib/python3/site-packages/long-1.dist-info/METADATA", join(text("Metadata-Version: 2.1\nName: long\nSummary: "), repeat("a", 100_000),
			text("\nDescription: "), repeat("b", 10_000_000), text("\nVersion: 1\n\nbody\n"))), finds: []string{"pkg:pypi/long@1"}},
	{name: "metadata-100m", what: "a wheel's METADATA of 100 MB, mostly classifiers and dependencies", does: "finds the package; says what is left out",
		make: in("opt/lib/python3/site-packages/big-1.dist-info/METADATA", join(text("Metadata-Version: 2.1\nName: big\nVersion: 1\n"),
			numbered(1_200_000, func(i int) string {
				return fmt.Sprintf("Requires-Dist: %s (>=1.0)\nClassifier: License :: OSI Approved :: %s\n", name(i), name(i))
			}))), exit: 5, says: []string{"METADATA", "licences"}, finds: []string{"pkg:pypi/big@1"}},
	{name: "os-release-garbage", what: "an os-release of 100 MiB", does: "reads its beginning, and says so",
		make: in("etc/os-release", join(text("ID=debian\nVERSION_ID=\"12\"\n"), repeat("A", 100<<20))), exit: 5, says: []string{"etc/os-release"}},
}
