package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCountPackages(t *testing.T) {
	const text = `{"bomFormat":"CycloneDX","metadata":{"component":{"type":"container","purl":"pkg:oci/x@1"}},"components":[
		{"type":"library","name":"a","purl":"pkg:deb/debian/a@1?arch=amd64&distro=debian-12"},
		{"type":"library","name":"a","purl":"pkg:deb/debian/a@1?arch=all"},
		{"type":"library","name":"a","purl":"pkg:npm/%40s/a@1#lib"},
		{"type":"application","name":"b","purl":"pkg:NPM/b@2"},
		{"type":"library","name":"no url"},
		{"type":"file","name":"/bin/sh","purl":"pkg:generic/sh"},
		{"type":"operating-system","name":"debian"}
	],"dependencies":[{"ref":"x","dependsOn":[]}]}`
	got, err := countPackages(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	want := Packages{Components: 5, Distinct: 3, ByType: map[string]int{"deb": 1, "npm": 2}, WithoutURL: 1}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestBrokenDocumentsAreErrors(t *testing.T) {
	for _, text := range []string{
		"", "[]", "{}", `{"components":{}}`, `{"components":[{"type":"library","purl":"pkg:npm/a@1"},`,
		`{"components":[{"purl":1}]}`, `{"components":[]`,
	} {
		if p, err := countPackages(strings.NewReader(text)); err == nil {
			t.Errorf("%q gave %+v, want an error", text, p)
		}
	}
}

func TestPURLType(t *testing.T) {
	for purl, want := range map[string]string{
		"pkg:deb/debian/a@1": "deb", "pkg:Golang/x": "golang", "pkg://maven/g/a": "maven",
		"": "", "deb/a": "", "pkg:deb": "", "pkg:/": "", "pkg:deb/": "",
	} {
		if got, ok := purlType(purl); got != want || ok != (want != "") {
			t.Errorf("%q: %q, %v; want %q", purl, got, ok, want)
		}
	}
}

// Whatever the document, no count exceeds what it is a part of.
func FuzzCountPackages(f *testing.F) {
	f.Add(`{"components":[{"type":"library","purl":"pkg:npm/a@1"},{"type":"file"}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		p, err := countPackages(strings.NewReader(text))
		if err != nil {
			return
		}
		sum := 0
		for _, n := range p.ByType {
			sum += n
		}
		if sum != p.Distinct || p.Distinct+p.WithoutURL > p.Components {
			t.Errorf("%+v of %q", p, text)
		}
	})
}
