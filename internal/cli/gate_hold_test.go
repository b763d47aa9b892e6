package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"stella/internal/gate"
)

func TestGateHoldAndRelease(t *testing.T) {
	a := newGateAPI(t)
	a.nodes["n1"] = map[string]string{"other": "stays"}
	got := a.run("hold", "n1", "--reason", "disk", "--for", "2h")
	h := a.hold(a.nodes["n1"])
	if h.Reason != "disk" || h.By != "ann" || h.Until.Sub(h.Since) != 2*time.Hour || time.Since(h.Since) > time.Minute || a.nodes["n1"]["other"] != "stays" {
		t.Errorf("held by %+v, %v", h, a.nodes["n1"])
	}
	got.want(t, ExitOK, fmt.Sprintf("node n1 held: disk, by ann since %s, until %s\nbefore: not held\n", timeText(h.Since), timeText(h.Until)), "")
	// One's own hold may be replaced, that of another person not without saying so.
	got = a.run("hold", "n1", "--reason", "still", "--until", "2999-01-01T00:00:00Z")
	got.want(t, ExitOK, fmt.Sprintf("node n1 held: still, by ann since %s, until 2999-01-01T00:00:00Z\nbefore: disk, by ann since %s, until %s\n", timeText(a.hold(a.nodes["n1"]).Since), timeText(h.Since), timeText(h.Until)), "")
	got = a.run("hold", "n1", "--reason", "mine", "--by", "bob", "--for", "1m")
	if got.code != ExitFailed || !strings.Contains(got.stderr, "node n1 already held: still, by ann since ") || a.hold(a.nodes["n1"]).By != "ann" {
		t.Errorf("exit %d, %q", got.code, got.stderr)
	}
	if got = a.run("hold", "n1", "--reason", "mine", "--by", "bob", "--replace", "-o", "json"); got.code != ExitOK || a.hold(a.nodes["n1"]).By != "bob" || !a.hold(a.nodes["n1"]).Until.IsZero() {
		t.Errorf("exit %d, %q, %q", got.code, got.stderr, got.stdout)
	}
	var changed heldChange
	if err := json.Unmarshal([]byte(got.stdout), &changed); err != nil || changed.Before.By != "ann" || changed.After.By != "bob" {
		t.Errorf("%v: %s", err, got.stdout)
	}
	got = a.run("release", "n1")
	if _, held := a.nodes["n1"][gate.HoldAnnotation]; held || got.code != ExitOK || !strings.HasPrefix(got.stdout, "node n1 released\nbefore: mine, by bob since ") || got.stderr != "" {
		t.Errorf("exit %d, %q, %q", got.code, got.stdout, got.stderr)
	}
	a.run("release", "n1").want(t, ExitOK, "node n1 not held, so there is nothing to release\nbefore: not held\n", "")
	if want := slices.Repeat([]string{"PATCH /api/v1/nodes/n1"}, 4); !slices.Equal(a.changes, want) {
		t.Errorf("changes are %q", a.changes)
	}
	a.nodes["n1"][gate.HoldAnnotation] = `{"reason":"over","by":"bob","since":"2020-01-01T00:00:00Z","until":"2020-01-02T00:00:00Z"}`
	if got = a.run("hold", "n1", "--reason", "x"); got.code != ExitOK || a.hold(a.nodes["n1"]).By != "ann" {
		t.Errorf("a hold that is over is not replaced: exit %d, %q", got.code, got.stderr)
	}
	a.run("hold", "n2", "--reason", "x").want(t, ExitFailed, "", "stella: there is no node \"n2\"; did you mean \"n1\"?\n")
}

// All nodes are held by the Lease, which may not be there yet.
func TestGateHoldAll(t *testing.T) {
	a := newGateAPI(t)
	a.nodes["n1"] = map[string]string{}
	a.run("release", "--all").want(t, ExitOK, "all nodes not held, so there is nothing to release\nbefore: not held\n", "")
	for _, reason := range []string{"freeze", "still"} {
		if got := a.run("hold", "--all", "--reason", reason); got.code != ExitOK || a.hold(a.lease).Reason != reason {
			t.Errorf("exit %d, %q", got.code, got.stderr)
		}
	}
	if got := a.run("release", "n1"); got.code != ExitOK || !strings.Contains(got.stderr, "warning: all nodes are still held: still, by ann since ") {
		t.Errorf("exit %d, %q", got.code, got.stderr)
	}
	if got := a.run("release", "--all"); got.code != ExitOK || a.lease[gate.HoldAnnotation] != "" {
		t.Errorf("exit %d, %q", got.code, got.stderr)
	}
	if want := []string{"POST " + gateLeases, "PATCH " + gateLeases + "/" + gate.LeaseName, "PATCH " + gateLeases + "/" + gate.LeaseName}; !slices.Equal(a.changes, want) {
		t.Errorf("changes are %q; want %q", a.changes, want)
	}
}

func TestGateDryRun(t *testing.T) {
	a := newGateAPI(t)
	a.nodes["n1"] = map[string]string{}
	got := a.run("hold", "n1", "--reason", "x", "--dry-run")
	if got.code != ExitOK || len(a.nodes["n1"]) != 0 || !strings.Contains(got.stdout, " (not kept: --dry-run)\n") || !slices.Equal(a.changes, []string{"PATCH /api/v1/nodes/n1?dryRun=All"}) {
		t.Errorf("exit %d, %q, %q", got.code, got.stdout, a.changes)
	}
}

// Somebody else's change between reading and writing is neither lost nor an end.
func TestGateHoldMeanwhile(t *testing.T) {
	a := newGateAPI(t)
	a.nodes["n1"] = map[string]string{}
	faster := 2
	a.meanwhile = func() {
		if faster--; faster >= 0 {
			a.version++
			a.nodes["n1"][gate.HoldAnnotation] = `{"reason":"first","by":"bob","since":"2026-11-21T12:00:00Z"}`
		}
	}
	got := a.run("hold", "n1", "--reason", "x")
	if got.code != ExitFailed || !strings.Contains(got.stderr, "node n1 already held: first, by bob") || len(a.changes) != 0 {
		t.Errorf("exit %d, %q, %q", got.code, got.stderr, a.changes)
	}
	if got = a.run("hold", "n1", "--reason", "x", "--replace"); got.code != ExitOK || !strings.Contains(got.stdout, "before: first, by bob") || a.hold(a.nodes["n1"]).By != "ann" {
		t.Errorf("exit %d, %q, %q", got.code, got.stderr, got.stdout)
	}
	a.meanwhile = func() { a.version++ }
	if got = a.run("release", "n1"); got.code != ExitFailed || !strings.Contains(got.stderr, "others changed node n1 each of 5 times that it was tried; try again") {
		t.Errorf("exit %d, %q", got.code, got.stderr)
	}
}

// A hold that cannot be read holds: it can be released, and what it was is printed so that no terminal obeys it.
func TestGateReleaseUnreadable(t *testing.T) {
	a := newGateAPI(t)
	for _, text := range []string{"", "{", `{"reason":""}`, "\x1b[2J", strings.Repeat("x", gate.MaxAnnotation+1)} {
		a.nodes["n1"] = map[string]string{gate.HoldAnnotation: text}
		got := a.run("release", "n1")
		if _, held := a.nodes["n1"][gate.HoldAnnotation]; held || got.code != ExitOK || !strings.HasPrefix(got.stdout, "node n1 released\nbefore: held by what cannot be read: ") || strings.Contains(got.stdout, "\x1b") {
			t.Errorf("%.20q: exit %d, %q, %q", text, got.code, got.stdout, got.stderr)
		}
	}
}

// The Lease has the turn, too; package turn tests what becomes of it.
func TestGateReleaseTurn(t *testing.T) {
	a := newGateAPI(t)
	a.run("release", "n1", "--turn").want(t, ExitOK, "it is not the turn of node n1, so there is nothing to take\n", "")
	holder := "n1"
	a.fail = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPatch {
			holder = ""
			a.version++
		}
		w.Header().Set("Content-Type", "application/json")
		send(w, map[string]any{
			"kind": "Lease", "metadata": map[string]any{"name": gate.LeaseName, "resourceVersion": fmt.Sprint(a.version)},
			"spec": map[string]any{"holderIdentity": holder},
		})
		return true
	}
	a.run("release", "n1", "--turn").want(t, ExitOK, "the turn is taken from node n1; the next node gets it after the gates' --delay\n", "")
	a.run("release", "n1", "--turn", "-o", "json").want(t, ExitOK, "{\n  \"node\": \"n1\",\n  \"had_turn\": false\n}\n", "")
	a.fail = func(w http.ResponseWriter, _ *http.Request) bool {
		refuseKube(w, http.StatusForbidden, "Forbidden", "no")
		return true
	}
	if got := a.run("release", "n1", "--turn"); got.code != ExitAuth || !strings.Contains(got.stderr, "take the turn from node n1") {
		t.Errorf("exit %d, %q", got.code, got.stderr)
	}
}

func TestGateUsage(t *testing.T) {
	a := newGateAPI(t)
	for _, tt := range []struct{ args, want string }{
		{"hold n1", "needs --reason"},
		{"hold --reason x", "needs the name of a node, or --all"},
		{"hold n1 --all --reason x", `the node "n1" and --all contradict each other`},
		{"hold n1 n2 --reason x", `takes one node, but got "n2" as well`},
		{"hold n1 --reason x --for 2h --until 2999-01-01T00:00:00Z", "--for and --until contradict each other"},
		{"hold n1 --reason x --until tomorrow", "write it as 2026-12-24T08:00:00Z"},
		{"hold n1 --reason x --until 2020-01-01T00:00:00Z", "is over"},
		{"hold n1 --reason x --for 2x", "write a length of time as"},
		{"hold n1 --reason " + strings.Repeat("x", maxHoldWords+1), "may have 256 bytes each"},
		{"hold n1 --reason x -o table", "choose text, json or yaml"},
		{"release", "needs the name of a node, or --all"},
		{"release --all --turn", "--turn is of one node"},
		{"release n1 --turn --dry-run", "there is no --dry-run of --turn"},
		{"explain", "needs the name of a node"},
		{"status a b", `but got "b" as well`},
		{"stauts", `did you mean "status"?`},
	} {
		if got := a.run(strings.Fields(tt.args)...); got.code != ExitUsage || !strings.Contains(got.stderr, tt.want) {
			t.Errorf("%s: exit %d, %q; want exit 2 and %q", tt.args, got.code, got.stderr, tt.want)
		}
	}
	if got := runWith(t.Context(), t, nil, "gate", "hold", "n1", "--reason", "x"); got.code != ExitUsage || !strings.Contains(got.stderr, "there is no $USER") {
		t.Errorf("exit %d, %q", got.code, got.stderr)
	}
	if len(*a.asked) != 0 {
		t.Errorf("asked %q", *a.asked)
	}
}
