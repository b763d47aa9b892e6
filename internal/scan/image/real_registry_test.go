package image_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"stella/internal/scan/image"
	"stella/internal/testkit"
)

const (
	realUser     = "scanner"
	realPassword = "s3cret pass"
	// The line that htpasswd -nbB made of the two above.
	realHtpasswd = "scanner:$2y$05$/B1akKq0TFsxOvd1SxFycO81RssMZF7rZnnk.WgQgNeyHHPbd8g.G\n"
)

// startRegistry starts Debian's docker-registry on a loopback port and stops it after
// the test.
func startRegistry(t *testing.T, withAuth bool) (host string) {
	t.Helper()
	testkit.Need(t, testkit.Program("docker-registry"))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host = l.Addr().String()
	l.Close()
	dir := t.TempDir()
	config := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %q}}\nhttp: {addr: %q}\n", filepath.Join(dir, "data"), host)
	if withAuth {
		users := filepath.Join(dir, "htpasswd")
		if err := os.WriteFile(users, []byte(realHtpasswd), 0o600); err != nil {
			t.Fatal(err)
		}
		config += fmt.Sprintf("auth: {htpasswd: {realm: test, path: %q}}\n", users)
	}
	file := filepath.Join(dir, "config.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd := exec.Command("docker-registry", "serve", file)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("docker-registry said:\n%s", &out)
		}
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

// push uploads blobs, manifests last, and tags root.
func push(t *testing.T, host, repo string, b blobs, root object) {
	t.Helper()
	do := func(method, address, mediaType string, body []byte, status int) *http.Response {
		req, err := http.NewRequestWithContext(t.Context(), method, address, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", mediaType)
		req.SetBasicAuth(realUser, realPassword)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != status {
			t.Fatalf("%s %s: %s", method, address, resp.Status)
		}
		return resp
	}
	base := "http://" + host + "/v2/" + repo
	var manifests, indexes []string
	for d, data := range b {
		var m struct{ MediaType string }
		if bytes.HasPrefix(data, []byte("{")) {
			mustJSON(t, data, &m)
		}
		switch m.MediaType {
		case ociManifest:
			manifests = append(manifests, d)
		case ociIndex:
			indexes = append(indexes, d)
		}
		location := do("POST", base+"/blobs/uploads/", "", nil, http.StatusAccepted).Header.Get("Location")
		do("PUT", location+"&digest="+url.QueryEscape(d), "application/octet-stream", data, http.StatusCreated)
	}
	for _, d := range manifests {
		do("PUT", base+"/manifests/"+d, ociManifest, b[d], http.StatusCreated)
	}
	for _, d := range indexes {
		do("PUT", base+"/manifests/"+d, ociIndex, b[d], http.StatusCreated)
	}
	d := root["digest"].(string)
	do("PUT", base+"/manifests/latest", root["mediaType"].(string), b[d], http.StatusCreated)
}

func TestRealRegistry(t *testing.T) {
	host := startRegistry(t, false)
	t.Setenv("HOME", t.TempDir())
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	b := blobs{}
	big := strings.Repeat("a layer of three MiB", 3<<20/20)
	amd := b.image("linux/amd64", big, "two")
	idx := b.index(amd, b.image("linux/arm64", "three"))
	push(t, host, "team/app", b, idx)
	for _, ref := range []string{host + "/team/app", "registry:" + host + "/team/app:latest", host + "/team/app@" + amd["digest"].(string)} {
		m := open(t, ref, image.Options{Platform: "linux/amd64", UserAgent: "stella-test"})
		if m.Digest != amd["digest"] || len(m.Layers) != 2 {
			t.Errorf("%s: %+v", ref, m)
		}
		for i, want := range []string{big, "two"} {
			if got, err := layerBytes(t, &m.Layers[i]); err != nil || string(got) != want {
				t.Errorf("%s: layer %d: %d bytes, %v", ref, i, len(got), err)
			}
		}
	}
	if err := refused(t, host+"/team/nothing", image.Options{}, "404", "check the repository"); !errors.Is(err, image.ErrNotFound) {
		t.Errorf("%v is not ErrNotFound", err)
	}
}

func TestRealRegistryCredentials(t *testing.T) {
	host := startRegistry(t, true)
	b := blobs{}
	img := b.image("linux/amd64", "one")
	push(t, host, "private", b, img)
	configure := func(config string) {
		t.Setenv("HOME", t.TempDir())
		dir := t.TempDir()
		t.Setenv("DOCKER_CONFIG", dir)
		if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	o := image.Options{Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	ref := host + "/private"

	configure(`{}`)
	err := refused(t, ref, o, "no credentials", filepath.Join(os.Getenv("DOCKER_CONFIG"), "config.json"), "docker login "+host)
	if !errors.Is(err, image.ErrAuth) {
		t.Errorf("%v is not ErrAuth", err)
	}
	// base64 of "scanner:s3cret wrong"
	configure(`{"auths":{"` + host + `":{"auth":"c2Nhbm5lcjpzM2NyZXQgd3Jvbmc="}}}`)
	if err := refused(t, ref, o, "were refused"); !errors.Is(err, image.ErrAuth) || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("%v", err)
	}
	// base64 of "scanner:s3cret pass"
	configure(`{"auths":{"` + host + `":{"auth":"c2Nhbm5lcjpzM2NyZXQgcGFzcw=="}}}`)
	m := open(t, ref, o)
	if got, err := layerBytes(t, &m.Layers[0]); err != nil || string(got) != "one" {
		t.Errorf("%q, %v", got, err)
	}

	configure(`{"credHelpers":{"` + host + `":"stellatest"}}`)
	bin := t.TempDir()
	asked := filepath.Join(bin, "asked")
	helper := func(script string) {
		if err := os.WriteFile(filepath.Join(bin, "docker-credential-stellatest"), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	helper(`echo "args: $*; asked for: $(cat)" >'` + asked + `'; echo '{"ServerURL":"` + host + `","Username":"scanner","Secret":"s3cret pass"}'` + "\n")
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	m = open(t, ref, o)
	if got, err := layerBytes(t, &m.Layers[0]); err != nil || string(got) != "one" {
		t.Errorf("%q, %v", got, err)
	}
	if got, _ := os.ReadFile(asked); !strings.HasPrefix(string(got), "args: get; asked for: "+host) {
		t.Errorf("the helper got %q", got)
	}
	helper("echo '{\"Secret\":\"s3cret pass\"}'; exit 1\n")
	if err := refused(t, ref, o, "credentials", "cannot be read"); !errors.Is(err, image.ErrAuth) || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("%v", err)
	}
	helper("exec sleep 1\n")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := image.Open(ctx, ref, o); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "credential helper") {
		t.Errorf("a helper that hangs: %v", err)
	}
	if strings.Contains(log.String(), "s3cret") {
		t.Errorf("the log has a secret:\n%s", &log)
	}
}
