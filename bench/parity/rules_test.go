package main

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// made makes a list of "purl place place…".
func made(lines ...string) list {
	l := list{}
	for _, line := range lines {
		f := strings.Fields(line)
		l.add(f[0], f[1:]...)
	}
	return l
}

// A rule explains what it is for, and none explains a package that Stella overlooked.
func TestRules(t *testing.T) {
	const none = "UNEXPLAINED"
	for _, c := range []struct {
		name, tool   string
		ours, theirs list
		want         string // the class of each difference, in order
	}{
		{"the same", "syft", made("pkg:npm/a@1 a/package.json"), made("pkg:npm/a@1 b/package.json"), ""},
		{"an npm package overlooked", "syft", made(), made("pkg:npm/a@1 node_modules/a/package.json"), none},
		{"a deb overlooked", "scalibr", made(), made("pkg:deb/debian/a@1 var/lib/dpkg/status"), none},
		{"a deb invented", "scalibr", made("pkg:deb/debian/a@1 var/lib/dpkg/status"), made(), none},
		{"a package.json without a version", "syft", made(), made("pkg:npm/a x/package.json"), "- npm: package.json without a version"},
		{"the same of another tool", "scalibr", made(), made("pkg:npm/a x/package.json"), none},
		{"an archive overlooked", "syft", made("pkg:maven/g/other@1 b.jar"), made("pkg:maven/g/a@1 a-1.jar"), none + "|" + none},
		{"an archive overlooked in one of its places", "syft", made("pkg:maven/h/a@1 x/a-1.jar"), made("pkg:maven/g/a@1 x/a-1.jar y/a-1.jar"),
			none + "|+ maven: another group id"},
		{"another version of an archive", "syft", made("pkg:maven/g/a@2 a.jar"), made("pkg:maven/g/a@1 a.jar"), none + "|" + none},
		{"two groups", "syft", made("pkg:maven/g/a@1 a-1.jar"), made("pkg:maven/a/a@1 a-1.jar"), "- maven: another group id|+ maven: another group id"},
		{"a second package for the file", "syft", made("pkg:maven/g/lib@1 lib3.jar"),
			made("pkg:maven/g/lib@1 lib3.jar!/g:lib", "pkg:maven/lib3/lib3@1 lib3.jar"), "- maven: named after the file"},
		{"a shaded package overlooked", "syft", made("pkg:maven/g/app@1 app.jar"),
			made("pkg:maven/g/app@1 app.jar", "pkg:maven/z/dep@1 app.jar!/z:dep"), none},
		{"a shaded package overlooked, scalibr", "scalibr", made("pkg:maven/g/app@1 app.jar"),
			made("pkg:maven/g/app@1 app.jar", "pkg:maven/z/dep@1 app.jar!/META-INF/maven/z/dep/pom.properties"), none},
		{"an archive around what is shaded", "scalibr", made("pkg:maven/g/app@1 app.jar", "pkg:maven/z/dep@1 app.jar"),
			made("pkg:maven/z/dep@1 app.jar!/META-INF/maven/z/dep/pom.properties"), "+ maven: an archive with others' descriptors in it"},
		{"Bundle-SymbolicName", "syft", made("pkg:maven/org.j/j-http@9 j9-http.jar"), made("pkg:maven/org.j/j-http@9 j9-http.jar!/x",
			"pkg:maven/org.j.http/http;singleton:=true@9 j9-http.jar"), "- maven: named after Bundle-SymbolicName"},
		{"a dependency of a build, and of a jar too", "scalibr", made(), made("pkg:maven/g/a@1 x.pom a.jar"), none},
		{"a dependency of a build", "scalibr", made(), made("pkg:maven/g/a@1 x.pom y/pom.xml"), "- maven: dependencies that a build file declares"},
		{"a program whose package is there", "syft", made("pkg:deb/debian/curl@7.88.1-10 s"), made("pkg:deb/debian/curl@7.88.1-10 s",
			"pkg:generic/curl@7.88.1 usr/bin/curl"), "- generic: a program told by strings in it"},
		{"a program of no package", "syft", made(), made("pkg:generic/curl@7.88.1 usr/bin/curl"), none},
		{"an interpreter", "syft", made(), made("pkg:generic/python@3.12.1 usr/local/bin/python"), none},
		{"stdlib", "scalibr", made("pkg:golang/stdlib@1.22 x"), made("pkg:golang/go@1.22 x"),
			"- golang: the Go standard library as \"go\"|+ golang: the Go standard library"},
		{"stdlib of another version", "scalibr", made("pkg:golang/stdlib@1.21 x"), made("pkg:golang/go@1.22 x"), none + "|" + none},
		{"a lockfile", "syft", made("pkg:npm/a@1 a/package-lock.json"), made(), "+ npm: lockfiles"},
		{"installed too", "syft", made("pkg:npm/a@1 a/package-lock.json a/node_modules/a/package.json"), made(), none},
	} {
		var got []string
		for _, d := range compare(c.tool, c.ours, c.theirs).differences {
			got = append(got, d.class())
		}
		if s := strings.Join(got, "|"); s != c.want {
			t.Errorf("%s: %s; want %s", c.name, s, c.want)
		}
	}
}

// docs/parity.md has every rule, word for word; -update writes them.
func TestDocs(t *testing.T) {
	const doc, from, to = "../../docs/parity.md", "<!-- rules -->\n", "<!-- /rules -->"
	text, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), from)
	got, after, ok2 := strings.Cut(rest, to)
	if !ok || !ok2 {
		t.Fatalf("%s has no section of rules", doc)
	}
	var want strings.Builder
	for i := range rules {
		want.WriteString(rules[i].row() + "\n")
	}
	if *update {
		if err := os.WriteFile(doc, []byte(before+from+want.String()+to+after), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if d := cmp.Diff(want.String(), got); d != "" {
		t.Errorf("%s: %s; go test ./bench/parity -run Docs -update writes it", doc, d)
	}
}
