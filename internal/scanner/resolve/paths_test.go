package resolve_test

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"stella/internal/scan/image"
	"stella/internal/scanner/resolve"
)

// world is an allowed directory with a layout in it, and another beside it.
type world struct {
	allowed, secret string
	layout          map[string]string // files of the layout allowed/app
	policy          resolve.Policy
}

func newWorld(t *testing.T) *world {
	t.Helper()
	noCredentials(t)
	top, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	w := &world{allowed: filepath.Join(top, "images"), secret: filepath.Join(top, "images-secret")}
	w.layout = newParts("layer").layout(t, filepath.Join(w.allowed, "app"))
	newParts("secret").layout(t, filepath.Join(w.secret, "app"))
	w.policy = resolve.Policy{Paths: []string{w.allowed}}
	return w
}

func (w *world) link(t *testing.T, target, name string) string {
	t.Helper()
	path := filepath.Join(w.allowed, name)
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPathsThatAreAllowed(t *testing.T) {
	w := newWorld(t)
	app := filepath.Join(w.allowed, "app")
	for _, ref := range []string{
		app, "oci-dir:" + app, "dir:" + app, "dir:" + w.allowed, app + "/../app", w.allowed + "//./app/",
		w.link(t, "app", "relative"), w.link(t, app, "absolute"), "dir:" + w.link(t, "absolute", "twice"),
	} {
		if _, err := open(t, ref, w.policy, false); err != nil {
			t.Errorf("%s: %v", ref, err)
		}
	}
	// The allowed directory may itself be reached by a link.
	alias := w.secret + "-alias"
	if err := os.Symlink(w.allowed, alias); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{alias, w.allowed} {
		if _, err := open(t, filepath.Join(dir, "app"), resolve.Policy{Paths: []string{"/nowhere-yet", alias}}, false); err != nil {
			t.Errorf("below %s: %v", dir, err)
		}
	}
}

// What must not be opened and what is not there must sound the same, but for the name.
func TestPathsThatAreRefused(t *testing.T) {
	w := newWorld(t)
	here, gone := filepath.Join(w.secret, "app"), filepath.Join(w.secret, "gone")
	cwd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	up := strings.Repeat("../", strings.Count(cwd, "/"))
	in := func(f func(target string) string) [2]string { return [2]string{f(here), f(gone)} }
	pairs := [][2]string{
		in(func(s string) string { return s }),
		in(func(s string) string { return "dir:" + s }),
		in(func(s string) string { return "oci-dir:" + s }),
		in(func(s string) string { return "oci-dir:" + s + ":tag" }),
		in(func(s string) string { return "oci-archive:" + s }),
		in(func(s string) string { return "docker-archive:" + s + ":a:b" }),
		in(func(s string) string { return "dir:" + w.allowed + "/../images-secret/" + filepath.Base(s) }),
		in(func(s string) string { return "dir:" + w.allowed + "/app/../../images-secret/" + filepath.Base(s) }),
		in(func(s string) string { return "dir:/proc/self/root" + s }),
		in(func(s string) string { return "dir:/proc/self/cwd/" + up + s[1:] }),
		in(func(s string) string { return "dir:" + up + s[1:] }),
		in(func(s string) string { return "./" + up + s[1:] }),
	}
	for i, to := range []string{here, gone, "../images-secret/app", "../images-secret/gone", "/proc/self/root" + here, "/proc/self/root" + gone} {
		name := filepath.Base(w.link(t, to, "link"+string(rune('0'+i))))
		if i%2 == 1 {
			before := "link" + string(rune('0'+i-1))
			for _, scheme := range []string{"", "dir:", "oci-dir:", "oci-archive:"} {
				pairs = append(pairs, [2]string{scheme + filepath.Join(w.allowed, before), scheme + filepath.Join(w.allowed, name)})
				pairs = append(pairs, [2]string{scheme + filepath.Join(w.allowed, before, "blobs"), scheme + filepath.Join(w.allowed, name, "blobs")})
			}
		}
	}
	for _, pair := range pairs {
		var said [2]string
		for i, ref := range pair {
			_, err := open(t, ref, w.policy, false)
			denied(t, err, "--allow-path", "registry")
			if err != nil {
				said[i] = strings.ReplaceAll(strings.ReplaceAll(err.Error(), ref, "REF"), strings.TrimPrefix(ref, strings.SplitAfter(ref, ":")[0]), "REF")
			}
		}
		if said[0] != said[1] {
			t.Errorf("what is there can be told from what is not:\n%s: %s\n%s: %s", pair[0], said[0], pair[1], said[1])
		}
	}
	if _, err := open(t, here, w.policy, true); err != nil {
		t.Errorf("a local caller: %v", err)
	}
	_, err = open(t, filepath.Join(w.allowed, "app"), resolve.Policy{}, false)
	denied(t, err)
}

// A relative name is a registry's to whoever must not see the server's working directory.
func TestNamesAreNotLookedUpInTheWorkingDirectory(t *testing.T) {
	w := newWorld(t)
	t.Chdir(w.allowed)
	_, err := open(t, "app", w.policy, false)
	if err == nil || strings.Contains(err.Error(), w.allowed) {
		t.Errorf("error %v", err)
	}
	_, err = open(t, "localhost:1/app", w.policy, false)
	denied(t, err)
}

// Links inside a layout that lead out of it are not followed, though the layout is allowed.
func TestLinkedBlobs(t *testing.T) {
	for _, what := range []string{"index", "manifest", "config", "layer"} {
		for _, kind := range []string{"inside", "outside", "proc", "directory"} {
			w := newWorld(t)
			file := w.layout[what]
			moved := filepath.Join(w.secret, what)
			if kind == "inside" {
				moved = filepath.Join(filepath.Dir(file), "moved")
			}
			if kind == "directory" { // all of the directory that it lies in
				file, moved = filepath.Dir(file), filepath.Join(w.secret, "directory")
				if what == "index" {
					continue
				}
			}
			if err := os.Rename(file, moved); err != nil {
				t.Fatal(err)
			}
			target := moved
			switch kind {
			case "inside":
				target = "moved"
			case "proc":
				target = "/proc/self/root" + moved
			}
			if err := os.Symlink(target, file); err != nil {
				t.Fatal(err)
			}
			if err := readAll(t, w, false); (err == nil) != (kind == "inside") {
				t.Errorf("%s, %s: %v", what, kind, err)
			}
			if err := readAll(t, w, true); err != nil {
				t.Errorf("%s, %s, by a local caller: %v", what, kind, err)
			}
		}
	}
}

func readAll(t *testing.T, w *world, local bool) error {
	t.Helper()
	m, err := open(t, filepath.Join(w.allowed, "app"), w.policy, local)
	if err != nil {
		return err
	}
	if m.Dir != "" { // its marks are out of reach, so that it is a directory of files
		return os.ErrInvalid
	}
	r, err := m.Layers[0].Open(t.Context())
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.ReadAll(r)
	return err
}

// What was allowed when it was opened stays what it was, whatever takes its place.
func TestSwappedDirectory(t *testing.T) {
	w := newWorld(t)
	app := filepath.Join(w.allowed, "app")
	layout, err := open(t, "oci-dir:"+app, w.policy, false)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := open(t, "dir:"+app, w.policy, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.secret, "app", "password"), []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(app, filepath.Join(w.allowed, "old")); err != nil {
		t.Fatal(err)
	}
	w.link(t, "../images-secret/app", "app")
	r, err := layout.Layers[0].Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if data, err := io.ReadAll(r); err != nil || string(data) != "layer" {
		t.Errorf("%q, %v", data, err)
	}
	err = dir.Walk(t.Context(), func(e image.Entry) error {
		if e.Path == "password" {
			t.Error("the walk left the directory")
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
