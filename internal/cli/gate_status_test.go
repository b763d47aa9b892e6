package cli

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"stella/internal/gate"
)

func TestGateRows(t *testing.T) {
	open := &gate.Verdict{Node: "n2", Period: 5 * time.Minute, Time: noon.Add(-time.Minute), Pending: noon.Add(-time.Hour), Since: noon.Add(-time.Minute), Open: true, Results: []gate.Result{{Check: "nodes", Outcome: gate.Pass}}}
	window := &gate.Verdict{Node: "n3", Period: 5 * time.Minute, Time: noon, Pending: noon.Add(-time.Hour), Since: noon.Add(-time.Hour), Results: []gate.Result{
		{Check: "window", Outcome: gate.Block, Reason: "closed", Since: noon.Add(-time.Hour), Until: noon.Add(3 * time.Hour)},
		{Check: "soak", Outcome: gate.Block, Reason: "rebooted", Since: noon.Add(-time.Minute), Until: noon.Add(time.Hour)},
	}}
	stale := &gate.Verdict{Node: "n4", Period: 5 * time.Minute, Time: noon.Add(-11 * time.Minute), Pending: noon.Add(-time.Hour), Since: noon.Add(-time.Hour), Open: true}
	hostile := starving("n7", noon)
	hostile.Results = []gate.Result{{Check: "x\x1b[2J", Outcome: "\x07", Reason: "a\nb", Blockers: []string{"\x1b]0;t"}}}
	var lines []gateLine
	for _, n := range []struct {
		name string
		text map[string]string
	}{
		{"n1", annotated(starving("n1", noon))}, {"n2", annotated(open)}, {"n3", annotated(window)}, {"n4", annotated(stale)},
		{"n5", annotated(&gate.Verdict{Node: "n5", Period: 5 * time.Minute, Time: noon.Add(-5 * day)})}, {"n6", nil}, {"n7", annotated(hostile)},
		{"n8", map[string]string{gate.VerdictAnnotation: "{"}}, {"n9", annotated(open)},
		{"n10", annotated(&gate.Verdict{Node: "n10", Period: 5 * time.Minute, Time: noon, Results: []gate.Result{{Check: "raw_file", Outcome: gate.Unknown, Reason: "raw_file", Detail: "no such directory", Since: noon}}})},
		{"n11", annotated(&gate.Verdict{Node: "n11", Period: 5 * time.Minute, Time: noon, Results: []gate.Result{{Check: "path", Outcome: gate.Block, Reason: "mismatch", Since: noon.Add(-time.Hour)}}})},
		{"n12", annotated(&gate.Verdict{Node: "n12", Period: 5 * time.Minute, Time: noon, Pending: noon, Results: []gate.Result{
			{Check: "nodes", Outcome: gate.Block, Reason: "not_ready", Since: noon}, {Check: "window", Outcome: gate.Block, Reason: "closed", Since: noon, Until: noon.Add(time.Hour)},
		}})},
	} {
		var o gateObject
		o.Metadata.Name, o.Metadata.Annotations = n.name, n.text
		line := gateLineOf(&o, noon)
		if want := n.name != "n5" && n.name != "n6"; line.matters() != want {
			t.Errorf("%s matters: %v; want %v", n.name, !want, want)
		}
		lines = append(lines, line)
	}
	var got bytes.Buffer
	if err := gateRows(lines, noon, false).write(&got, 0, "…"); err != nil {
		t.Fatal(err)
	}
	want := `NODE  PENDING     GATE   BLOCKED BY                                                           SINCE  UNTIL                 LAST LOOK
n1    3d, starves  shut   alerts: firing, window: closed, soak: forbidden?  3d  -  2m
n2    60m  open  -  -  -  60s
n3    60m  shut  window: closed, soak: rebooted  60m  2026-11-21T15:00:00Z  0s
n4    60m  stale  -  -  -  11m
n5    -  -  -  -  -  5d
n6    ?  -  -  -  -  -
n7    3d, starves  shut  x�[2J: a; b?  -  -  2m
n8    ?  -  the annotation gate.stella/verdict: unexpected end of JSON input  -  -  -
n9    ?  -  the annotation gate.stella/verdict is about another node, "n2"  -  -  -
n10   ?  -  whether it wants a reboot cannot be told: no such directory  -  -  0s
n11   -  -  path: mismatch  60m  -  0s
n12   0s  shut  nodes: not_ready, window: closed  0s  -  0s
`
	if diff := cmp.Diff(table(want), table(got.String())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestGateStatus(t *testing.T) {
	a := newGateAPI(t)
	now := time.Now()
	a.nodes["n1"] = annotated(starving("n1", now))
	a.nodes["n2"] = annotated(&gate.Verdict{Node: "n2", Period: 5 * time.Minute, Time: now})
	a.nodes["n3"] = map[string]string{}
	got := a.run("status")
	lines := strings.Split(table(got.stdout), "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[1], "n1 3d, starves shut alerts: firing, ") || got.code != ExitOK {
		t.Errorf("exit %d, %q", got.code, got.stdout)
	}
	const said = "stella: 1 of 3 nodes never had a verdict: no gate runs there, or no reboot was wanted since\n" +
		"stella: warning: n1 waits for longer than 1d; see: stella gate explain n1\n"
	if got.stderr != said {
		t.Errorf("said %q; want %q", got.stderr, said)
	}
	if got := a.run("status", "-A", "-q", "--no-headers", "-o", "wide"); strings.Count(got.stdout, "\n") != 3 || got.stderr != "" || !strings.Contains(got.stdout, `NodeFilesystemFull{mountpoint="/mnt/backup"}, PVCStuckPending`) {
		t.Errorf("all nodes: %q, %q", got.stdout, got.stderr)
	}
	var one []gateLine
	if err := json.Unmarshal([]byte(a.run("status", "n2", "-o", "json").stdout), &one); err != nil || len(one) != 1 || one[0].State != gateIdle || one[0].Verdict == nil {
		t.Errorf("%v: %+v", err, one)
	}
	a.run("status", "n11").want(t, ExitFailed, "", "stella: there is no node \"n11\"; did you mean \"n1\"?\n")
	delete(a.nodes, "n1")
	delete(a.nodes, "n3")
	a.run("status").want(t, ExitOK, "", "stella: no gate says that its node wants a reboot, or that something is wrong\n")
	a.run("status", "-o", "json", "-q").want(t, ExitOK, "[]\n", "")
}

// What is no list of nodes is no cluster in which all is well.
func TestGateStatusCannotTell(t *testing.T) {
	a := newGateAPI(t)
	got := a.run("status")
	if got.code != ExitFailed || !strings.Contains(got.stderr, "says that it has no nodes") {
		t.Errorf("no nodes: exit %d, %q", got.code, got.stderr)
	}
	for _, tt := range []struct {
		status int
		body   string
		code   ExitCode
		want   string
	}{
		{http.StatusOK, "{}", ExitFailed, ""},
		{http.StatusOK, "null", ExitFailed, ""},
		{http.StatusOK, `{"items":[{"metadata":`, ExitFailed, ""},
		{http.StatusInternalServerError, "on fire", ExitFailed, "HTTP status 500"},
		{http.StatusForbidden, `{"kind":"Status","message":"nodes is forbidden"}`, ExitAuth, "nodes is forbidden (HTTP status 403); docs/gate.md has the rights that this needs"},
		{http.StatusUnauthorized, "", ExitAuth, "HTTP status 401"},
	} {
		a.fail = func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(tt.status)
			w.Write([]byte(tt.body))
			return true
		}
		for _, args := range [][]string{{"status"}, {"status", "n1"}, {"explain", "n1"}, {"hold", "n1", "--reason", "x"}, {"release", "n1"}} {
			if got := a.run(args...); got.code != tt.code || got.stdout != "" || !strings.Contains(got.stderr, tt.want) {
				t.Errorf("%d %s: %q: exit %d, %q, %q; want exit %d and %q", tt.status, tt.body, args, got.code, got.stdout, got.stderr, tt.code, tt.want)
			}
		}
	}
	noCluster(t)
	a.run("status").want(t, ExitFailed, "", "stella: there is no kubeconfig, and this is no pod; name a kubeconfig with --kubeconfig or $KUBECONFIG\n")
}
