package worker

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"stella/bench/ociwrite"
	"stella/internal/scan/image"
	"stella/internal/scanner"
	"stella/internal/testkit"
)

// startRegistry starts Debian's docker-registry on a loopback port until the test ends.
func startRegistry(t *testing.T) (host string) {
	t.Helper()
	testkit.Need(t, testkit.Program("docker-registry"))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host = l.Addr().String()
	l.Close()
	file := filepath.Join(t.TempDir(), "config.yml")
	config := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %q}}\nhttp: {addr: %q}\n", t.TempDir(), host)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("docker-registry", "serve", file)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for range 200 {
		resp, err := http.Get("http://" + host + "/v2/")
		if err == nil {
			resp.Body.Close()
			return host
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("docker-registry did not start")
	return ""
}

// request talks to it, and returns its answer.
func request(t *testing.T, method, address, mediaType string, body []byte, status int) (http.Header, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, address, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", mediaType)
	req.Header.Set("Accept", "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != status {
		t.Fatalf("%s %s: %s %v\n%s", method, address, resp.Status, err, b)
	}
	return resp.Header, b
}

// push copies a layout to a registry, and returns the digest of its manifest.
func push(t *testing.T, ref, base string) string {
	t.Helper()
	m, err := image.Open(t.Context(), ref, image.Options{Platform: "linux/amd64"})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	blobs, err := filepath.Glob(strings.TrimPrefix(ref, "oci-dir:") + "/blobs/sha256/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range blobs {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		h, _ := request(t, http.MethodPost, base+"/blobs/uploads/", "", nil, http.StatusAccepted)
		request(t, http.MethodPut, h.Get("Location")+"&digest="+url.QueryEscape("sha256:"+filepath.Base(name)), "application/octet-stream", b, http.StatusCreated)
	}
	request(t, http.MethodPut, base+"/manifests/1.0", m.MediaType, m.RawManifest, http.StatusCreated)
	return m.Digest
}

// An image of a registry is scanned by digest, and its SBOM is attached to it.
func TestAttach(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	host := startRegistry(t)
	base := "http://" + host + "/v2/team/app"
	digest := push(t, layout(t, ociwrite.Gzip, npm), base)
	p, _ := begin(t, "serve", realLimit)
	in := task(t, host+"/team/app:1.0")
	in.Attach = true
	push(t, layout(t, ociwrite.Gzip, text("other", "x")), base) // the tag moves away
	r := p.Run(t.Context(), in, func(scanner.Progress) {})
	if r.Outcome != scanner.OutcomeSucceeded || r.Result.Attached == "" || r.Result.Components != 1 {
		t.Fatalf("%+v", r)
	}
	var manifest struct {
		ArtifactType string
		Subject      struct{ Digest string }
		Layers       []struct{ Digest, MediaType string }
	}
	_, raw := request(t, http.MethodGet, base+"/manifests/"+r.Result.Attached, "", nil, http.StatusOK)
	if err := json.Unmarshal(raw, &manifest); err != nil {
		t.Fatal(err)
	}
	if manifest.ArtifactType != attachedType || manifest.Subject.Digest != digest || len(manifest.Layers) != 1 || manifest.Layers[0].MediaType != attachedType {
		t.Fatalf("%s", raw)
	}
	_, doc := request(t, http.MethodGet, base+"/blobs/"+manifest.Layers[0].Digest, "", nil, http.StatusOK)
	var bom struct {
		BOMFormat  string
		Components []struct{ PURL string }
	}
	if err := json.Unmarshal(doc, &bom); err != nil {
		t.Fatal(err)
	}
	if bom.BOMFormat != "CycloneDX" || len(bom.Components) != 1 || bom.Components[0].PURL != "pkg:npm/left@1.0.0" {
		t.Errorf("%s", doc)
	}
	_, list := request(t, http.MethodGet, base+"/manifests/"+strings.Replace(digest, ":", "-", 1), "", nil, http.StatusOK)
	if !strings.Contains(string(list), r.Result.Attached) {
		t.Errorf("the list of referrers: %s", list)
	}
	// The next attempt finds all of it there.
	in.OutDir = t.TempDir()
	if again := p.Run(t.Context(), in, func(scanner.Progress) {}); again.Result.Attached != r.Result.Attached {
		t.Errorf("attached again as %s", again.Result.Attached)
	}
}
