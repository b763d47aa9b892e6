package cli

import (
	"net"
	"net/http"
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
		{"large", strings.Repeat("x", maxKeyFile+1), 0o600, "", "holds no API key"},
	} {
		name := filepath.Join(dir, tt.name)
		if err := os.WriteFile(name, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(name, tt.mode); err != nil {
			t.Fatal(err)
		}
		key, err := readKey(name)
		if key != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %q, %v; want %q, %q", tt.name, key, err, tt.want, tt.err)
		}
		if err != nil && strings.Contains(err.Error(), "stl_") {
			t.Errorf("%s: the error shows the key: %v", tt.name, err)
		}
	}
	if _, err := readKey(dir); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("a directory: %v", err)
	}
	if _, err := readKey(filepath.Join(dir, "missing")); err == nil {
		t.Error("a file that is missing has a key")
	}
}

// The file goes before the variable, and the key into the header that the API wants.
func TestKeyIsSent(t *testing.T) {
	var sent string
	f := newFakeService(t, map[string]any{"GET /v1/keys": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent = r.Header.Get("Authorization")
		writeJSON(w, []int{})
	})})
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte("from-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"STELLA_SERVER": f.address, "STELLA_API_KEY": "from-variable"}
	runWith(t.Context(), t, env, "keys", "list", "-q")
	if sent != "Bearer from-variable" {
		t.Errorf("sent %q", sent)
	}
	runWith(t.Context(), t, env, "keys", "list", "-q", "--api-key-file", file)
	if sent != "Bearer from-file" {
		t.Errorf("sent %q", sent)
	}
}

func TestEndpoint(t *testing.T) {
	env := map[string]string{"STELLA_SERVER": "unix:///variable"}
	getenv := func(k string) string { return env[k] }
	if e, _ := new(serverFlags).endpoint(getenv); e != (endpoint{"unix:///variable", true}) {
		t.Errorf("endpoint is %v", e)
	}
	if e, _ := (&serverFlags{address: "unix:///flag"}).endpoint(getenv); e != (endpoint{"unix:///flag", true}) {
		t.Errorf("endpoint is %v", e)
	}
}

// A socket that is there counts, and nothing else that has its name.
func TestFindSocket(t *testing.T) {
	dir := t.TempDir()
	missing, file, socket := filepath.Join(dir, "missing"), filepath.Join(dir, "file"), filepath.Join(dir, "socket")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if e, ok := find([]string{missing, file}); ok {
		t.Errorf("found %v", e)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if e, ok := find([]string{missing, file, socket}); !ok || e != (endpoint{"unix://" + socket, false}) {
		t.Errorf("found %v, %v", e, ok)
	}
}
