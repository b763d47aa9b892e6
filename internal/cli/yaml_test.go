package cli

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"stella/internal/scanner"
)

func TestYAML(t *testing.T) {
	w := scanner.Worker{
		Name: "default-0", State: scanner.WorkerBusy, CPU: 0.5, Job: 12, Image: "yes",
		Progress: scanner.Progress{Layer: -1, Path: "a: b\n\x7f"},
		LastExit: &scanner.Exit{At: time.Unix(0, 0).UTC(), ExitCode: 137, Reason: scanner.RestartOOM, Limit: 64 << 20},
	}
	var out bytes.Buffer
	if err := writeYAML(&out, w); err != nil {
		t.Fatal(err)
	}
	want := `name: default-0
instance: ""
pool: ""
state: busy
limit: 0
isolation: ""
memory: 0
peak: 0
cpu: 0.5
job: 12
image: "yes"
progress:
  layer: -1
  path: "a: b\n\x7F"
lastExit:
  at: "1970-01-01T00:00:00Z"
  exit_code: 137
  reason: oom
  limit: 67108864
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("YAML (-want +got):\n%s", diff)
	}
}

// YAML says what JSON says.
func FuzzYAML(f *testing.F) {
	f.Add(`{"a": [1, 2.5, true, null, {}], "b": "x\u0007y", "": []}`)
	f.Add(`["true", "1", "", " x ", "a: b", "- c", "\u2028"]`)
	f.Fuzz(func(t *testing.T, text string) {
		var v any
		if json.Unmarshal([]byte(text), &v) != nil {
			return
		}
		var out bytes.Buffer
		if err := writeYAML(&out, v); err != nil {
			t.Fatal(err)
		}
		var back any
		if err := yaml.Unmarshal(out.Bytes(), &back); err != nil {
			t.Fatalf("cannot be read again: %v\n%s", err, out.String())
		}
		again, err := json.Marshal(back)
		if err != nil {
			t.Fatalf("%v\n%s", err, out.String())
		}
		var w any
		json.Unmarshal(again, &w)
		if diff := cmp.Diff(v, w); diff != "" {
			t.Errorf("another value comes back (-want +got):\n%s\n%s", diff, out.String())
		}
	})
}
