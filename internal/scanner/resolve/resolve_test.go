package resolve_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"stella/internal/scan/image"
	"stella/internal/scan/image/registry/registrytest"
	"stella/internal/scanner"
	"stella/internal/scanner/resolve"
)

const (
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeLayer    = "application/vnd.oci.image.layer.v1.tar"
)

// parts are an image of one layer: its documents and blobs.
type parts struct{ manifest, config, layer []byte }

func newParts(layer string) parts {
	p := parts{layer: []byte(layer), config: []byte(`{"os":"linux","rootfs":{"type":"layers","diff_ids":[]}}`)}
	d := func(mediaType string, data []byte) string {
		return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, mediaType, registrytest.Digest(data), len(data))
	}
	p.manifest = fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%s]}`, typeManifest, d(typeConfig, p.config), d(typeLayer, p.layer))
	return p
}

func (p parts) serve(g *registrytest.Registry, tags ...string) string {
	g.Blob(p.config)
	g.Blob(p.layer)
	return g.Manifest(typeManifest, p.manifest, tags...)
}

// layout writes an OCI layout and returns its files by what they are.
func (p parts) layout(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	write := func(what, name string, data []byte) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		files[what] = path
	}
	write("marker", "oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	for what, data := range map[string][]byte{"manifest": p.manifest, "config": p.config, "layer": p.layer} {
		write(what, "blobs/"+strings.Replace(registrytest.Digest(data), ":", "/", 1), data)
	}
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": []any{
		map[string]any{"mediaType": typeManifest, "digest": registrytest.Digest(p.manifest), "size": len(p.manifest)},
	}})
	if err != nil {
		t.Fatal(err)
	}
	write("index", "index.json", index)
	return files
}

// noCredentials keeps those of whoever runs the tests out of them.
func noCredentials(t *testing.T) { t.Setenv("DOCKER_CONFIG", t.TempDir()) }

func open(t *testing.T, ref string, p resolve.Policy, local bool) (*image.Image, error) {
	t.Helper()
	m, err := resolve.Open(t.Context(), ref, "", p, local, resolve.Options{})
	if err == nil {
		t.Cleanup(func() { m.Close() })
	}
	return m, err
}

func denied(t *testing.T, err error, words ...string) {
	t.Helper()
	if !errors.Is(err, scanner.ErrDenied) {
		t.Errorf("error %v, want one that is denied", err)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("the error does not say %q: %v", w, err)
		}
	}
}

func TestAddressesInReferences(t *testing.T) {
	noCredentials(t)
	for _, host := range []string{
		"169.254.169.254", "[fe80::1]", "127.0.0.1:1", "localhost:1", "[::1]:1", "0.0.0.0:1", "[::]:1", "[::ffff:169.254.169.254]:80",
		"[::ffff:7f00:1]:1", "[fd00:ec2::254]", "224.0.0.1:5000", "100.100.100.200", "[64:ff9b::a9fe:a9fe]:80", "x.localhost:1",
	} {
		_, err := open(t, host+"/team/app:1", resolve.Policy{PlainHTTP: []string{host}}, false)
		denied(t, err, "--allow-registry")
	}
}

// hostile is a registry on this machine that may be used by name, and that sends elsewhere.
func hostile(t *testing.T, handler http.HandlerFunc) (host string) {
	t.Helper()
	noCredentials(t)
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

func TestRedirects(t *testing.T) {
	p := newParts("layer")
	for _, to := range []string{
		"http://169.254.169.254/latest/meta-data/", "http://[::ffff:a9fe:a9fe]/", "http://[fe80::1%25lo]/", "http://127.0.0.1:1/", "http://localhost:1/",
		"http://[fd00:ec2::254]/", "http://0.0.0.0:1/", "https://169.254.169.254/",
	} {
		for _, what := range []string{"/v2/", "/manifests/", "/blobs/"} {
			g := new(registrytest.Registry)
			p.serve(g, "1")
			g.Before = func(w http.ResponseWriter, r *http.Request) bool {
				send := what == "/v2/" && r.URL.Path == what || what != "/v2/" && strings.Contains(r.URL.Path, what)
				if send {
					http.Redirect(w, r, to, http.StatusFound)
				}
				return send
			}
			host := hostile(t, g.ServeHTTP)
			_, err := open(t, host+"/app:1", resolve.Policy{Registries: []string{host}}, false)
			denied(t, err)
		}
	}
}

// Layers are fetched long after the reference was opened, under the same policy.
func TestRedirectedLayer(t *testing.T) {
	var reached bool
	inside := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		reached = true
		io.WriteString(w, "layer")
	}))
	defer inside.Close()
	g := new(registrytest.Registry)
	p := newParts("layer")
	p.serve(g, "1")
	g.Before = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, registrytest.Digest(p.layer)) {
			return false
		}
		http.Redirect(w, r, inside.URL, http.StatusTemporaryRedirect)
		return true
	}
	host := hostile(t, g.ServeHTTP)
	m, err := open(t, host+"/app:1", resolve.Policy{Registries: []string{host}}, false)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := m.Layers[0].Open(t.Context()); !errors.Is(err, image.ErrForbidden) || reached {
		if err == nil {
			r.Close()
		}
		t.Errorf("error %v, reached %v", err, reached)
	}
	// Somebody who could go there alone is not kept from it.
	if m, err = open(t, host+"/app:1", resolve.Policy{}, true); err != nil {
		t.Fatal(err)
	}
	r, err := m.Layers[0].Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if data, err := io.ReadAll(r); err != nil || string(data) != "layer" {
		t.Errorf("%q, %v", data, err)
	}
}

func TestTokenRealms(t *testing.T) {
	var reached bool
	inside := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		reached = true
		io.WriteString(w, `{"token":"x"}`)
	}))
	defer inside.Close()
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(inside.URL, "http://"))
	for realm, words := range map[string]string{
		"http://localhost:" + port + "/token": "--allow-registry",
		"http://x.localhost:1/token":          "--allow-registry",
		// go-containerregistry refuses realms that are written as such addresses before anything is dialled.
		inside.URL + "/token": "realm", "http://169.254.169.254/token": "realm", "https://[fe80::1]/token": "realm",
	} {
		host := hostile(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf("Bearer realm=%q,service=\"r\"", realm))
			w.WriteHeader(http.StatusUnauthorized)
		})
		_, err := open(t, host+"/app:1", resolve.Policy{Registries: []string{host}}, false)
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: error %v, want one with %q", realm, err, words)
		}
	}
	if reached {
		t.Error("a realm on this machine was asked for a token")
	}
}

func TestNamedRegistry(t *testing.T) {
	g := new(registrytest.Registry)
	digest := newParts("layer").serve(g, "1")
	host := hostile(t, g.ServeHTTP)
	name, port, _ := net.SplitHostPort(host)
	for _, p := range []resolve.Policy{{Registries: []string{host}}, {Registries: []string{name}}} {
		m, err := open(t, host+"/app:1", p, false)
		if err != nil {
			t.Fatal(err)
		}
		if got := (scanner.Target{Digest: digest, Size: 5, Layers: 1}); resolve.Target(m) != got {
			t.Errorf("%+v, want %+v", resolve.Target(m), got)
		}
	}
	before := len(g.Requests())
	for _, p := range []resolve.Policy{{}, {Registries: []string{"127.0.0.1:1"}}, {Registries: []string{"r.example:" + port}}, {PlainHTTP: []string{host}}} {
		_, err := open(t, host+"/app:1", p, false)
		denied(t, err, "loopback", "--allow-registry")
	}
	if after := len(g.Requests()); after != before {
		t.Errorf("%d requests came through", after-before)
	}
}

// An attempt opens what was asked for, wherever the tag leads meanwhile.
func TestDigest(t *testing.T) {
	g := new(registrytest.Registry)
	digest := newParts("old").serve(g, "1")
	newParts("new").serve(g, "1")
	host := hostile(t, g.ServeHTTP)
	pinned := func(ref, digest string) (*image.Image, error) {
		m, err := resolve.Open(t.Context(), ref, "", resolve.Policy{}, true, resolve.Options{Digest: digest})
		if err == nil {
			m.Close()
		}
		return m, err
	}
	if m, err := pinned(host+"/app:1", digest); err != nil || m.Digest != digest {
		t.Errorf("%+v, %v", m, err)
	}
	dir := t.TempDir()
	newParts("old").layout(t, dir)
	if m, err := pinned("oci-dir:"+dir, digest); err != nil || m.Digest != digest {
		t.Errorf("%+v, %v", m, err)
	}
	gone := registrytest.Digest([]byte("gone"))
	for _, ref := range []string{host + "/app:1", "oci-dir:" + dir, "dir:" + dir} {
		if _, err := pinned(ref, gone); !errors.Is(err, scanner.ErrNotFound) || !strings.Contains(err.Error(), "removed or replaced") {
			t.Errorf("%s: %v", ref, err)
		}
	}
}

func TestKindsOfErrors(t *testing.T) {
	status := http.StatusNotFound
	host := hostile(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "0")
		w.WriteHeader(status)
	})
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for _, c := range []struct {
		status int
		ref    string
		want   error
	}{
		{401, host + "/app:1", scanner.ErrDenied},
		{200, "dir:/nowhere-at-all", scanner.ErrNotFound},
		{503, host + "/app:1", scanner.ErrUnavailable},
		{200, closed.Addr().String() + "/app:1", scanner.ErrUnavailable},
		{200, "UPPER/case", scanner.ErrInvalid},
		{200, "oci-dir:" + t.TempDir(), scanner.ErrNotFound},
		{200, "docker-archive:" + os.Args[0], scanner.ErrInvalid},
	} {
		status = c.status
		if _, err := open(t, c.ref, resolve.Policy{}, true); !errors.Is(err, c.want) {
			t.Errorf("%d, %s: %v, want %v", c.status, c.ref, err, c.want)
		}
	}
}

func TestCheck(t *testing.T) {
	if err := (resolve.Policy{Paths: []string{"/srv/images"}, Registries: []string{"r.example:5000", "[::1]:5000", "localhost"}}).Check(); err != nil {
		t.Error(err)
	}
	for _, p := range []resolve.Policy{{Paths: []string{"images"}}, {Paths: []string{""}}, {Registries: []string{"https://r.example"}}, {PlainHTTP: []string{"r.example/app"}}, {Registries: []string{""}}} {
		if p.Check() == nil {
			t.Errorf("%+v passes", p)
		}
	}
}
