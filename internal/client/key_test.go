package client

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReadKey(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct {
		name, text string
		mode       os.FileMode
		want, err  string
	}{
		{"good", "stl_abc\n", 0o600, "stl_abc", ""},
		{"owner", "stl_abc", 0o400, "stl_abc", ""},
		{"group", "stl_abc", 0o640, "", "can be used by others (mode 0640); take that away with: chmod 600 "},
		{"world", "stl_abc", 0o604, "", "mode 0604"},
		{"empty", " \n", 0o600, "", "holds no API key"},
		{"two", "stl_abc stl_def", 0o600, "", "holds no API key"},
		{"large", strings.Repeat("x", maxKey+1), 0o600, "", "holds no API key"},
	} {
		name := filepath.Join(dir, tt.name)
		if err := os.WriteFile(name, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(name, tt.mode); err != nil {
			t.Fatal(err)
		}
		key, err := ReadKey(name)
		if key != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %q, %v; want %q, %q", tt.name, key, err, tt.want, tt.err)
		}
		if err != nil && strings.Contains(err.Error(), "stl_") {
			t.Errorf("%s: the error shows the key: %v", tt.name, err)
		}
	}
	if _, err := ReadKey(dir); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("a directory: %v", err)
	}
	if _, err := ReadKey(filepath.Join(dir, "missing")); err == nil {
		t.Error("a file that is missing has a key")
	}
}

// A key that was changed counts at the next request.
func TestKeyFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	c := newTest(t, Options{Address: "http://127.0.0.1:1", KeyFile: file})
	for _, want := range []string{"one", "two"} {
		if err := os.WriteFile(file, []byte(want+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if key, err := c.secret(); err != nil || key != want {
			t.Errorf("%q, %v; want %q", key, err, want)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if _, err := c.secret(); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("without the file: %v", err)
	}
}
