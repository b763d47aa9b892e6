package stella_test

import (
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// maxLines is the most lines of a Go file; a longer one is two rooms.
const maxLines = 600

// goPackage is what go list says of a package.
type goPackage struct {
	ImportPath string
	Dir        string
	GoFiles    []string
	Imports    []string
}

// modules are the directories with a go.mod of their own that are held to the same rules.
var modules = []string{".", "bench/sse/peers", "test/cluster", "test/cluster/kubernetes"}

// list asks go list for packages of this module.
func list(t *testing.T, args ...string) []goPackage {
	t.Helper()
	return listIn(t, ".", args...)
}

// listAll asks for all packages of all modules.
func listAll(t *testing.T) []goPackage {
	t.Helper()
	var all []goPackage
	for _, dir := range modules {
		all = append(all, listIn(t, dir, "./...")...)
	}
	return all
}

func listIn(t *testing.T, dir string, args ...string) []goPackage {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Dir,GoFiles,Imports"}, args...)...)
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v", cmd, err)
	}
	var all []goPackage
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func TestEveryPackageHasADoc(t *testing.T) {
	for _, p := range listAll(t) {
		if len(p.GoFiles) == 0 {
			continue // tests alone
		}
		docs := 0
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			if f.Doc != nil {
				docs++
			}
		}
		if docs != 1 {
			t.Errorf("%s has %d package docs; want one", p.ImportPath, docs)
		}
	}
}

// layer is the place of a package in the dependency rule: each may import
// those with a lower number, and its own kind where that says so.
type layer struct {
	name   string
	prefix string
	rank   int
	// siblings says that packages below prefix may import each other.
	siblings bool
}

// layers are in order of precedence: the first prefix that fits counts. A
// package below internal/ that is not listed is a leaf.
var layers = []layer{
	{"command", "stella/cmd/", 6, false},
	{"bench", "stella/bench/", 6, true},
	{"test machine", "stella/test/vm", 6, true},
	{"test cluster", "stella/test/cluster", 7, true}, // a module of its own
	{"test", "stella/test/", 6, false},
	{"command line", "stella/internal/cli", 5, true},
	{"server", "stella/internal/server", 5, true},
	{"agent", "stella/internal/agent", 5, true},
	{"rdev server", "stella/internal/rdevserver", 5, true},
	{"client", "stella/internal/client", 4, true},
	{"domain scanner", "stella/internal/scanner", 3, true}, // many scans, over scan
	{"domain scan", "stella/internal/scan", 2, true},
	{"domain doctor", "stella/internal/doctor", 2, true},
	{"domain oom", "stella/internal/oom", 2, true},
	{"domain rdev", "stella/internal/rdev", 2, true},
	{"domain gate", "stella/internal/gate", 2, true},
	{"domain explain", "stella/internal/explain", 3, true},           // what kills mean, over oom
	{"domain remedy", "stella/internal/remedy", 4, true},             // what to do about it, over explain
	{"post-mortem", "stella/internal/incident/postmortem", 4, false}, // what is known of an incident, over oom and explain
	{"leaf", "stella/internal/", 1, true},
}

func layerOf(pkg string) (layer, bool) {
	for _, l := range layers {
		if pkg == strings.TrimSuffix(l.prefix, "/") || strings.HasPrefix(pkg, strings.TrimSuffix(l.prefix, "/")+"/") {
			return l, true
		}
	}
	return layer{}, false
}

func TestLayering(t *testing.T) {
	for _, p := range listAll(t) {
		from, ok := layerOf(p.ImportPath)
		if p.ImportPath == "stella" {
			continue // this test
		}
		if !ok {
			t.Errorf("%s belongs to no layer", p.ImportPath)
			continue
		}
		for _, i := range p.Imports {
			to, ours := layerOf(i)
			if !ours || to.rank < from.rank || to.prefix == from.prefix && from.siblings {
				continue
			}
			t.Errorf("%s (%s) imports %s (%s)", p.ImportPath, from.name, i, to.name)
		}
	}
}

// The package formats are leaves of the engine: what two of them share has a
// package of its own, which is no format.
func TestFormatsDoNotImportEachOther(t *testing.T) {
	const all = "stella/internal/scan/extract/all"
	registry := list(t, "./internal/scan/extract/all")
	formats := slices.DeleteFunc(registry[0].Imports, func(i string) bool {
		return !strings.HasPrefix(i, path.Dir(all)+"/")
	})
	if len(formats) < 10 {
		t.Fatalf("%s imports only %v", all, formats)
	}
	for _, p := range list(t, formats...) {
		for _, i := range p.Imports {
			if slices.Contains(formats, i) {
				t.Errorf("%s imports %s", p.ImportPath, i)
			}
		}
	}
}

// What only tests need must not be in the binary: its pages count against the budget of a scan.
func TestBinaryIsSmall(t *testing.T) {
	banned := []string{
		"github.com/CycloneDX/", "github.com/spdx/", "github.com/google/go-cmp", "github.com/rogpeppe/",
		"github.com/santhosh-tekuri/", "testing", "stella/bench", "net/http/httptest", "net/http/pprof",
		"k8s.io/client-go", "google.golang.org/protobuf",
	}
	for _, p := range list(t, "-deps", "./cmd/stella") {
		for _, b := range banned {
			if p.ImportPath == b || strings.HasPrefix(p.ImportPath, strings.TrimSuffix(b, "/")+"/") {
				t.Errorf("cmd/stella links %s", p.ImportPath)
			}
		}
	}
}

// What tests Kubernetes has modules of its own, so that nothing of it is built, or
// even downloaded, with the product.
func TestProductDoesNotNeedKubernetes(t *testing.T) {
	sums := read(t, "go.sum")
	for _, module := range []string{"k8s.io/kubernetes", "go.etcd.io/etcd", "github.com/vishvananda/netlink"} {
		if strings.Contains(sums, module) {
			t.Errorf("go.sum has %s: it belongs in test/cluster/go.mod alone", module)
		}
	}
}

func TestModuleReplacesNothing(t *testing.T) {
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if regexp.MustCompile(`(?m)^\s*replace\b`).Match(mod) {
		t.Error("go.mod has a replace directive, so go install cannot build the module")
	}
}

func TestFileSizes(t *testing.T) {
	for _, name := range sources(t) {
		if filepath.Ext(name) != ".go" {
			continue
		}
		if n := strings.Count(read(t, name), "\n"); n > maxLines {
			t.Errorf("%s has %d lines; at most %d", name, n, maxLines)
		}
	}
}

// A tracked file must not name the directory it was written in, nor somebody's registry.
func TestNoMachineInFiles(t *testing.T) {
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	registries := regexp.MustCompile(`\b(ghcr|quay|gcr)` + `\.io\b|\bpublic\.ecr` + `\.aws\b`)
	for _, name := range sources(t) {
		text := read(t, name)
		// A checkout directly below / ("/src") would be found everywhere.
		if strings.Count(here, "/") > 1 && strings.Contains(text, here) {
			t.Errorf("%s names this machine's %s", name, here)
		}
		if m := registries.FindString(text); m != "" {
			t.Errorf("%s names the registry %s", name, m)
		}
	}
}

var (
	code     = regexp.MustCompile("`([^`\n]+)`")
	link     = regexp.MustCompile(`\]\(([^)#\s]+)[^)]*\)`)
	makeCall = regexp.MustCompile(`\bmake ([a-z][a-z0-9-]*)`)
)

// Every path that a document names exists, and so does every make target.
func TestDocsNameWhatExists(t *testing.T) {
	makefile := read(t, "Makefile")
	for _, doc := range sources(t) {
		if filepath.Ext(doc) != ".md" || strings.Contains(doc, "testdata") {
			continue
		}
		text := read(t, doc)
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if !strings.Contains(m[1], "://") && !exists(filepath.Join(filepath.Dir(doc), m[1])) {
				t.Errorf("%s links to %s, which does not exist", doc, m[1])
			}
		}
		for _, m := range code.FindAllStringSubmatch(text, -1) {
			if isPath(m[1]) && !exists(m[1]) && !exists(filepath.Join(filepath.Dir(doc), m[1])) {
				t.Errorf("%s names %s, which does not exist", doc, m[1])
			}
			for _, call := range makeCall.FindAllStringSubmatch(m[1], -1) {
				if !strings.Contains(makefile, "\n"+call[1]+":") {
					t.Errorf("%s says make %s, which the Makefile does not have", doc, call[1])
				}
			}
		}
	}
}

// isPath reports whether a piece of code in a document is meant as a path of
// this repository.
func isPath(s string) bool {
	if strings.ContainsAny(s, " *{}<>=$:…") || strings.HasPrefix(s, "-") {
		return false
	}
	first, _, nested := strings.Cut(s, "/")
	if nested {
		return slices.Contains([]string{"cmd", "internal", "bench", "docs", "test", ".ci", ".github", "deploy", "runbooks"}, first)
	}
	return slices.Contains([]string{".go", ".md", ".yml"}, filepath.Ext(s))
}

// sources are the files of the repository, without what git ignores and without test data.
func sources(t *testing.T) []string {
	t.Helper()
	var all []string
	if out, err := exec.Command("git", "ls-files", "--cached", "--others", "--exclude-standard").Output(); err == nil {
		all = strings.Split(strings.TrimSpace(string(out)), "\n")
	} else { // no git, or a tree that was copied without its history
		err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
			if d != nil && d.IsDir() && (d.Name() == ".git" || d.Name() == "bin") {
				return fs.SkipDir
			}
			if err == nil && d.Type().IsRegular() {
				all = append(all, name)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return slices.DeleteFunc(all, func(name string) bool {
		return strings.Contains(name, "testdata/") || filepath.Base(name) == "go.sum" || !exists(name)
	})
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
