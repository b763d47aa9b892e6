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

func TestGateExplanation(t *testing.T) {
	var o gateObject
	o.Metadata.Name, o.Metadata.Annotations = "n1", annotated(starving("n1", noon))
	e := gateExplained{gateLine: gateLineOf(&o, noon)}
	e.Hold = &gate.Hold{Reason: "disk", By: "ann", Since: noon.Add(-2 * time.Hour), Until: noon.Add(-time.Hour)}
	e.HoldAll = &gate.Hold{Reason: "freeze\x1b[2J", By: "ops", Since: noon}
	e.Events = []gateEvent{{noon.Add(-3 * day), "GateShut", "alerts: firing", 1}, {noon.Add(-time.Hour), "GateShut", "soak: forbidden", 12}}
	e.Next = e.next(noon, gateNamespace)
	var got bytes.Buffer
	if err := (&gateExplanation{&e, noon}).write(&got); err != nil {
		t.Fatal(err)
	}
	const want = `Node:            n1
Wants a reboot:  since 2026-11-18T12:00:00Z (3d ago): it starves, for that is longer than 1d
Gate:            shut since 2026-11-18T12:00:00Z (3d ago)
Last look:       2026-11-21T11:58:00Z (2m ago)
Held:            disk, by ann since 2026-11-21T10:00:00Z, until 2026-11-21T11:00:00Z, which is over
All nodes held:  freeze�[2J, by ops since 2026-11-21T12:00:00Z, until it is released
Next:            when all checks pass, the gated file is made within 5m, and kured finds it when it looks next

Blocked by:
  alerts: firing, since 2026-11-18T12:00:00Z (3d ago)
    2 alerts fire that no rule ignores
    - NodeFilesystemFull{mountpoint="/mnt/backup"}
    - PVCStuckPending{namespace="hermes"}
    clears: that they end, or a rule that ignores them for a time
  window: closed, since 2026-11-18T13:00:00Z (2d ago)
    it is Saturday
    ends by itself: 2026-11-21T18:00:00Z
  soak: forbidden, which is that it could not tell, since 2026-11-21T11:00:00Z (60m ago)
    the server does not allow it

Passing:
  nodes  7 of 7 nodes are Ready

Last events:
  3d ago   GateShut  alerts: firing
  60m ago  GateShut  soak: forbidden (12 times)
`
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Each state has its own answer to what comes next.
func TestGateNext(t *testing.T) {
	for _, tt := range []struct {
		verdict *gate.Verdict
		want    string
	}{
		{nil, "this cannot be told"},
		{&gate.Verdict{Period: 5 * time.Minute, Time: noon}, "nothing: when the system wants a reboot"},
		{&gate.Verdict{Period: 5 * time.Minute, Time: noon, Results: []gate.Result{{Check: "path", Outcome: gate.Block}}}, "the gate stays shut as long as what follows is so"},
		{&gate.Verdict{Period: 5 * time.Minute, Time: noon, Results: []gate.Result{{Check: gate.RawFile, Outcome: gate.Unknown}}}, "until the gate can see whether a reboot is wanted"},
		{&gate.Verdict{Period: 5 * time.Minute, Time: noon.Add(-time.Hour), Pending: noon.Add(-2 * time.Hour)}, "nothing, until a gate looks again"},
		{&gate.Verdict{Period: 5 * time.Minute, Time: noon, Pending: noon.Add(-2 * time.Hour), Since: noon, Open: true}, "its own window, alerts and lock allow it"},
		{&gate.Verdict{Period: 5 * time.Minute, Time: noon, Pending: noon.Add(-5 * time.Hour), Since: noon.Add(-3 * time.Hour), Open: true}, "it should have by now"},
		{&gate.Verdict{Period: 5 * time.Minute, Time: noon, Pending: noon.Add(-time.Hour), Since: noon, Results: []gate.Result{{Check: "window", Outcome: gate.Block, Until: noon.Add(time.Hour)}}}, "not before 2026-11-21T13:00:00Z"},
	} {
		var o gateObject
		o.Metadata.Name = "n1"
		if tt.verdict != nil {
			tt.verdict.Node = "n1"
			o.Metadata.Annotations = annotated(tt.verdict)
		}
		e := gateExplained{gateLine: gateLineOf(&o, noon)}
		if got := e.next(noon, gateNamespace); !strings.Contains(got, tt.want) {
			t.Errorf("%+v: next is %q; want %q", tt.verdict, got, tt.want)
		}
	}
}

func TestGateExplain(t *testing.T) {
	a := newGateAPI(t)
	a.nodes["n1"] = annotated(starving("n1", time.Now()))
	a.nodes["n1"][gate.HoldAnnotation] = `{"reason":"disk","by":"bob","since":"2026-11-21T12:00:00Z"}`
	a.lease = map[string]string{gate.HoldAnnotation: "{"}
	for _, minute := range []string{"7", "1", "2", "3", "4", "5", "6"} {
		a.events += `,{"reason":"GateShut","message":"m` + minute + `","count":1,"lastTimestamp":"2026-11-21T12:0` + minute + `:00Z"}`
	}
	a.events = a.events[1:]
	got := a.run("explain", "n1")
	for _, want := range []string{"\nHeld:            disk, by bob since ", "\nBlocked by:\n  alerts: firing, since ", "\nPassing:\n  nodes  7 of 7"} {
		if !strings.Contains(got.stdout, want) {
			t.Errorf("%q is not in\n%s", want, got.stdout)
		}
	}
	if got.code != ExitOK || strings.Count(got.stdout, "GateShut") != shownEvents || !strings.HasSuffix(got.stdout, "m7\n") ||
		!strings.Contains(got.stderr, "the hold of all nodes cannot be read, which holds, too: the annotation gate.stella/hold") {
		t.Errorf("exit %d, %q\n%s", got.code, got.stderr, got.stdout)
	}
	if asked := strings.Join(*a.asked, "\n"); !strings.Contains(asked, "/api/v1/namespaces/default/events?fieldSelector=involvedObject.kind%3DNode%2CinvolvedObject.name%3Dn1%2Csource%3Dkured-sentinel-gate&limit=500") {
		t.Errorf("asked\n%s", asked)
	}
	var e gateExplained
	if err := json.Unmarshal([]byte(a.run("explain", "n1", "-o", "json").stdout), &e); err != nil || e.Node != "n1" || e.Hold.By != "bob" || len(e.Events) != shownEvents || e.Next == "" || !e.Starving {
		t.Errorf("%v: %+v", err, e)
	}
	// What is beside the verdict may be refused.
	a.fail = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/api/v1/nodes/n1" {
			return false
		}
		refuseKube(w, http.StatusForbidden, "Forbidden", "no")
		return true
	}
	if got := a.run("explain", "n1"); got.code != ExitOK || strings.Count(got.stderr, "warning: ") != 2 || !strings.Contains(got.stdout, "Blocked by:") {
		t.Errorf("exit %d, %q\n%s", got.code, got.stderr, got.stdout)
	}
}
