package image_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stella/internal/scan/image"
	"stella/internal/scan/image/registry/registrytest"
	"stella/internal/spool"
)

// What sha256sum, skopeo inspect and docker-archive's file names say of the image in testdata.
const (
	tinyManifest = "sha256:54f976cd2a16ddfcec101626ae5edd6545813051a06aa62f02cbb6ee75a160ae"
	tinyConfig   = "sha256:d5de6618413b1dbc3a7746ae488fb9b2ff9be6491f2cef3982c0676f2b4e9282"
	tinyLayer1   = "sha256:f0591d4eb7376bea0a41cdc81e05fcb216242d049d6909a600dc8950eade599d"
	tinyLayer2   = "sha256:85148de0ebde732c4f65da593f2f7e4338174c9c3edcefbd4f64c7f7d0687756"
	tinyDiff1    = "sha256:f7ab9b551f40b4d96bf8826d0c934a9b08d6c67f0018b2a830c48111a9c1e3a3"
	tinyDiff2    = "sha256:54f576c07f5253ae867502046b58a355b6151b7e80c3ac8035b89d4d3615077a"
)

func TestRealImages(t *testing.T) {
	layout := writeDir(t, untar(t, fixture(t, "umoci-layout.tar.gz")))
	oci := writeFile(t, "oci.tar", fixture(t, "skopeo-oci.tar.gz"))
	docker := writeFile(t, "docker.tar", fixture(t, "skopeo-docker.tar.gz"))
	compressed := fmt.Sprintf("0 %s %s 173\n1 %s %s 131\n", tinyLayer1, tinyDiff1, tinyLayer2, tinyDiff2)
	plain := fmt.Sprintf("0 %s %s 3072\n1 %s %s 2560\n", tinyDiff1, tinyDiff1, tinyDiff2, tinyDiff2)
	refs := map[string]string{
		"oci-dir:" + layout: compressed, layout: compressed, layout + ":v1": compressed, layout + ":v1-alias": compressed,
		layout + "@" + tinyManifest: compressed, layout + ":ignored@" + tinyManifest: compressed,
		"oci-archive:" + oci: compressed, oci: compressed, oci + ":v1": compressed, oci + "@" + tinyManifest: compressed,
		"docker-archive:" + docker: plain, docker: plain, docker + ":example.test/tiny:1.0": plain, docker + ":1.0": plain,
		docker + "@" + tinyConfig: plain,
	}
	tmp := t.TempDir()
	if mem, err := spool.OnMemory(tmp); err == nil && !mem {
		refs["testdata/skopeo-docker.tar.gz"] = plain
		refs["oci-archive:testdata/skopeo-oci.tar.gz:v1"] = compressed
	}
	for ref, layers := range refs {
		m := open(t, ref, image.Options{TempDir: tmp})
		if d := cmp.Diff(layers, describeLayers(m)); d != "" {
			t.Errorf("%s: layers (-want +got):\n%s", ref, d)
		}
		c := m.Config
		if c.OS != "linux" || c.Architecture != "amd64" || c.Author != "A. Person" || c.Labels["team"] != "blue" || c.History != 3 ||
			c.Created.Format("2006-01-02") != "2026-11-21" || m.ID != tinyConfig || m.Reference != ref {
			t.Errorf("%s: %+v", ref, m)
		}
		if want := map[bool]string{true: "", false: tinyManifest}[layers == plain]; m.Digest != want {
			t.Errorf("%s: digest %q, want %q", ref, m.Digest, want)
		}
		for i := range m.Layers {
			l := &m.Layers[i]
			data, err := layerBytes(t, l)
			if err != nil || registrytest.Digest(data) != l.Digest {
				t.Errorf("%s: %s: %d bytes, %v", ref, l, len(data), err)
			}
			if want := map[bool]image.Verify{true: image.VerifyUncompressed}[layers == plain]; l.Verify != want {
				t.Errorf("%s: Verify %d, want %d", ref, l.Verify, want)
			}
		}
	}
	if left, _ := os.ReadDir(tmp); len(left) > 0 {
		t.Errorf("left in the temporary directory: %v", left)
	}
}

func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	for ref, words := range map[string][]string{
		"":                         {"empty"},
		"registry:":                {"nothing behind registry:"},
		"dir:/does/not/exist":      {"no such file"},
		"oci-dir:/does/not/exist":  {"does not exist"},
		"./nothing":                {"does not exist"},
		"oci:" + dir:               {"oci-dir:PATH"},
		"docker-daemon:alpine:3":   {"docker save"},
		"https://r.test/app":       {"without https://"},
		dir + ":tag":               {"no OCI layout"},
		"oci-archive:" + dir:       {"not a regular file"},
		"docker-archive:/dev/null": {"not a regular file"},
		writeFile(t, "a.txt", []byte("hello, this is no archive at all")): {"not a tar archive"},
		writeFile(t, "a.zst", []byte("\x28\xb5\x2f\xfd.......")):          {"zstd -d"},
		writeFile(t, "a.tar", tarOf(map[string][]byte{"x": nil})):         {"neither oci-layout nor manifest.json", "dir:PATH"},
		"registry:UPPER/Case":                {"not an image reference"},
		"alpine@sha256:abc":                  {"not an image reference"},
		strings.Repeat("a", 9000):            {"9000 bytes"},
		"oci-dir:" + dir:                     {"no index.json"},
		"oci-dir:" + dir + "@sha256:" + "zz": {"digest"},
	} {
		refused(t, ref, image.Options{}, words...)
	}
	refused(t, "r.test/app", image.Options{Platform: "linux"}, "os/architecture")
}

func TestRegistryImage(t *testing.T) {
	b := blobs{}
	amd := b.image("linux/amd64", "one", "two")
	idx := b.index(amd, b.image("linux/arm64/v8", "three"))
	g, o := serve(b, idx)
	o.Platform = "linux/amd64"
	m := open(t, "registry:r.test/team/app", o)
	if m.Name != "r.test/team/app" || m.Digest != amd["digest"] || m.IndexDigest != idx["digest"] || m.MediaType != ociManifest || len(m.Layers) != 2 {
		t.Errorf("%+v", m)
	}
	var wg sync.WaitGroup
	for i, want := range []string{"one", "two", "one", "two"} {
		wg.Go(func() {
			if got, err := layerBytes(t, &m.Layers[i%2]); err != nil || string(got) != want {
				t.Errorf("layer %d: %q, %v", i%2, got, err)
			}
		})
	}
	wg.Wait()
	if m := open(t, "r.test/team/app:latest@"+amd["digest"].(string), o); m.IndexDigest != "" || m.Digest != amd["digest"] {
		t.Errorf("%+v", m)
	}
	err := refused(t, "r.test/team/app:nope", o, "404", "NAME_UNKNOWN")
	if !errors.Is(err, image.ErrNotFound) {
		t.Errorf("%v is not ErrNotFound", err)
	}
	for _, r := range g.Requests() {
		if strings.Contains(r.URL.Path, "/manifests/") && !strings.Contains(r.Header.Get("Accept"), ociIndex) {
			t.Errorf("%s is asked for with Accept: %s", r.URL, r.Header.Get("Accept"))
		}
	}
}

func TestWrongDigestsAreRefused(t *testing.T) {
	b := blobs{}
	img := b.image("linux/amd64", "one")
	var manifest struct{ Config struct{ Digest string } }
	mustJSON(t, b[img["digest"].(string)], &manifest)
	idx := b.index(img)
	for what, d := range map[string]string{"manifest": img["digest"].(string), "configuration": manifest.Config.Digest} {
		changed := blobs{}
		for k, v := range b {
			changed[k] = v
		}
		changed[d] = bytes.Replace(b[d], []byte("{"), []byte("{ "), 1)
		got := registrytest.Digest(changed[d])
		refused(t, writeDir(t, changed.files(idx)), image.Options{}, what, d, got)
		refused(t, writeFile(t, "x.tar", tarOf(changed.files(idx))), image.Options{}, what, d, got)
	}
	g, o := serve(b, img)
	g.SetBlob(manifest.Config.Digest, []byte(`{"os":"plan9"}`))
	refused(t, "r.test/app", o, "configuration", manifest.Config.Digest, registrytest.Digest([]byte(`{"os":"plan9"}`)))
	g, o = serve(b, idx)
	g.Manifest(ociManifest, []byte(`{}`), img["digest"].(string))
	refused(t, "r.test/app", o, "manifest", img["digest"].(string), registrytest.Digest([]byte(`{}`)))
	refused(t, "r.test/app@"+img["digest"].(string), o, "expected "+img["digest"].(string))
}

func TestMalformedDigestsAreRefused(t *testing.T) {
	b := blobs{}
	good := b.add(ociLayer, []byte("one"))
	config := b.json(ociConfig, object{})
	for _, evil := range []string{
		"../../../etc/passwd", "sha256:../../../etc/passwd", "sha256:", "", "md5:d41d8cd98f00b204e9800998ecf8427e",
		"sha256:" + strings.Repeat("A", 64), "sha256:" + strings.Repeat("a", 63), "sha256:" + strings.Repeat("a", 65), "sha512:" + strings.Repeat("a", 64),
		"sha256:" + strings.Repeat("a", 60) + "/../",
	} {
		bad := object{"mediaType": ociLayer, "digest": evil, "size": 3}
		layer := b.json(ociManifest, object{"schemaVersion": 2, "config": config, "layers": []any{good, bad}})
		cfg := b.json(ociManifest, object{"schemaVersion": 2, "config": object{"mediaType": ociConfig, "digest": evil, "size": 3}, "layers": []any{good}})
		child := b.index(object{"mediaType": ociManifest, "digest": evil, "size": 3})
		for _, root := range []object{layer, cfg, child} {
			_, o := serve(b, root)
			refused(t, writeDir(t, b.files(root)), image.Options{}, "digest")
			refused(t, "r.test/app", o, "digest")
		}
	}
}

func TestSHA512(t *testing.T) {
	b := blobs{}
	img := b.image("linux/amd64", "one")
	raw := b[img["digest"].(string)]
	files := b.files(object{"mediaType": ociManifest, "digest": sha512Of(raw), "size": len(raw)})
	files["blobs/"+strings.Replace(sha512Of(raw), ":", "/", 1)] = raw
	if m := open(t, writeDir(t, files), image.Options{}); m.Digest != sha512Of(raw) {
		t.Errorf("digest %s", m.Digest)
	}
	files["blobs/"+strings.Replace(sha512Of(raw), ":", "/", 1)] = append(raw, ' ')
	refused(t, writeDir(t, files), image.Options{}, sha512Of(raw), sha512Of(append(raw, ' ')))
}

func TestSizesAreClaims(t *testing.T) {
	b := blobs{}
	config := b.json(ociConfig, object{})
	layer := b.add(ociLayer, []byte("0123456789"))
	for claim, want := range map[any]string{
		5: "the manifest says 5 bytes, got more", 0: "the manifest says 0 bytes, got more", 11: "the manifest says 11 bytes, got only 10",
		int64(1) << 62: "got only 10", int64(math.MaxInt64): "got only 10", 10: "", nil: "",
	} {
		layer["size"] = claim
		img := b.json(ociManifest, object{"schemaVersion": 2, "config": config, "layers": []any{layer}})
		_, o := serve(b, img)
		for _, ref := range []string{"r.test/app", writeDir(t, b.files(img)), writeFile(t, "x.tar", tarOf(b.files(img)))} {
			m := open(t, ref, o)
			data, err := layerBytes(t, &m.Layers[0])
			if (want == "") != (err == nil) || err != nil && (!strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), layer["digest"].(string))) {
				t.Errorf("%s: claim %v: %v", ref, claim, err)
			}
			if n, ok := claim.(int); ok && n >= 0 && len(data) > n {
				t.Errorf("%s: claim %v: %d bytes were given", ref, claim, len(data))
			}
		}
	}
}

func TestNegativeSizeIsRefused(t *testing.T) {
	b := blobs{}
	layer := b.add(ociLayer, []byte("0123456789"))
	layer["size"] = -1
	img := b.json(ociManifest, object{"schemaVersion": 2, "config": b.json(ociConfig, object{}), "layers": []any{layer}})
	refused(t, writeDir(t, b.files(img)), image.Options{}, layer["digest"].(string), "-1 bytes")
}

func TestForeignLayerSaysWhere(t *testing.T) {
	b := blobs{}
	d := object{"mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "size": 3,
		"digest": registrytest.Digest([]byte("win")), "urls": []string{"https://layers.test/win?sig=secret"}}
	img := b.json(ociManifest, object{"schemaVersion": 2, "config": b.json(ociConfig, object{}), "layers": []any{d}})
	g, o := serve(b, img)
	m := open(t, "r.test/app", o)
	_, err := layerBytes(t, &m.Layers[0])
	if !errors.Is(err, image.ErrNotFound) || !strings.Contains(err.Error(), "foreign") || !strings.Contains(err.Error(), "layers.test") || strings.Contains(err.Error(), "secret") {
		t.Errorf("error %v", err)
	}
	g.Blob([]byte("win")) // pushed with its foreign layers
	if data, err := layerBytes(t, &m.Layers[0]); err != nil || string(data) != "win" {
		t.Errorf("%q, %v", data, err)
	}
}

func TestDirectory(t *testing.T) {
	dir := t.TempDir()
	for _, ref := range []string{dir, "dir:" + dir} {
		m := open(t, ref, image.Options{})
		if m.Dir != dir || m.Name != dir || m.Digest != "" || len(m.Layers) != 1 {
			t.Errorf("%+v", m)
		}
		if _, err := m.Layers[0].Open(t.Context()); err == nil {
			t.Error("the pseudo layer was opened")
		}
	}
}

func TestTruncatedAndFlippedArchives(t *testing.T) {
	for _, name := range []string{"skopeo-oci.tar.gz", "skopeo-docker.tar.gz"} {
		whole := fixture(t, name)
		p := writeFile(t, "x.tar", nil)
		try := func(data []byte, what string) {
			if err := os.WriteFile(p, data, 0o644); err != nil {
				t.Fatal(err)
			}
			m, err := image.Open(t.Context(), p, image.Options{})
			if err != nil {
				return
			}
			defer m.Close()
			if m.ID != tinyConfig {
				t.Errorf("%s: %s: a changed image was opened", name, what)
			}
			for i := range m.Layers {
				layerBytes(t, &m.Layers[i])
			}
		}
		for n := 0; n < len(whole); n += 151 {
			try(whole[:n], fmt.Sprintf("cut at %d", n))
		}
		for n := 0; n < len(whole); n += 61 {
			flipped := bytes.Clone(whole)
			flipped[n] ^= 0x11
			try(flipped, fmt.Sprintf("flipped at %d", n))
		}
	}
}
