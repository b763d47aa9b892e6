package sentinel

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestRaw(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	when := time.Date(2026, 5, 30, 3, 33, 0, 0, time.UTC)
	writeFile(t, at("file"), "*** System restart required ***\n")
	if err := os.Chtimes(at("file"), when, when); err != nil {
		t.Fatal(err)
	}
	link(t, "file", at("link"))
	link(t, "/nowhere/at/all", at("dangling"))
	link(t, "loop", at("loop"))
	mkdir(t, at("directory"))
	for _, path := range []string{at("file"), at("link")} {
		if since, wanted, err := Raw(path); !since.Equal(when) || !wanted || err != nil {
			t.Errorf("%s: %v, %v, %v", path, since, wanted, err)
		}
	}
	if since, wanted, err := Raw(at("none")); !since.IsZero() || wanted || err != nil {
		t.Errorf("no file: %v, %v, %v", since, wanted, err)
	}
	for path, words := range map[string]string{
		at("dangling"):     "leads nowhere from here",
		at("loop"):         "too many levels",
		at("directory"):    "is no file",
		at("missing/file"): "mount that of the host",
		at("file/file"):    "not a directory",
		"/dev/null":        "is no file",
	} {
		since, wanted, err := Raw(path)
		wantError(t, err, words)
		if wanted || !since.IsZero() {
			t.Errorf("%s: %v, %v beside an error", path, since, wanted)
		}
	}
}
