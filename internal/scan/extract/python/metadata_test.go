package python

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stella/internal/scan/extract/extracttest"
	"stella/internal/scan/inventory"
)

const site = "usr/lib/python3/dist-packages"

func read(tb testing.TB, name string) []byte {
	tb.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func require(names ...string) (r []inventory.Requirement) {
	for _, n := range names {
		r = append(r, inventory.Requirement{"pypi:" + site + ":" + n})
	}
	return r
}

func TestInstalled(t *testing.T) {
	for _, c := range []struct {
		file, path string
		key        string
		want       inventory.Package
	}{
		{"jsonschema.METADATA", "jsonschema-4.10.3.dist-info/METADATA", "jsonschema", inventory.Package{
			Name: "jsonschema", Version: "4.10.3", Licenses: []string{"MIT", "MIT License"}, Supplier: "Julian Berman <Julian+jsonschema@GrayVines.com>",
			Requires: require("attrs", "importlib-metadata", "importlib-resources", "pkgutil-resolve-name", "pyrsistent", "typing-extensions")}},
		{"hatchling.METADATA", "hatchling-1.12.2.dist-info/METADATA", "hatchling", inventory.Package{
			Name: "hatchling", Version: "1.12.2", Licenses: []string{"MIT"}, Supplier: "Ofek Lev <oss@ofek.dev>",
			Requires: require("editables", "importlib-metadata", "packaging", "pathspec", "pluggy", "tomli")}},
		{"pyyaml.METADATA", "PyYAML-6.0.dist-info/METADATA", "pyyaml", inventory.Package{
			Name: "pyyaml", Version: "6.0", Licenses: []string{"MIT", "MIT License"}, Supplier: "Kirill Simonov <xi@resolvent.net>"}},
		{"requests.PKG-INFO", "requests-2.28.1.egg-info/PKG-INFO", "requests", inventory.Package{
			Name: "requests", Version: "2.28.1", Licenses: []string{"Apache 2.0", "Apache Software License"}, Supplier: "Kenneth Reitz <me@kennethreitz.org>"}},
		{"distro_info.PKG-INFO", "distro_info-1.5.egg-info", "distro-info", inventory.Package{
			Name: "distro-info", Version: "1.5+deb12u1", Supplier: "Benjamin Drung <bdrung@debian.org>"}},
	} {
		c.want.Type, c.want.Provides = inventory.PyPI, []string{"pypi:" + site + ":" + c.key}
		res := extracttest.Run(t, New(), site+"/"+c.path, read(t, c.file))
		if res.Err != nil || res.Reasons != nil || !cmp.Equal(res.Packages, []inventory.Package{c.want}) {
			t.Errorf("%s: %v %q %s", c.file, res.Err, res.Reasons, cmp.Diff([]inventory.Package{c.want}, res.Packages))
		}
	}
}

func TestMetadataForms(t *testing.T) {
	const head = "Metadata-Version: 2.1\nName: A_b.C\nVersion: 1\n"
	for _, c := range []struct {
		doc  string
		want inventory.Package
	}{
		{"\n\n" + strings.ReplaceAll(head, "\n", "\r\n"), inventory.Package{}},
		{head + "License: BSD\n  Copyright\n  Redistribution\nAuthor: UNKNOWN\nMaintainer-email: \"M\" <m@x>\n\nLicense: body\nRequires-Dist: body\n", inventory.Package{Licenses: []string{"BSD"}, Supplier: `"M" <m@x>`}},
		{head + "Summary: " + strings.Repeat("x", 1<<17) + "\nLICENSE-EXPRESSION: MIT\nLicense: old\nClassifier: License :: X\n", inventory.Package{Licenses: []string{"MIT"}}},
		{head + "Description: one\n        two\n        \n        Version: 3\n\tName: tabbed\nClassifier: License :: OSI Approved\nAuthor: A\nAuthor-email: a@x, b@y\n", inventory.Package{Supplier: "A"}},
		{head + "Requires-Dist: D.e_F[g] (>=1) ; (python_version>'3')\nRequires-Dist: h; python_version<'3' and extra=='x'\nRequires-Dist: i @ https://h/i.whl\nRequires-Dist: ???\n", inventory.Package{Requires: require("d-e-f", "i")}},
	} {
		c.want.Type, c.want.Name, c.want.Version, c.want.Provides = inventory.PyPI, "a-b.c", "1", []string{"pypi:" + site + ":a-b-c"}
		res := extracttest.Run(t, New(), site+"/x.dist-info/METADATA", []byte(c.doc))
		if res.Err != nil || res.Reasons != nil || !cmp.Equal(res.Packages, []inventory.Package{c.want}) {
			t.Errorf("%.200q: %v %q %s", c.doc, res.Err, res.Reasons, cmp.Diff([]inventory.Package{c.want}, res.Packages))
		}
	}
	for _, doc := range []string{"\n", "Name: a\n", "Version: 1\n\nName: a\n", "no headers\n"} {
		if res := extracttest.Run(t, New(), "x.egg-info", []byte(doc)); len(res.Packages) != 0 || len(res.Reasons) != 1 {
			t.Errorf("%q: %v, %q", doc, res.Packages, res.Reasons)
		}
	}
}

func TestSitePackages(t *testing.T) {
	for path, want := range map[string]string{
		"s/a-1.dist-info/METADATA": "s", "s/a.egg-info/PKG-INFO": "s", "s/a-1.egg-info": "s", "s/a.egg/EGG-INFO/PKG-INFO": "s", "a.dist-info/METADATA": "",
	} {
		if got := sitePackages(path); got != want {
			t.Errorf("%s: %q", path, got)
		}
	}
}

func TestWants(t *testing.T) {
	for path, want := range map[string]bool{
		"s/a-1.dist-info/METADATA": true, "s/METADATA": false, "s/a-1.dist-info/RECORD": false, "s/a.egg-info/PKG-INFO": true, "s/PKG-INFO": false, "s/a.egg-info": true, "s/a.egg/EGG-INFO/PKG-INFO": true,
		"app/requirements.txt": true, "app/dev-requirements-3.txt": true, "app/requirements/base.txt": false, "Pipfile.lock": true, "poetry.lock": true, "uv.lock": true, "pdm.lock": true, "run.py.lock": true, "Cargo.lock": false,
	} {
		h := extracttest.Header(path, 1)
		if New().Wants(h) != want {
			t.Errorf("%s: %v", path, !want)
		}
		if n := testing.AllocsPerRun(10, func() { New().Wants(h) }); n != 0 {
			t.Errorf("%s: %v allocations", path, n)
		}
	}
}
