package cli

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

func TestCreatedBy(t *testing.T) {
	const history = `{"config":{"User":"app","Cmd":["a","b c"]},"history":[
		{"created_by":"ADD root"},{"created_by":"CMD","empty_layer":true},{"created_by":"RUN make"}]}`
	if got := createdBy([]byte(history), 2); !slices.Equal(got, []string{"ADD root", "RUN make"}) {
		t.Errorf("createdBy gives %q", got)
	}
	for _, n := range []int{0, 1, 3} {
		if got := createdBy([]byte(history), n); got != nil {
			t.Errorf("for %d layers createdBy gives %q", n, got)
		}
	}
	for _, raw := range []string{"", "{}", "[]", `{"history":5}`, `{"history":[5]}`, `{"history":[{`, `{"history":{}}`} {
		if got := createdBy([]byte(raw), 1); got != nil {
			t.Errorf("createdBy(%q) gives %q", raw, got)
		}
	}
	c := parseContainerConfig([]byte(history))
	if c == nil || c.User != "app" || quoted(c.Cmd) != `a "b c"` {
		t.Errorf("configuration is %+v", c)
	}
	if parseContainerConfig([]byte("{")) != nil {
		t.Error("half a configuration was read")
	}
}

func FuzzCreatedBy(f *testing.F) {
	f.Add([]byte(`{"history":[{"created_by":"x"}]}`), 1)
	f.Fuzz(func(t *testing.T, raw []byte, n int) {
		if got := createdBy(raw, n); got != nil && len(got) != n {
			t.Errorf("%d steps for %d layers", len(got), n)
		}
	})
}

// On a narrow terminal no row is wider than the terminal; elsewhere nothing is cut.
func TestLayerTableWidth(t *testing.T) {
	step := "RUN " + strings.Repeat("very long ", 50) + "end"
	rows := []layerReport{{Digest: "sha256:" + strings.Repeat("0", 64), Size: 1 << 30, CreatedBy: "/bin/sh -c " + step}}
	for _, width := range []int{0, 20, 50, 80, 200} {
		var out bytes.Buffer
		if err := writeLayerTable(&out, rows, width); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(out.String()) {
			if n := len(line) - 1; width >= 50 && n > width {
				t.Errorf("a line of %d columns on a terminal of %d: %s", n, width, line)
			}
		}
		if width == 0 && !strings.Contains(out.String(), step) {
			t.Errorf("without a terminal the step was cut:\n%s", out.String())
		}
	}
}
