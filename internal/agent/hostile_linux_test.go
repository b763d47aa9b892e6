package agent

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"stella/internal/oom/tree/treetest"
)

// A cgroup has the name that its maker chose: any bytes but /, NUL and a newline (kernel/cgroup/cgroup.c,
// cgroup_mkdir). Kills in such cgroups are told as others are; what is written has no byte that a terminal obeys.
func TestHostileCgroupNames(t *testing.T) {
	p := treetest.Own(t)
	p.Delegate("")
	d := start(t, Options{Root: machine(t, p.Mount, kernelLog)})
	names := []string{
		"\x1b[2J\x1b]0;owned\x07", "a b\tc\rd\x7f", `quote" , = {} \ \x1b`, "...", "..a", "-rf", "%s%n%!", "\xff\xfe", "\u202etxt.exe", "(deleted) ", "<b>&amp;",
		strings.Repeat("n", 255), strings.Repeat("é", 127),
	}
	for _, name := range names {
		p.Make("/"+name, 8*mib)
	}
	for _, name := range names {
		path := "/" + name
		d.sees(asJSON(p.Root + path))
		d.killed(asJSON(p.Root+path), p.Kill(path))
	}

	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", d.socket)
	}
	socket := &http.Client{Transport: &http.Transport{DialContext: dial}}
	for _, path := range []string{"/v1/kills", "/v1/containers", "/v1/processes", "/v1/status"} {
		answer, err := socket.Get("http://agent" + path)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || !json.Valid(text) || obeyed(string(text)) {
			t.Errorf("%s: %v, %.4000q", path, err, text)
		}
	}
	if text := d.log.String(); obeyed(text) {
		t.Errorf("the log: %q", text)
	}
	// A kill is counted when all witnesses had their time.
	var missing []string
	for begin := time.Now(); time.Since(begin) < patience; time.Sleep(100 * time.Millisecond) {
		_, metrics := d.get("/metrics")
		missing = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return hasOneKill(metrics, p.Root+"/"+name) })
		if len(missing) == 0 {
			return
		}
	}
	t.Errorf("the metrics do not have one kill in each of %q", missing)
}

// hasOneKill reports whether there is a line for the cgroup, in which a backslash stands before a backslash or a quote.
func hasOneKill(metrics, cgroup string) bool {
	label := `id="` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(valid(cgroup)) + `",`
	for line := range strings.Lines(metrics) {
		if strings.HasPrefix(line, "container_oom_events_total{") && strings.Contains(line, label) {
			return strings.HasSuffix(line, "} 1\n")
		}
	}
	return false
}

// asJSON is a text as JSON can have it, in which each byte that is not UTF-8 is another character.
func asJSON(s string) string { return string([]rune(s)) }

// obeyed reports whether there is anything in a text of JSON, or of a log, that a terminal would obey.
func obeyed(text string) bool {
	return strings.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\n' })
}
