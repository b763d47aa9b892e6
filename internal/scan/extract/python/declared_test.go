package python

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"stella/internal/scan/extract"
	"stella/internal/scan/extract/edges/edgestest"
	"stella/internal/scan/extract/extracttest"
	"stella/internal/scan/inventory"
)

// One file of each kind, and its packages and edges.
var locks = map[string]struct{ doc, want string }{
	"requirements.txt": {`# comment
-r other.txt
--index-url https://h/simple
Flask_Login==0.6.2  # why
requests[security] == 2.31.0 ; python_version >= "3.8" \
    --hash=sha256:abc==1
idna===3.4 --hash=sha256:def
six>=1.16
attrs==22.*
rich==1.0,!=1.1
git+https://h/x.git@1==2
pytz
`, "[flask-login@0.6.2 idna@3.4 requests@2.31.0] []"},
	"Pipfile.lock": {`{"_meta":{"hash":{"sha256":"x"}},"default":{"requests":{"hashes":["a"],"version":"==2.31.0","index":"pypi"},"local":{"path":"."},"Idna":{"version":"==3.4"}},"develop":{"pytest":{"version":"==7"}}}`, "[idna@3.4 requests@2.31.0] []"},
	"poetry.lock": {`# generated
[[package]]
name = "certifi"
version = "2023.7.22"
optional = false
groups = ["main", "dev"]
files = [
    {file = "certifi.whl", hash = "sha256:0"},
]

[[package]]
name = "pytest"
version = "7.4"
groups = ["dev"]

[[package]]
name = "mock"
version = "5.0"
category = "dev"

[[package]]
name = "requests"
version = "2.31.0"
category = "main"

[package.dependencies]
certifi = ">=2017.4.17"
"pysocks" = {version = ">=1.5.6", optional = true}
PySocks-x = {version = ">=1.5.6", optional = true, markers = "extra == 'socks'"}

[package.extras]
socks = ["certifi"]

[package.source]
type = "legacy"
name = "not a package"
version = "9"

[metadata]
lock-version = "2.0"
`, "[certifi@2023.7.22 requests@2.31.0] [requests@2.31.0 > certifi@2023.7.22]"},
	"pdm.lock": {`[metadata]
groups = ["default", "tests"]

[[metadata.targets]]
requires_python = ">=3.8"

[[package]]
name = "certifi"
version = "2023.7.22"
groups = ["default"]
files = [
    {url = "https://h/certifi.whl", hash = "sha256:0"},
]

[[package]]
name = "requests"
version = "2.31.0"
dependencies = [
    "Certifi>=2017.4.17",
    "PySocks!=1.5.7; extra == \"socks\"",
]
`, "[certifi@2023.7.22 requests@2.31.0] [requests@2.31.0 > certifi@2023.7.22]"},
	"uv.lock": {`version = 1
requires-python = ">=3.11"

[[package]]
name = "app"
version = "0.1.0"
source = { virtual = "." }
dependencies = [
    { name = "requests" },
]

[package.metadata]
requires-dist = [{ name = "requests" }]

[[package]]
name = "certifi"
version = "2023.7.22"
source = { registry = "https://h/simple" }
wheels = [
    { url = "https://h/certifi.whl", hash = "sha256:0", size = 1 },
]

[[package]]
name = "requests"
version = "2.31.0"
source = { registry = "https://h/simple" }
dependencies = [
    { name = "certifi", marker = "python_full_version < '3.13'" },
]
`, "[certifi@2023.7.22 requests@2.31.0] [requests@2.31.0 > certifi@2023.7.22]"},
}

func TestLocks(t *testing.T) {
	for path, c := range locks {
		res := extracttest.Run(t, New(), "app/"+path, []byte(c.doc))
		for _, p := range res.Packages {
			if extracttest.Check(t, &p); !p.Declared || p.Type != inventory.PyPI {
				t.Errorf("%s: %+v", path, p)
			}
		}
		ids, edges := edgestest.Graph(res.Packages)
		if got := fmt.Sprint(ids, edges); got != c.want || res.Err != nil || res.Reasons != nil {
			t.Errorf("%s: %s, want %s, %v %q", path, got, c.want, res.Err, res.Reasons)
		}
	}
}

// Cut anywhere, a file gives no package that it does not give whole.
func TestTruncated(t *testing.T) {
	for path, c := range locks {
		for i := 0; i < len(c.doc); i += 7 {
			res := extracttest.Run(t, New(), path, []byte(c.doc[:i]))
			if path == "Pipfile.lock" && res.Err == nil {
				t.Fatalf("%s cut at %d: no error", path, i)
			}
			for _, p := range res.Packages {
				extracttest.Check(t, &p)
			}
		}
	}
}

func FuzzExtract(f *testing.F) {
	paths := append(slices.Sorted(maps.Keys(locks)), "s/a.dist-info/METADATA")
	for i, path := range paths {
		f.Add(uint8(i), []byte(locks[path].doc))
	}
	f.Add(uint8(len(paths)-1), read(f, "jsonschema.METADATA"))
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		path := paths[int(which)%len(paths)]
		extracttest.Fuzz(t, New(), path, 0o644, data)
		res := extracttest.Run(t, New(), path, data)
		installed := formOf(path) == metadata
		if installed && len(res.Packages) > 1 {
			t.Errorf("%d packages in one metadata file", len(res.Packages))
		}
		for _, p := range res.Packages {
			if p.Declared == installed || p.Version == "" || p.Name != normalise(p.Name) {
				t.Errorf("%s: %+v", path, p)
			}
		}
	})
}

func TestFlatMemory(t *testing.T) {
	const n = 20_000
	repeat, numbered := edgestest.Repeat, edgestest.Numbered
	long := strings.Repeat("x", 1<<20)
	for _, c := range []struct {
		name, path string
		r          io.Reader
		packages   int
	}{
		{"one header", "a.dist-info/METADATA", repeat("Name: a\nVersion: 1\nDescription: ", "\n", 50, func(int) string { return long }), 1},
		{"licence text", "a.dist-info/METADATA", repeat("Name: a\nVersion: 1\nLicense: x\n", "", 10*n, numbered("        line %d of the text\n")), 1},
		{"requirements", "a.dist-info/METADATA", repeat("Name: a\nVersion: 1\n", "", 10*n, numbered("Requires-Dist: package-%d\n")), 1},
		{"classifiers", "a.dist-info/METADATA", repeat("Name: a\nVersion: 1\n", "", 10*n, numbered("Classifier: License :: %d\n")), 1},
		{"pinned", "requirements.txt", repeat("", "", n, numbered("package-%d==1.0\n")), n},
		{"poetry", "poetry.lock", repeat("", "", n, numbered("[[package]]\nname = \"package-%d\"\nversion = \"1\"\n[package.dependencies]\na = \"1\"\n")), n},
		{"uv dependencies", "uv.lock", repeat("[[package]]\nname = \"a\"\nversion = \"1\"\ndependencies = [\n", "]\n", 10*n, numbered("    { name = \"package-%d\" },\n")), 1},
		{"Pipfile", "Pipfile.lock", repeat(`{"default":{`, `"z":{}}}`, n, numbered(`"package-%d":{"version":"==1"},`)), n},
	} {
		t.Run(c.name, func(t *testing.T) {
			live, packages, err := extracttest.Peak(t, New(), extracttest.Header(c.path, 1<<40), c.r)
			if err != nil || live > extract.Budget || packages != c.packages {
				t.Errorf("%d KiB live, %d packages, %v", live>>10, packages, err)
			}
		})
	}
}
