package programs

import (
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// goMod is what go mod edit -json says of kubernetes/go.mod.
type goMod struct {
	Require []struct{ Path, Version string }
	Replace []struct {
		Old, New struct{ Path, Version string }
	}
}

func readGoMod(t *testing.T) goMod {
	t.Helper()
	out, err := exec.Command("go", "mod", "edit", "-json", "../../kubernetes/go.mod").Output()
	var mod goMod
	if err := errors.Join(err, json.Unmarshal(out, &mod)); err != nil {
		t.Fatal(err)
	}
	return mod
}

// The staging modules are released with Kubernetes, as v0 in place of v1, and it
// works with those of its own release only.
func TestVersion(t *testing.T) {
	const kubernetes = "k8s.io/kubernetes"
	staging := strings.Replace(Version, "v1.", "v0.", 1)
	mod := readGoMod(t)
	required := map[string]string{}
	for _, r := range mod.Require {
		required[r.Path] = r.Version
	}
	if required[kubernetes] != Version {
		t.Errorf("Version is %s, and go.mod requires %s %s", Version, kubernetes, required[kubernetes])
	}
	replaced := map[string]bool{}
	for _, r := range mod.Replace {
		replaced[r.Old.Path] = true
		if r.New.Path != r.Old.Path || r.New.Version != staging {
			t.Errorf("%s is replaced by %s %s; want %s", r.Old.Path, r.New.Path, r.New.Version, staging)
		}
	}
	if len(replaced) == 0 {
		t.Error("go.mod replaces nothing")
	}
	// These three go their own ways; what else is k8s.io/NAME is staging.
	for _, own := range []string{kubernetes, "k8s.io/klog/v2", "k8s.io/utils", "k8s.io/kube-openapi", "k8s.io/gengo/v2", "k8s.io/system-validators"} {
		delete(required, own)
	}
	for path, version := range required {
		if strings.HasPrefix(path, "k8s.io/") && !replaced[path] {
			t.Errorf("%s %s is not replaced", path, version)
		}
	}
}

// files writes a directory.
func files(t *testing.T, content map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range content {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestKey(t *testing.T) {
	content := map[string]string{"main.go": "package main", "etcd.go": "package main // etcd", "go.mod": "module m", "go.sum": "sum"}
	of := func(content map[string]string) string {
		dir := files(t, content)
		got, err := key(dir)
		if err != nil {
			t.Fatal(err)
		}
		// Neither the time of a file, nor its place, nor what is not built matters.
		if err := errors.Join(os.Chtimes(filepath.Join(dir, "main.go"), time.Unix(1, 0), time.Unix(1, 0)), os.WriteFile(filepath.Join(dir, "README"), nil, 0o600)); err != nil {
			t.Fatal(err)
		}
		if again, err := key(dir); err != nil || again != got {
			t.Errorf("the key of the same files is %s, then %s (%v)", got, again, err)
		}
		return got
	}
	base := of(content)
	if again := of(content); again != base {
		t.Errorf("the key of the same files elsewhere is %s, not %s", again, base)
	}
	seen := map[string]string{base: "nothing"}
	change := func(what string, f func(map[string]string)) {
		changed := maps.Clone(content)
		f(changed)
		got := of(changed)
		if other, ok := seen[got]; ok {
			t.Errorf("the key is the same after a change of %s and of %s", what, other)
		}
		seen[got] = what
	}
	for name := range content {
		change(name, func(c map[string]string) { c[name] += "\n" })
	}
	change("the number of files", func(c map[string]string) { c["new.go"] = "package main" })
	change("a name", func(c map[string]string) { c["etcd2.go"] = c["etcd.go"]; delete(c, "etcd.go") })
	change("where one file ends", func(c map[string]string) {
		c["etcd.go"], c["go.mod"] = c["etcd.go"]+c["go.mod"][:1], c["go.mod"][1:]
	})
	delete(content, "go.sum")
	if _, err := key(files(t, content)); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "go.sum") {
		t.Errorf("no go.sum: %v", err)
	}
}

// built makes what build makes, with this for a program.
func built(t *testing.T, program string) string {
	t.Helper()
	dir := files(t, map[string]string{file: program})
	if err := os.Chmod(filepath.Join(dir, file), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range Names {
		if err := os.Symlink(file, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// wantCopy looks that a directory has all programs, and that they run.
func wantCopy(t *testing.T, dir, program string) {
	t.Helper()
	for _, name := range append([]string{file}, Names...) {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || string(data) != program {
			t.Errorf("%s: %q, %v", name, data, err)
		}
	}
	if target, err := os.Readlink(filepath.Join(dir, "etcd")); err != nil || target != file {
		t.Errorf("etcd is not a link, but 130 MB more: %q, %v", target, err)
	}
	if _, err := exec.LookPath(filepath.Join(dir, "etcd")); err != nil {
		t.Errorf("etcd does not run: %v", err)
	}
}

func TestCopyReplaces(t *testing.T) {
	to := filepath.Join(t.TempDir(), "made", "on demand")
	for _, program := range []string{"old and long", "new"} {
		from := built(t, program)
		// A directory that was made for STELLA_TEST_PROGRAMS has others too.
		if err := os.WriteFile(filepath.Join(from, "hog"), []byte(program), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := Copy(from, to); err != nil {
			t.Fatal(err)
		}
		wantCopy(t, to, program)
		if data, err := os.ReadFile(filepath.Join(to, "hog")); err != nil || string(data) != program {
			t.Errorf("hog: %q, %v", data, err)
		}
	}
}

// A program that runs cannot be written to, but it can be replaced.
func TestCopyOverARunningProgram(t *testing.T) {
	cat, err := exec.LookPath("cat")
	if err != nil {
		t.Fatal(err)
	}
	binary, err := os.ReadFile(cat)
	if err != nil {
		t.Fatal(err)
	}
	from := built(t, string(binary))
	to := t.TempDir()
	if err := Copy(from, to); err != nil {
		t.Fatal(err)
	}
	running := exec.Command(filepath.Join(to, file))
	stdin, err := running.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := running.Start(); err != nil {
		t.Fatal(err)
	}
	if err := Copy(built(t, "new"), to); err != nil {
		t.Error(err)
	}
	wantCopy(t, to, "new")
	stdin.Close()
	if err := running.Wait(); err != nil {
		t.Error(err)
	}
}

// STELLA_TEST_PROGRAMS may name the directory that is to be filled.
func TestCopyOntoItself(t *testing.T) {
	dir := built(t, "only copy")
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{dir, dir + "/", link} {
		if err := Copy(dir, to); err != nil {
			t.Errorf("to %s: %v", to, err)
		}
		wantCopy(t, dir, "only copy")
	}
}

func TestCopyOfNothing(t *testing.T) {
	from := filepath.Join(t.TempDir(), "none")
	to := built(t, "old")
	if err := Copy(from, to); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), from) {
		t.Error(err)
	}
	wantCopy(t, to, "old")
}

// tiny writes a program and returns what go build calls it. With cgo, package
// os/user would need the C library.
func tiny(t *testing.T) string {
	t.Helper()
	return filepath.Join(files(t, map[string]string{"tiny.go": "package main\n\nimport (\n\t\"fmt\"\n\t\"os/user\"\n)\n\nfunc main() { user.Current(); fmt.Println(\"tiny\") }\n"}), "tiny.go")
}

func wantTiny(t *testing.T, program string) {
	t.Helper()
	if got, err := exec.Command(program).Output(); err != nil || string(got) != "tiny\n" {
		t.Errorf("%s says %q, %v", program, got, err)
	}
	binary, err := elf.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer binary.Close()
	if needs, err := binary.ImportedLibraries(); err != nil || len(needs) > 0 {
		t.Errorf("%s needs %v, which an image has not (%v)", program, needs, err)
	}
}

func TestStatic(t *testing.T) {
	t.Setenv(Environment, "")
	t.Setenv("CGO_ENABLED", "1") // the caller's wishes are not for the image
	t.Setenv("GOFLAGS", "-buildmode=pie")
	dir := t.TempDir()
	out, err := Static(t.Context(), tiny(t), dir)
	if err != nil || out != filepath.Join(dir, "tiny.go") {
		t.Fatalf("%q, %v", out, err)
	}
	wantTiny(t, out)
}

// repository goes to the root of what looks like Stella's.
func repository(t *testing.T) {
	t.Helper()
	root := t.TempDir()
	module := filepath.Join(root, "test", "cluster")
	if err := errors.Join(
		os.MkdirAll(filepath.Join(module, "kubernetes"), 0o700),
		os.WriteFile(filepath.Join(module, "go.mod"), []byte("module stella/test/cluster\n\ngo 1.26.0\n"), 0o600),
		os.WriteFile(filepath.Join(module, "kubernetes", "go.mod"), []byte("module stella/test/cluster/kubernetes\n\ngo 1.26.0\n"), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	t.Chdir(root)
}

// The build runs in this module's directory; a name is still relative to the caller's.
func TestStaticIntoARelativeDirectory(t *testing.T) {
	t.Setenv(Environment, "")
	repository(t)
	if _, err := Static(t.Context(), tiny(t), "below"); err != nil {
		t.Fatal(err)
	}
	out, err := filepath.Abs("below/tiny.go")
	if err != nil {
		t.Fatal(err)
	}
	wantTiny(t, out)
}

func TestReadyMade(t *testing.T) {
	dir := built(t, "ready")
	t.Setenv(Environment, dir)
	t.Setenv("PATH", "") // no Go
	if got, err := Kubernetes(t.Context(), io.Discard); err != nil || got != dir {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := Static(t.Context(), "stella/test/hog", t.TempDir()); err != nil || got != filepath.Join(dir, "hog") {
		t.Errorf("%q, %v", got, err)
	}
}

func TestNothingIsReadyMade(t *testing.T) {
	for _, dir := range []string{t.TempDir(), "bin/programs"} {
		t.Setenv(Environment, dir)
		if _, err := Kubernetes(t.Context(), io.Discard); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), Environment) {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

// Whoever runs a test binary elsewhere is told what is missing.
func TestOutsideOfTheRepository(t *testing.T) {
	t.Setenv(Environment, "")
	t.Chdir(t.TempDir())
	_, kubernetes := Kubernetes(t.Context(), io.Discard)
	_, static := Static(t.Context(), "stella/test/hog", t.TempDir())
	for _, err := range []error{kubernetes, static} {
		if err == nil || !strings.Contains(err.Error(), "repository") || !strings.Contains(err.Error(), Environment) {
			t.Errorf("outside of the repository: %v", err)
		}
	}
}

func TestWithoutGo(t *testing.T) {
	t.Setenv(Environment, "")
	t.Setenv("PATH", "")
	if _, err := Static(t.Context(), "stella/test/hog", t.TempDir()); !errors.Is(err, exec.ErrNotFound) || !strings.Contains(err.Error(), "build stella/test/hog") {
		t.Errorf("a machine without Go: %v", err)
	}
}

func TestABuildThatFailsShowsTheCompiler(t *testing.T) {
	t.Setenv(Environment, "")
	if _, err := Static(t.Context(), "./internal/programs/testdata/none", t.TempDir()); err == nil || !strings.Contains(err.Error(), "testdata/none") {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Static(ctx, "stella/test/hog", t.TempDir()); !errors.Is(err, context.Canceled) {
		t.Errorf("nobody waits any more: %v", err)
	}
}

// A build that was cut short is none: what says that it is finished comes last.
func TestAnUnfinishedBuildIsNotTaken(t *testing.T) {
	dir := t.TempDir()
	source := files(t, map[string]string{"go.mod": "module broken\n\ngo 1.26\n", "main.go": "package main\n\nfunc main() { nonsense }\n"})
	var log strings.Builder
	if err := build(t.Context(), source, dir, &log); err == nil || !strings.Contains(log.String(), "nonsense") {
		t.Errorf("%v, log:\n%s", err, log.String())
	}
	if _, err := os.Stat(filepath.Join(dir, file)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a build that failed looks finished: %v", err)
	}
	if err := os.WriteFile(filepath.Join(source, "main.go"), []byte("package main\n\nfunc main() { print() }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := build(t.Context(), source, dir, &log); err != nil {
		t.Fatalf("the second try: %v, log:\n%s", err, log.String())
	}
	if err := exec.Command(filepath.Join(dir, "kubectl")).Run(); err != nil {
		t.Error(err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*.part")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
