package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReadDocument(t *testing.T) {
	const text = `{"bomFormat":"CycloneDX","metadata":{"component":{"purl":"pkg:oci/x@1"}},"components":[
		{"type":"library","purl":"pkg:maven/g/lib@1?package-id=1","properties":[{"name":"syft:location:0:path","value":"/opt/app.war"},
			{"name":"syft:metadata:virtualPath","value":"/opt/app.war:WEB-INF/lib/lib-1.jar"}]},
		{"type":"library","purl":"pkg:deb/debian/a@1?arch=all","properties":[{"name":"syft:location:0:path","value":"/var/lib/dpkg/status"},
			{"name":"syft:location:0:layerID","value":"sha256:0"},{"name":"syft:location:1:path","value":"/var/lib/dpkg/info/a.list"}]},
		{"type":"library","purl":"pkg:maven/g/shaded@2","evidence":{"occurrences":[{"location":"opt/x.jar"},
			{"location":"opt/x.jar/META-INF/maven/g/shaded/pom.properties"}]}},
		{"type":"library","purl":"pkg:maven/g/main@2","evidence":{"occurrences":[{"location":"opt/x.jar"},{"location":"opt/x.jar/META-INF/MANIFEST.MF"}]}},
		{"type":"library","purl":"pkg:maven/g/main@2","evidence":{"occurrences":[{"location":"opt/y.jar"}]}},
		{"type":"library","purl":"pkg:pypi/Zope.Interface@5","evidence":{"occurrences":[{"location":"srv/requirements.txt"}]}},
		{"type":"file","name":"/bin/sh","purl":"pkg:generic/sh"},{"type":"operating-system","name":"debian"},{"type":"library","name":"no url"}
	],"dependencies":[]}`
	l, err := readDocument(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]string{}
	for key, f := range l {
		got[key] = f.places
	}
	want := map[string][]string{
		"maven:g/lib@1":         {"opt/app.war!/WEB-INF/lib/lib-1.jar"},
		"deb:a@1":               {"var/lib/dpkg/status", "var/lib/dpkg/info/a.list"},
		"maven:g/shaded@2":      {"opt/x.jar!/META-INF/maven/g/shaded/pom.properties"},
		"maven:g/main@2":        {"opt/x.jar", "opt/y.jar"},
		"pypi:zope-interface@5": {"srv/requirements.txt"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for _, broken := range []string{"", "[]", "{}", `{"components":{}}`, `{"components":[{]`, `{"components":[]`, `{"components":[{"purl":1}]}`} {
		if l, err := readDocument(strings.NewReader(broken)); err == nil {
			t.Errorf("%q gave %v, want an error", broken, l)
		}
	}
}

func TestKeyOf(t *testing.T) {
	for purl, want := range map[string]string{
		"pkg:deb/linux/libstdc%2B%2B6@12.2.0-14?arch=amd64":  "deb:libstdc++6@12.2.0-14",
		"pkg:rpm/redhat/a@1-2?epoch=1":                       "rpm:a@1-2",
		"pkg:golang/github.com/Masterminds/semver/v3@v3.2.1": "golang:github.com/masterminds/semver/v3@3.2.1",
		"pkg:golang/stdlib@go1.22":                           "golang:stdlib@1.22",
		"pkg:golang/cmd/go":                                  "golang:cmd/go",
		"pkg:maven/biz.aQute.bnd/x@1.0-RC":                   "maven:biz.aqute.bnd/x@1.0-rc",
		"pkg:npm/%40babel/core@7#sub":                        "npm:@babel/core@7",
		"pkg:npm/@next/font":                                 "npm:@next/font",
		"pkg:PyPI/A_b..c@1":                                  "pypi:a-b-c@1",
		"pkg:pacman/arch/pacman@6":                           "alpm:pacman@6",
		"nonsense":                                           "nonsense",
	} {
		if got := keyOf(purl); got != want {
			t.Errorf("%s: %s, want %s", purl, got, want)
		}
	}
}

// What writeList writes, readList reads.
func TestListIsKept(t *testing.T) {
	l := list{}
	l.add("pkg:npm/a@1", "x/package.json", "y/package.json")
	l.add("pkg:deb/debian/b@1?arch=all")
	var b bytes.Buffer
	if err := writeList(&b, l); err != nil {
		t.Fatal(err)
	}
	got, err := readList(&b)
	if d := cmp.Diff(l, got, cmp.AllowUnexported(found{})); d != "" || err != nil {
		t.Error(d, err)
	}
}

func FuzzReadDocument(f *testing.F) {
	f.Add(`{"components":[{"type":"library","purl":"pkg:npm/a@1","evidence":{"occurrences":[{"location":"/x"}]}}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		l, err := readDocument(strings.NewReader(text))
		if err != nil {
			return
		}
		for key, p := range l {
			if keyOf(p.purl) != key {
				t.Errorf("%q is kept as %q", p.purl, key)
			}
		}
	})
}
