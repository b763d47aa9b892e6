package dotnet

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stella/internal/scan/extract"
	"stella/internal/scan/extract/edges/edgestest"
	"stella/internal/scan/extract/extracttest"
	"stella/internal/scan/inventory"
)

func read(tb testing.TB, name string) []byte {
	tb.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func TestApplication(t *testing.T) {
	res := extracttest.Run(t, New(), "app/shop.deps.json", read(t, "shop.deps.json"))
	if res.Err != nil || res.Reasons != nil {
		t.Fatal(res.Err, res.Reasons)
	}
	for _, p := range res.Packages {
		if extracttest.Check(t, &p); p.Type != inventory.NuGet || p.Declared {
			t.Errorf("%+v", p)
		}
	}
	// Neither the application, nor its other project, nor a DLL that it refers to.
	ids, edges := edgestest.Graph(res.Packages)
	wantIDs := []string{"Microsoft.NETCore.App.Runtime.linux-x64@8.0.4", "Serilog.Sinks.Console@5.0.1", "Serilog@3.1.1"}
	wantEdges := []string{"Serilog.Sinks.Console@5.0.1 > Serilog@3.1.1"}
	if !cmp.Equal(ids, wantIDs) || !cmp.Equal(edges, wantEdges) {
		t.Error(cmp.Diff(wantIDs, ids), cmp.Diff(wantEdges, edges))
	}
}

// The order of the two parts makes no difference.
func TestOrder(t *testing.T) {
	var parts map[string]json.RawMessage
	if err := json.Unmarshal(read(t, "shop.deps.json"), &parts); err != nil {
		t.Fatal(err)
	}
	turned := fmt.Sprintf(`{"libraries":%s,"targets":%s}`, parts["libraries"], parts["targets"])
	a := extracttest.Run(t, New(), "a.deps.json", read(t, "shop.deps.json"))
	b := extracttest.Run(t, New(), "a.deps.json", []byte(turned))
	if d := cmp.Diff(a.Packages, b.Packages); d != "" || b.Err != nil {
		t.Error(b.Err, d)
	}
}

func TestOddForms(t *testing.T) {
	for doc, want := range map[string]string{
		`{"targets":{"x":{"A/1":{},"NoVersion":{},"/2":{},"B/":{},"C/1":7}},"libraries":{"A/1":{"type":"package"}}}`: "[A@1]",
		`{"targets":{"x":{"A/1":{"dependencies":[]}},"y":7}}`:                                                        "[A@1]",
		`{"targets":{"x":{"A/1":{}}},"libraries":{"A/1":{"type":["package"]}}}`:                                      "[]",
		"\xEF\xBB\xBF{}": "[]",
	} {
		res := extracttest.Run(t, New(), "a.deps.json", []byte(doc))
		ids, _ := edgestest.Graph(res.Packages)
		if got := fmt.Sprint(ids); got != want || res.Err != nil {
			t.Errorf("%s: %s, want %s, %v", doc, got, want, res.Err)
		}
	}
	if res := extracttest.Run(t, New(), "a.deps.json", []byte(`[]`)); res.Err == nil {
		t.Error("an array is not refused")
	}
}

func TestWants(t *testing.T) {
	for path, want := range map[string]bool{"app/shop.deps.json": true, "shop.deps.json": true, "deps.json": false, "a.deps.jsonx": false} {
		h := extracttest.Header(path, 1)
		if New().Wants(h) != want {
			t.Errorf("%s: %v", path, !want)
		}
		if n := testing.AllocsPerRun(10, func() { New().Wants(h) }); n != 0 {
			t.Errorf("%s: %v allocations", path, n)
		}
	}
}

// Cut anywhere, the file is an error, and the packages before the cut stay.
func TestTruncated(t *testing.T) {
	data := bytes.TrimSpace(read(t, "shop.deps.json"))
	half := bytes.Index(data, []byte(`"libraries"`))
	for i := 0; i < len(data); i += 11 {
		res := extracttest.Run(t, New(), "a.deps.json", data[:i])
		if res.Err == nil {
			t.Fatalf("cut at %d: no error", i)
		}
		if _, ok := res.Find("Serilog"); i > half && !ok {
			t.Fatalf("cut at %d: packages before it are lost", i)
		}
	}
}

func FuzzExtract(f *testing.F) {
	f.Add(read(f, "shop.deps.json"))
	f.Add([]byte(`{"libraries":{"A/1":{"type":"project"}},"targets":{"x":{"A/1":{},"B/1":{"dependencies":{"A":"1"}}}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		extracttest.Fuzz(t, New(), "a.deps.json", 0o644, data)
		res := extracttest.Run(t, New(), "a.deps.json", data)
		for _, p := range res.Packages {
			if p.Version == "" || len(p.Provides) != 1 {
				t.Errorf("%+v", p)
			}
		}
		if res.Err == nil && !json.Valid(bytes.TrimPrefix(data, []byte("\xEF\xBB\xBF"))) {
			t.Error("no error for what is not JSON")
		}
	})
}

func TestFlatMemory(t *testing.T) {
	const n = 10_000
	long := strings.Repeat("x", 1<<20)
	repeat, numbered := edgestest.Repeat, edgestest.Numbered
	for _, c := range []struct {
		name     string
		content  func() io.Reader
		packages int
	}{
		{"packages", func() io.Reader {
			return io.MultiReader(repeat(`{"targets":{"x":{`, `"z":{}}},`, n, numbered(`"package-%d/1.0.0":{"dependencies":{"a":"1","b":"2"}},`)),
				repeat(`"libraries":{`, `"z":{}}}`, n, numbered(`"package-%d/1.0.0":{"type":"package","sha512":"`+strings.Repeat("x", 88)+`"},`)))
		}, n},
		// The one package is where the memory is measured: random access is not seen.
		{"projects", func() io.Reader {
			return repeat(`{"targets":{"x":{"a/1":{}}},"libraries":{`, `"a/1":{"type":"package"}}}`, 10*n, numbered(`"project-%d/1.0.0":{"type":"project"},`))
		}, 1},
		{"dependencies", func() io.Reader {
			return repeat(`{"targets":{"x":{"a/1":{"dependencies":{`, `"z":""}}}}}`, 10*n, numbered(`"dependency-%d":"1.0.0",`))
		}, 1},
		{"one string", func() io.Reader {
			return repeat(`{"targets":{"x":{"a/1":{}}},"libraries":{"a/1":{"type":"package","path":"`, `"}}}`, 20, func(int) string { return long })
		}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			size, err := io.Copy(io.Discard, c.content())
			if err != nil {
				t.Fatal(err)
			}
			live, packages, err := extracttest.Peak(t, New(), extracttest.Header("a.deps.json", size), c.content())
			if err != nil || live > extract.Budget || packages != c.packages {
				t.Errorf("%d bytes: %d KiB live, %d packages, %v", size, live>>10, packages, err)
			}
		})
	}
}
