// Package hostile scans images that were made to hurt, with the released binary
// inside a memory cgroup of 32 MiB.
//
// An input is one such image: a good layer, the hostile one (layer 1), and
// another good layer. Around whatever is hostile in layer 1 stand two good packages,
// before and after. Of every input the tests assert:
//
//   - The kernel kills nothing, and the peak resident set is within the limit.
//   - The exit code is the one of docs/exit-codes.md, and the message names the layer, the file and what is wrong.
//   - All good packages are in the result, but those behind the place where a
//     layer can no longer be read.
//   - Nothing is left in the temporary directory, and nothing is written
//     outside it, the cache and the output.
//
// Inputs are made by the tests, streamed, and the same in each run. docs/hostile.md
// is made from them:
//
//	go test ./test/hostile -write
//
// Hazard: some inputs unpack to gigabytes. At most two are scanned at a time, and their stored
// form is what takes disk space, at most 200 MiB.
package hostile

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

// limit is what a scan may use by default, in bytes.
const limit = 32 << 20

var write = flag.Bool("write", false, "write what was measured to docs/hostile.md")

// input is one hostile image and what is to be said of it.
type input struct {
	// name is that of the subtest, what describes the input and does what stella does with it, for docs/hostile.md.
	name, what, does string
	// make adds the hostile layer.
	make func(m *image)
	// exit is the exit code.
	exit int
	// says must all be in the message on standard error.
	says []string
	// finds are package URLs, or beginnings of them, that must be in the result beside the good ones.
	finds []string
	// counts are numbers of packages by type, exactly; npm includes the good ones.
	counts map[string]int
	// cut says that the layer cannot be read behind the hostile place, so that the package after it is lost.
	cut bool
	// lost says that the layer cannot be read at all.
	lost bool
	// args are more arguments of the scan.
	args []string
	// check looks at what is special to the input.
	check func(t *testing.T, w *world, layout string, o *outcome)
}

// slots keeps the machine usable: two scans at a time.
var slots = make(chan struct{}, 2)

func TestHostile(t *testing.T) {
	if testing.Short() {
		t.Skip("scans gigabytes")
	}
	stella := buildStella(t)
	for _, in := range slices.Concat(layerInputs, pathInputs, jsonInputs, textInputs, databaseInputs, archiveInputs, programInputs) {
		t.Run(in.name, func(t *testing.T) {
			t.Parallel()
			slots <- struct{}{}
			defer func() { <-slots }()
			in.run(t, stella)
		})
	}
}

func (in *input) run(t *testing.T, stella string) {
	m := newImage(t)
	m.layer(gzipped, func(w *tarball) { w.npm("opt/below") })
	in.make(m)
	m.layer(gzipped, func(w *tarball) { w.npm("opt/above") })
	layout := m.close()

	w := newWorld(t, stella)
	o := w.scan("oci-dir:"+layout, in.args...)
	report(t, in.name, in.what, in.does, o)
	if o.exit != in.exit {
		t.Errorf("exit code %d, want %d\n%s", o.exit, in.exit, o.message)
	}
	for _, s := range in.says {
		if !strings.Contains(o.message, s) {
			t.Errorf("the message does not say %q:\n%s", s, o.message)
		}
	}
	if in.exit != 0 && !strings.Contains(o.message, "layer 1") {
		t.Errorf("the message does not name the layer:\n%s", o.message)
	}
	if in.exit != 0 && in.exit != 5 {
		if o.document {
			t.Error("there is a document")
		}
	} else {
		in.compare(t, o)
	}
	if in.check != nil {
		in.check(t, w, layout, o)
	}
}

func (in *input) compare(t *testing.T, o *outcome) {
	finds := append([]string{"pkg:npm/below@1", "pkg:npm/above@1"}, in.finds...)
	if !in.lost {
		finds = append(finds, "pkg:npm/before@1")
	}
	if !in.lost && !in.cut {
		finds = append(finds, "pkg:npm/after@1")
	}
	for _, want := range finds {
		if !o.has(want) {
			t.Errorf("%s is not in the result; %d problems: %s", want, o.problems, o.message)
		}
	}
	for typ, want := range in.counts {
		if got := o.counts[typ]; got != want {
			t.Errorf("%d packages of type %s, want %d; %s", got, typ, want, o.message)
		}
	}
	if complete := in.exit == 0; o.complete != complete {
		t.Errorf("the document says complete: %v", o.complete)
	}
}

// buildStella builds the binary as it is released, once.
var buildStella = func() func(t *testing.T) string {
	var once sync.Once
	var out []byte
	var err error
	return func(t *testing.T) string {
		t.Helper()
		once.Do(func() {
			cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(scratch, "stella"), "stella/cmd/stella")
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
			out, err = cmd.CombinedOutput()
		})
		if err != nil {
			t.Fatalf("build: %v\n%s", err, out)
		}
		return filepath.Join(scratch, "stella")
	}
}()

// scratch holds the binary while the tests run.
var scratch string

func TestMain(m *testing.M) {
	flag.Parse()
	dir, err := os.MkdirTemp("", "hostile-*")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if err := os.Chmod(dir, 0o755); err != nil { // TestReadOnlyCache starts the binary as another user
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	scratch = dir
	// The goroutine that watches a scan must not wait for those that make the next image.
	runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), 8))
	code := m.Run()
	os.RemoveAll(dir)
	if *write {
		if err := writeDocs("../../docs/hostile.md"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// rows are the lines of the table.
var rows struct {
	sync.Mutex
	lines []string
}

// report adds a line to the table when the test is over, unless it has failed: the table is true.
func report(t *testing.T, name, what, does string, o *outcome) {
	t.Cleanup(func() {
		if t.Failed() {
			return
		}
		rows.Lock()
		defer rows.Unlock()
		rows.lines = append(rows.lines, fmt.Sprintf("| `%s` | %s | %s | %d | %.1f MiB |", name, what, does, o.exit, float64(o.rss)/(1<<20)))
	})
}

const docsHead = `# Hostile images, and what becomes of them

Each line is an image with one hostile thing in its middle layer, scanned by the released
binary inside a memory cgroup of 32 MiB without swap. Made by ` + "`go test ./test/hostile -write`" + `; one line is
reproduced with

    go test ./test/hostile -v -run 'TestHostile/^NAME$'

and those named disk-… with TestFullDisk, those named cache-… with TestCache or TestReadOnlyCache.

The same tests assert that everything good in the image is in the result, that nothing is left in the temporary directory and that
nothing is written outside it, the cache and the output. The exit codes are explained in ` + "[exit-codes.md](exit-codes.md)" + `, and what is
damage and what is an error in ` + "[adr/0006-damage.md](adr/0006-damage.md)" + `.

| name | the image holds | stella | exit code | peak RSS |
|---|---|---|---|---|
`

func writeDocs(path string) error {
	rows.Lock()
	defer rows.Unlock()
	slices.SortFunc(rows.lines, func(a, b string) int { return cmp.Compare(a, b) })
	return os.WriteFile(path, []byte(docsHead+strings.Join(rows.lines, "\n")+"\n"), 0o644)
}
