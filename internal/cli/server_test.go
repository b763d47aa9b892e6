package cli

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
)

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
