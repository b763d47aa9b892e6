package hostile

import (
	"archive/tar"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

var pathInputs = []input{
	{name: "path-traversal", what: "entries whose names begin with `../`", does: "leaves them out and says so",
		make: func(m *image) {
			m.hostile(gzipped, func(w *tarball) {
				for _, name := range []string{"../escaped/package.json", "opt/../../../../escaped/package.json", "../../../../tmp/../escaped"} {
					w.file(name, `{"name": "escaped", "version": "1"}`)
				}
				w.link(tar.TypeSymlink, "opt/out", "../../../../../..")
				w.file("opt/out/escaped", "through a link")
				w.link(tar.TypeLink, "opt/passwd/package.json", "../../../etc/passwd")
			})
		}, exit: 5, says: []string{"escaped", "out of the image's root"}, counts: map[string]int{"npm": 4}},
	{name: "path-absolute", what: "entries with absolute names", does: "takes them as relative to the image's root",
		make: func(m *image) {
			m.hostile(gzipped, func(w *tarball) {
				w.file("/opt/absolute/package.json", `{"name": "absolute", "version": "1"}`)
				w.file("//opt//slashes/./package.json", `{"name": "slashes", "version": "1"}`)
				w.link(tar.TypeLink, "/opt/linked/package.json", "/opt/before/package.json")
			})
		}, finds: []string{"pkg:npm/absolute@1", "pkg:npm/slashes@1"}},
	{name: "symlink-loops", what: "symbolic links in circles where package databases are looked for", does: "follows forty, as the kernel does, and goes on",
		make: func(m *image) {
			m.hostile(gzipped, func(w *tarball) {
				w.link(tar.TypeSymlink, "var/lib/dpkg", "dpkg")
				w.link(tar.TypeSymlink, "var/lib/rpm", "../lib/rpm2")
				w.link(tar.TypeSymlink, "var/lib/rpm2", "/var/lib/rpm")
				w.link(tar.TypeSymlink, "lib", "usr/lib")
				w.link(tar.TypeSymlink, "usr", "/lib/usr")
				w.link(tar.TypeSymlink, "etc/os-release", "os-release")
				w.link(tar.TypeSymlink, "usr/lib/sysimage", "/")
			})
		}},
	{name: "symlink-fan", what: "a symbolic link at a database's place with 2,000 elements, and one that grows", does: "gives the place up and goes on",
		make: func(m *image) {
			m.hostile(gzipped, func(w *tarball) {
				w.link(tar.TypeSymlink, "var/lib/dpkg", strings.Repeat("a/", 2000))
				w.link(tar.TypeSymlink, "var/lib/rpm", "rpm/rpm/rpm")
			})
		}},
	{name: "hardlink-cycles", what: "hard links to themselves, to each other and to nothing, named package.json", does: "names each link without content",
		make: func(m *image) {
			m.hostile(gzipped, func(w *tarball) {
				w.link(tar.TypeLink, "opt/self/package.json", "opt/self/package.json")
				w.link(tar.TypeLink, "opt/a/package.json", "opt/b/package.json")
				w.link(tar.TypeLink, "opt/b/package.json", "opt/a/package.json")
				w.link(tar.TypeLink, "opt/none/package.json", "opt/nothing")
			})
		}, exit: 5, says: []string{"opt/self/package.json", "opt/a/package.json", "opt/none/package.json", "hard link"}},
	{name: "hardlink-chain", what: "a chain of 1,000 hard links, each to the next", does: "finds the package under each name",
		make: func(m *image) {
			m.hostile(gzipped, func(w *tarball) {
				w.file("opt/0/package.json", `{"name": "chained", "version": "1"}`)
				for i := range 1000 {
					w.link(tar.TypeLink, fmt.Sprintf("opt/%d/package.json", i+1), fmt.Sprintf("opt/%d/package.json", i))
				}
			})
		}, finds: []string{"pkg:npm/chained@1"}, check: func(t *testing.T, _ *world, _ string, o *outcome) {
			if !strings.Contains(string(o.raw), `"locationCount":1001`) {
				t.Error("not every name is a location")
			}
		}},
	{name: "whiteouts-3m", what: "3 million whiteouts in one layer", does: "sorts them on disk",
		make: func(m *image) {
			m.layer(gzipped, func(w *tarball) { w.npm("opt/gone") })
			m.hostile(zstded, func(w *tarball) {
				w.file("opt/.wh.gone", "")
				w.Flush()
				for i := range 3_000_000 {
					h := header('0', fmt.Sprintf("data/%d/.wh.file-%d", i%1000, i), 0)
					w.out.Write(h[:])
				}
			})
		}, counts: map[string]int{"npm": 4}},
	{name: "depth-4000", what: "a package in a directory 4,000 levels deep, longer than Linux allows", does: "leaves it out and says so",
		make: func(m *image) {
			m.hostile(gzipped, func(w *tarball) { w.npm(strings.Repeat("d/", 4000) + "deep") })
		}, exit: 5, says: []string{"d/d/d/", "Linux allows 4096"}},
	{name: "depth-2000", what: "a package in a directory 2,000 levels deep, which Linux allows", does: "finds it",
		make: func(m *image) {
			m.hostile(gzipped, func(w *tarball) {
				for i := 1; i < 2000; i++ {
					w.link(tar.TypeDir, strings.Repeat("d/", i), "")
				}
				w.npm(strings.Repeat("d/", 2000) + "deep")
			})
		}, exit: 5, says: []string{"the path of its directory has more than"}, finds: []string{"pkg:npm/deep@1"}},
	{name: "names-odd", what: "names with newlines, control characters, escape sequences and invalid UTF-8, also of broken files", does: "writes each document well-formed; the message has no control characters",
		make: func(m *image) {
			m.hostile(gzipped, func(w *tarball) {
				for i, odd := range oddNames {
					w.file("opt/"+odd+"/package.json", fmt.Sprintf(`{"name": "odd%d", "version": "1\u0000\u001b[31m\n2"}`, i))
					w.file("opt/broken"+odd+"/package.json", "{")
				}
			})
		}, exit: 5, finds: []string{"pkg:npm/odd0@", "pkg:npm/odd1@", "pkg:npm/odd5@"}, check: wellFormed,
		args: []string{"-o", "table=../out/table", "-o", "cyclonedx-json=../out/cyclonedx", "-o", "spdx-json=../out/spdx"}},
}

var oddNames = []string{"new\nline", "\x1b[2Jescape\x07", "invalid\xff\xfe", "tab\tcr\rbs\b", "\u202ereversed", "quote\"back\\slash", "| pipe | `tick` <b>", "\u2028line separator\u0085"}

// wellFormed looks at every format.
func wellFormed(t *testing.T, w *world, layout string, o *outcome) {
	printable(t, "the message", []byte(o.message))
	for name, c := range map[string]func([]byte){
		"cyclonedx": func(b []byte) { isJSON(t, b) },
		"spdx":      func(b []byte) { isJSON(t, b) },
		"table": func(b []byte) {
			printable(t, "the table", b)
			rows := 0
			for line := range strings.Lines(string(b)) {
				if strings.Contains(line, "odd") {
					rows++
				}
			}
			if rows < len(oddNames) {
				t.Errorf("the table has %d rows of odd packages:\n%s", rows, b)
			}
		},
	} {
		b, err := os.ReadFile(filepath.Join(w.out, name))
		if err != nil {
			t.Fatal(err)
		}
		c(b)
	}
	isJSON(t, o.raw)
}

func isJSON(t *testing.T, b []byte) {
	t.Helper()
	if !json.Valid(b) || !utf8.Valid(b) {
		t.Errorf("not valid JSON in UTF-8: %.300q", b)
	}
}

func printable(t *testing.T, what string, b []byte) {
	t.Helper()
	if !utf8.Valid(b) {
		t.Errorf("%s is not UTF-8: %q", what, b)
	}
	for _, r := range string(b) {
		if r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029') {
			t.Errorf("%s holds %U:\n%q", what, r, b)
			return
		}
	}
}
