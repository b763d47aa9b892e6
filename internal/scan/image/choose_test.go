package image_test

import (
	"encoding/json"
	"strings"
	"testing"

	"stella/internal/scan/image"
	"stella/internal/scan/image/registry/registrytest"
)

func TestPlatformSelection(t *testing.T) {
	b := blobs{}
	attestation := b.image("unknown/unknown", "attestation")
	artifact := b.image("linux/amd64", "artifact")
	artifact["artifactType"] = "application/spdx+json"
	docker := b.image("linux/arm64", "docker attestation")
	docker["annotations"] = object{"vnd.docker.reference.type": "attestation-manifest"}
	one := map[string]object{}
	for _, p := range []string{"linux/amd64", "linux/arm64/v8", "linux/arm/v5", "linux/arm/v7", "windows/amd64", "linux/amd64/v3", "linux/s390x"} {
		one[p] = b.image(p, p)
	}
	full := b.index(attestation, artifact, docker, one["linux/s390x"], one["linux/amd64/v3"], one["windows/amd64"], one["linux/arm/v5"],
		one["linux/amd64"], one["linux/arm64/v8"], one["linux/arm/v7"])
	only := b.index(attestation, one["linux/s390x"])
	none := b.index(attestation, artifact)
	two := b.index(one["linux/s390x"], one["windows/amd64"])
	nested := b.index(b.index(b.index(one["linux/amd64"])))
	deep := b.index(b.index(b.index(b.index(one["linux/amd64"]))))
	for _, test := range []struct {
		root             object
		platform, choice string
		refusal          []string
	}{
		{full, "linux/amd64", "linux/amd64", nil},
		{full, "linux/x86_64", "linux/amd64", nil},
		{full, "Linux/AMD64/v1", "linux/amd64", nil},
		{full, "linux/amd64/v3", "linux/amd64/v3", nil},
		{full, "linux/arm64", "linux/arm64/v8", nil},
		{full, "linux/aarch64/v8", "linux/arm64/v8", nil},
		{full, "linux/arm", "linux/arm/v7", nil},
		{full, "linux/arm/v6", "linux/arm/v5", nil},
		{full, "linux/arm/7", "linux/arm/v7", nil},
		{full, "windows/amd64", "windows/amd64", nil},
		{full, "linux/riscv64", "", []string{"no image for platform linux/riscv64", "linux/s390x", "windows/amd64", "linux/arm64/v8"}},
		{full, "linux/arm64/v9", "", []string{"linux/arm64/v9"}},
		{only, "", "linux/s390x", nil},
		{only, "linux/amd64", "", []string{"there are: linux/s390x"}},
		{none, "", "", []string{"only attestations or artifacts"}},
		{two, "linux/amd64", "", []string{"linux/s390x, windows/amd64"}},
		{nested, "linux/amd64", "linux/amd64", nil},
		{nested, "linux/arm64", "", []string{"there are: linux/amd64"}},
		{deep, "", "", []string{"nested more than 4 deep"}},
		{one["linux/s390x"], "", "linux/s390x", nil},
		{one["linux/s390x"], "linux/amd64", "", []string{"the only one is for linux/s390x"}},
		{one["linux/arm/v7"], "linux/arm/v7", "linux/arm/v7", nil},
	} {
		_, o := serve(b, test.root)
		o.Platform = test.platform
		for _, ref := range []string{"r.test/app", writeDir(t, b.files(test.root))} {
			if test.choice == "" {
				refused(t, ref, o, test.refusal...)
				continue
			}
			m, err := image.Open(t.Context(), ref, o)
			if err != nil {
				t.Errorf("%q: %v", test.platform, err)
				continue
			}
			if got, _ := layerBytes(t, &m.Layers[0]); string(got) != test.choice {
				t.Errorf("%q: chose %q, want %q", test.platform, got, test.choice)
			}
			if (len(m.Warnings) > 0) != (test.root["digest"] == only["digest"]) {
				t.Errorf("%q: warnings %q", test.platform, m.Warnings)
			}
			m.Close()
		}
	}
	refused(t, "r.test/app", image.Options{Platform: "linux/amd 64"}, "not a name")
	refused(t, "r.test/app", image.Options{Platform: "linux//v8"}, "not a name")
}

func TestNamesInLayouts(t *testing.T) {
	b := blobs{}
	one, two, three := b.image("linux/amd64", "one"), b.image("linux/amd64", "two"), b.image("", "three")
	arm := b.image("linux/arm64", "arm")
	container := named(two, "2.0")
	container["annotations"].(object)["io.containerd.image.name"] = "docker.io/library/two:2.0"
	several := []object{named(one, "1.0"), container, named(three, "registry.test:5000/three:3")}
	for _, test := range []struct {
		entries []object
		suffix  string
		choice  string
		refusal []string
	}{
		{several, "", "", []string{"several images", "1.0, docker.io/library/two:2.0, registry.test:5000/three:3"}},
		{several, ":1.0", "one", nil},
		{several, ":2.0", "two", nil},
		{several, ":two:2.0", "two", nil},
		{several, ":docker.io/library/two:2.0", "two", nil},
		{several, ":registry.test:5000/three:3", "three", nil},
		{several, "@" + one["digest"].(string), "one", nil},
		{[]object{named(one, "one:1"), named(two, "two:1")}, ":docker.io/library/two:1", "two", nil},
		{several, ":9.9", "", []string{`no image is called "9.9"`, "1.0"}},
		{several, ":", "", []string{"tag", "empty"}},
		{several, "@" + arm["digest"].(string), "", []string{"no image with the digest", "1.0"}},
		{[]object{b.index(one, arm)}, "@" + arm["digest"].(string), "arm", nil},
		{[]object{one, arm}, "", "one", nil},                                       // several platforms in index.json itself
		{[]object{named(one, "x"), named(arm, "x")}, "", "one", nil},               // under one name
		{[]object{named(one, "x"), named(arm, "y")}, "", "", []string{"x, y"}},     // two names are two images
		{[]object{named(three, "x"), named(three, "y")}, "", "three", nil},         // one image, two names
		{[]object{three, b.image("", "four")}, "", "", []string{"several images"}}, // no names at all
		{nil, "", "", []string{"names no image"}},
	} {
		for _, path := range []string{writeDir(t, b.files(test.entries...)), writeFile(t, "x.tar", tarOf(b.files(test.entries...)))} {
			o := image.Options{}
			if strings.Contains(test.choice, "one") && test.suffix == "" {
				o.Platform = "linux/amd64"
			}
			if test.choice == "" {
				refused(t, path+test.suffix, o, test.refusal...)
			} else if m, err := image.Open(t.Context(), path+test.suffix, o); err != nil {
				t.Errorf("%q: %v", test.suffix, err)
			} else if got, _ := layerBytes(t, &m.Layers[0]); string(got) != test.choice {
				t.Errorf("%q: %q, want %q", test.suffix, got, test.choice)
			}
		}
	}
}

func TestDocumentsThatAreRefused(t *testing.T) {
	config := blobs{}.json(ociConfig, object{})
	for raw, words := range map[string][]string{
		`{"schemaVersion":1,"name":"old","fsLayers":[{"blobSum":"x"}]}`:                                          {"schema 1", "push the image again"},
		`{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v1+prettyjws"}`:            {"schema 1"},
		`{"schemaVersion":2,"config":{},"layers":[],"manifests":[]}`:                                             {"ambiguous"},
		`{"schemaVersion":2,"mediaType":"` + ociIndex + `","config":{},"layers":[]}`:                             {"ambiguous"},
		`{"schemaVersion":2,"mediaType":"` + ociManifest + `","manifests":[]}`:                                   {"ambiguous"},
		`{"schemaVersion":2,"layers":[]}`:                                                                        {"no configuration"},
		`{"schemaVersion":2,"config":{"mediaType":"application/vnd.cncf.helm.config.v1+json"},"layers":[]}`:      {"Helm chart"},
		`{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.empty.v1+json"},"artifactType":"text/x"}`: {"artifact of type", "text/x"},
		`{"schemaVersion":2,"config":{"mediaType":"application/vnd.wasm.config.v1+json"}}`:                       {"not a container image"},
		`{"schemaVersion":2}`: {"neither a manifest nor an index"},
		`[]`:                  {"not valid"},
		``:                    {"not valid"},
		`{"manifests":[` + strings.Repeat(`{},`, 20_000) + `{}]}`:                         {"more than 16384"},
		`{"config":{},"layers":[` + strings.Repeat(`{},`, 1<<20) + `{}]}`:                 {"more than 16384"},
		`{"config":` + jsonOf(config) + `,"layers":[` + strings.Repeat(" ", 4<<20) + `]}`: {"4194304"},
	} {
		b := blobs{}
		d := b.add("", []byte(raw))
		g, o := serve(blobs{}, d)
		g.Manifest("application/json", []byte(raw), "latest")
		refused(t, "r.test/app", o, words...)
		refused(t, writeDir(t, b.files(d)), image.Options{}, words...)
	}
}

func jsonOf(v any) string { s, _ := json.Marshal(v); return string(s) }

func TestConfigsThatAreRefused(t *testing.T) {
	for raw, words := range map[string][]string{
		`{"rootfs":{"diff_ids":["` + strings.Repeat(`","`, 1<<20) + `"]}}`: {"more than 16384"},
		`{"rootfs":{"diff_ids":["sha256:../../x"]}}`:                       {"diffID of layer 0"},
		`{"config":{"Env":["` + strings.Repeat(`","`, 20_000) + `"]}}`:     {"more than 16384"},
		`{"config":{"Labels":{` + manyLabels(20_000) + `"x":"y"}}}`:        {"more than 16384 labels"},
		`{"os":"` + strings.Repeat("x", 8<<20) + `"}`:                      {"8388608"},
		`{"os":5}`: {"not valid"},
		`nonsense`: {"not valid"},
	} {
		b := blobs{}
		d := b.json(ociManifest, object{"schemaVersion": 2, "config": b.add(ociConfig, []byte(raw))})
		refused(t, writeDir(t, b.files(d)), image.Options{}, words...)
	}
}

func manyLabels(n int) string {
	var s strings.Builder
	for i := range n {
		s.WriteString(`"l` + strings.Repeat("x", i%7) + string(rune('a'+i%26)) + jsonOf(i) + `":"",`)
	}
	return s.String()
}

func TestDockerArchives(t *testing.T) {
	config := []byte(`{"os":"linux","architecture":"amd64","rootfs":{"diff_ids":["` + tinyDiff1 + `","` + tinyDiff2 + `"]}}`)
	id := strings.TrimPrefix(registrytest.Digest(config), "sha256:")
	entry := func(tags, config, layers string) string {
		return `{"Config":"` + config + `","RepoTags":` + tags + `,"Layers":` + layers + `}`
	}
	two := `["a/layer.tar","b/layer.tar"]`
	base := map[string][]byte{id + ".json": config, "a/layer.tar": []byte("A"), "b/layer.tar": []byte("B"), "odd-name": config}
	with := func(manifest string) string {
		files := map[string][]byte{"manifest.json": []byte(manifest)}
		for k, v := range base {
			files[k] = v
		}
		return writeFile(t, "save.tar", tarOf(files))
	}
	both := "[" + entry(`["one:1"]`, id+".json", two) + "," + entry(`["two:2","two:latest"]`, "odd-name", two) + "]"
	refused(t, with(both), image.Options{}, "several images", "one:1, two:2, two:latest")
	refused(t, with(both)+":three", image.Options{}, `no image is called "three"`, "two:latest")
	refused(t, with("[]"), image.Options{}, "names no image")
	refused(t, with("{}"), image.Options{}, "manifest.json is not valid")
	refused(t, with("["+entry("null", id+".json", `["a/layer.tar"]`)+"]"), image.Options{}, "names 1 layers and the configuration 2")
	refused(t, with("["+entry("null", strings.Repeat("0", 64)+".json", two)+"]"), image.Options{}, "no "+strings.Repeat("0", 64))
	refused(t, with("["+entry("null", "../../etc/passwd", two)+"]"), image.Options{}, "archive has no")
	refused(t, with("["+entry("null", id+".json", `["`+strings.Repeat(`","`, 1<<20)+`"]`)+"]"), image.Options{}, "more than 16384")
	base[strings.Repeat("0", 64)+".json"] = config
	refused(t, with("["+entry("null", strings.Repeat("0", 64)+".json", two)+"]"), image.Options{}, "configuration", "sha256:"+id)
	for _, suffix := range []string{":two:2", ":docker.io/library/two:latest", ":2"} {
		m := open(t, with(both)+suffix, image.Options{})
		if got, err := layerBytes(t, &m.Layers[1]); string(got) != "B" || m.ID != "sha256:"+id {
			t.Errorf("%s: %q, %v, ID %s", suffix, got, err, m.ID)
		}
	}
	missing := open(t, with("["+entry("null", id+".json", `["a/layer.tar","c/layer.tar"]`)+"]"), image.Options{})
	if _, err := layerBytes(t, &missing.Layers[1]); err == nil || !strings.Contains(err.Error(), "no c/layer.tar") {
		t.Errorf("error %v", err)
	}
}
