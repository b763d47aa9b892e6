package image

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var someDigest = "sha256:" + strings.Repeat("0123456789abcdef", 4)

func TestParseReference(t *testing.T) {
	there := []string{"img", "img.tar", "/a/b", "odd:name", "odd:name@x", "a@b:c", "v1:2", "alpine"}
	exists := func(p string) bool { return slices.Contains(there, p) }
	for in, want := range map[string]reference{
		"registry:alpine:3":                 {scheme: "registry", name: "alpine:3"},
		"registry:img":                      {scheme: "registry", name: "img"},
		"debian":                            {scheme: "registry", name: "debian"},
		"debian:12":                         {scheme: "registry", name: "debian:12"},
		"[::1]:5000/app@" + someDigest:      {scheme: "registry", name: "[::1]:5000/app@" + someDigest},
		"registry":                          {scheme: "registry", name: "registry"},
		"alpine":                            {name: "alpine", path: "alpine"},
		"alpine:3":                          {name: "alpine:3", path: "alpine", tag: "3"},
		"dir:img":                           {scheme: "dir", name: "img", path: "img"},
		"dir:odd:name":                      {scheme: "dir", name: "odd:name", path: "odd:name"},
		"img":                               {name: "img", path: "img"},
		"/a/b:tag":                          {name: "/a/b:tag", path: "/a/b", tag: "tag"},
		"oci-dir:/a/b:x/y:z":                {scheme: "oci-dir", name: "/a/b:x/y:z", path: "/a/b", tag: "x/y:z"},
		"odd:name":                          {name: "odd:name", path: "odd:name"},
		"odd:name@x":                        {name: "odd:name@x", path: "odd:name@x"},
		"odd:name:tag":                      {name: "odd:name:tag", path: "odd:name", tag: "tag"},
		"odd:name@" + someDigest:            {name: "odd:name@" + someDigest, path: "odd:name", digest: someDigest},
		"a@b:c:tag":                         {name: "a@b:c:tag", path: "a@b:c", tag: "tag"},
		"v1:2":                              {name: "v1:2", path: "v1:2"},
		"oci-archive:img.tar@" + someDigest: {scheme: "oci-archive", name: "img.tar@" + someDigest, path: "img.tar", digest: someDigest},
		"oci-dir:img:v1@" + someDigest:      {scheme: "oci-dir", name: "img:v1@" + someDigest, path: "img", digest: someDigest},
		"docker-archive:img.tar:r.test:5000/app:1": {scheme: "docker-archive", name: "img.tar:r.test:5000/app:1", path: "img.tar", tag: "r.test:5000/app:1"},
	} {
		got, err := parseReference(in, exists)
		if err != nil {
			t.Errorf("%q: %v", in, err)
			continue
		}
		if d := cmp.Diff(&want, got, cmp.AllowUnexported(reference{})); d != "" {
			t.Errorf("%q (-want +got):\n%s", in, d)
		}
	}
	for in, want := range map[string]string{
		"img@sha256:abc": "hexadecimal digits", "oci-dir:img:": "empty", "oci-dir:nothing": "does not exist", "dir:": "nothing behind dir:",
		"~/img": "does not exist", "a\x00b": "zero byte", "podman:x": "podman save",
	} {
		if r, err := parseReference(in, exists); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %+v, %v; want %q", in, r, err, want)
		}
	}
}

func FuzzReference(f *testing.F) {
	for _, s := range []string{"alpine", "a/b:c@" + someDigest, "oci-dir:/x:y", "dir:", "docker-archive:a:b:c", "[::1]:5/x", "p:q@sha256:" + strings.Repeat("z", 64)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		exists := func(p string) bool { return len(p)%3 == 1 && !strings.HasPrefix(p, "r") }
		r, err := parseReference(s, exists)
		if err != nil {
			return
		}
		// What was taken apart is all there, and paths are only those that exist or were named as such.
		if !strings.HasSuffix(s, r.name) || r.name == "" || r.tag != "" && r.digest != "" {
			t.Fatalf("%q: %+v", s, r)
		}
		if r.scheme != schemeRegistry && r.scheme != schemeDir && !exists(r.path) || !strings.HasPrefix(r.name, r.path) || !strings.HasSuffix(r.name, r.tag+r.digest) {
			t.Fatalf("%q: %+v", s, r)
		}
		if r.digest != "" {
			if _, err := parseDigest(r.digest); err != nil {
				t.Fatalf("%q: %v", s, err)
			}
		}
	})
}

func FuzzDocuments(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"config":{"digest":"`+someDigest+`"},"layers":[{"digest":"x","size":-1,"urls":["a"]}]}`), "")
	f.Add([]byte(`{"manifests":[{"platform":{"os":"linux"},"annotations":{"org.opencontainers.image.ref.name":"x"}},null]}`), typeOCIIndex)
	f.Add([]byte(`{"os":"linux","rootfs":{"diff_ids":["`+someDigest+`"]},"config":{"Labels":{"a":"b"},"Env":null},"history":[{},null]}`), "x;y")
	f.Fuzz(func(t *testing.T, data []byte, mediaType string) {
		if d, err := parseDocument(data, mediaType); err == nil {
			if d.isIndex() == (d.Config != nil) {
				t.Fatalf("%q is an index and a manifest, or neither", data)
			}
			if d.isIndex() {
				got, _, err := choose(*d.Manifests, wanted{platform: platform{OS: "linux", Architecture: "amd64"}})
				if err == nil && !got.isImage() {
					t.Fatalf("%q: chose %+v", data, got)
				}
			} else if d.Layers != nil && len(*d.Layers) > maxItems {
				t.Fatal("too many layers")
			}
		}
		if c, err := parseConfig(data); err == nil {
			for _, id := range c.diffIDs {
				if _, err := parseDigest(id); err != nil {
					t.Fatal(err)
				}
			}
		}
		pickDocker(data, &reference{tag: mediaType})
	})
}
