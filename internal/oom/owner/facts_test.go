package owner

import (
	"bytes"
	"testing"

	"stella/internal/jsonstream"
	"stella/internal/oom"
)

// Whatever a runtime's file has, what is taken from it is bounded.
func FuzzFacts(f *testing.F) {
	f.Add([]byte(`{"annotations":{"io.kubernetes.cri.container-name":"app","io.kubernetes.cri.container-type":"sandbox"},"linux":{"resources":{"memory":{"limit":7}}}}`))
	f.Add([]byte(`{"Name":"/web","Config":{"Image":"a","Labels":{"io.kubernetes.pod.name":"p","io.kubernetes.docker.type":"podsandbox"}}}`))
	f.Add([]byte(`{"annotations":null,"linux":[],"Config":{"Labels":7}}`))
	f.Fuzz(func(t *testing.T, file []byte) {
		for _, read := range []func(*jsonstream.Decoder, *oom.Container) error{ociSpec, dockerConfig} {
			var c oom.Container
			err := jsonstream.Decode(t.Context(), bytes.NewReader(file), func(d *jsonstream.Decoder) error { return read(d, &c) })
			for _, s := range []string{c.Name, c.Pod, c.Namespace, c.PodUID, c.Image} {
				if len(s) > maxText {
					t.Fatalf("%d bytes, %v", len(s), err)
				}
			}
			if c.LimitBytes < 0 || c.ID != "" || c.Runtime != "" {
				t.Fatalf("%+v, %v", c, err)
			}
		}
	})
}
