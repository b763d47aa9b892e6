package cli

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"stella/internal/explain"
	"stella/internal/incident"
)

const someIncident = "5f0c1d2e3a4b"

// anIncident is one with a hostile name, explained.
func anIncident(t *testing.T) incident.Details {
	t.Helper()
	at := time.Date(2026, 5, 30, 3, 33, 0, 0, time.UTC)
	report, err := json.Marshal(explain.Report{Findings: []explain.Finding{{Cause: explain.Children, Confidence: 0.93, Summary: "Many short processes, together too large.", For: []explain.Evidence{{Text: "There were three."}}}}})
	if err != nil {
		t.Fatal(err)
	}
	events := []incident.Event{
		{ID: "opened", Kind: incident.Opened, Text: "it ran out", Source: incident.SourceNode, Limit: &incident.Limit{Scope: "container", Bytes: 64 << 20}, Subject: &incident.Subject{Name: "kured/gate\x1b[2J", Namespace: "kured", Cgroup: "/c"}},
		{ID: "kill-1", Kind: incident.Killed, Kills: 3, Peak: 64 << 20, Text: "kubectl[7] was killed"},
		{ID: "explained", Kind: incident.Explained, Cause: "children", Confidence: 0.93, Data: report, Text: "children (93 %)"},
	}
	for i := range events {
		events[i].Incident, events[i].Time, events[i].Actor = someIncident, at.Add(time.Duration(i)*time.Minute), "stella-agent on n1"
	}
	in, _ := incident.Fold(events)
	return incident.Details{Incident: in, Timeline: events}
}

func TestIncidentCommands(t *testing.T) {
	d := anIncident(t)
	f := newFakeAgent(t, map[string]any{
		"GET /v1/incidents": []incident.Incident{d.Incident}, "GET /v1/incidents/" + someIncident: d, "POST /v1/incidents/events": incident.Receipt{New: 1},
	})
	run := func(args ...string) ran { return f.runAgent(t, args...) }
	got := run("incidents", "list", "--state", "going", "-n", "kured", "--name", "gate", "--source", "node", "--limit", "5")
	if lines := strings.Split(got.stdout, "\n"); len(lines) != 3 || !strings.HasPrefix(lines[1], someIncident+"  open   kured/gate\uFFFD[2J") || !strings.Contains(lines[1], "64.0 MiB (container)") || !strings.HasSuffix(lines[1], "children") {
		t.Errorf("%d %q %s", got.code, got.stdout, got.stderr)
	}
	wantRequests(t, f, "GET /v1/incidents?limit=5&name=gate&namespace=kured&source=node&state=going")
	run("incidents", "list", "-o", "name").want(t, ExitOK, someIncident+"\n", "")
	var all []incident.Incident
	if err := json.Unmarshal([]byte(run("incidents", "list", "-o", "json").stdout), &all); err != nil || len(all) != 1 || all[0].Kills != 3 {
		t.Errorf("%v %+v", err, all)
	}
	got = run("incidents", "show", someIncident)
	for _, want := range []string{"Incident " + someIncident + ":", "kured/gate\uFFFD[2J", "open: nothing was done yet", "children (93 %): Many short processes", "kubectl[7] was killed", "stella remedy plan " + someIncident} {
		if !strings.Contains(got.stdout, want) {
			t.Errorf("show does not say %q:\n%s", want, got.stdout)
		}
	}
	if got := run("explain", someIncident); !strings.Contains(got.stdout, "children (93 %)") || !strings.Contains(got.stdout, "+ There were three.") {
		t.Errorf("%d %s %s", got.code, got.stdout, got.stderr)
	}
	run("incidents", "close", someIncident, "--reason", "256Mi").want(t, ExitOK, "", "stella: incident "+someIncident+" (kured/gate\uFFFD[2J) is closed\n")
	run("incidents", "note", someIncident, "seen").want(t, ExitOK, "", "stella: noted in incident "+someIncident+" (kured/gate\uFFFD[2J)\n")
	file := filepath.Join(t.TempDir(), "gate.md")
	if got := run("incidents", "postmortem", someIncident, "-o", file); got.code != ExitOK || !strings.Contains(got.stderr, "gate.svg") {
		t.Errorf("%+v", got)
	}
	svg, err := os.Open(strings.TrimSuffix(file, ".md") + ".svg")
	if err != nil {
		t.Fatal(err)
	}
	defer svg.Close()
	for dec := xml.NewDecoder(svg); ; {
		if _, err := dec.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if text, err := os.ReadFile(file); err != nil || !strings.Contains(string(text), "](<gate.svg>)") {
		t.Errorf("%v\n%s", err, text)
	}
}

func TestIncidentMistakes(t *testing.T) {
	d := anIncident(t)
	d.State, d.Ended = incident.Closed, time.Now()
	f := newFakeAgent(t, map[string]any{"GET /v1/incidents": []incident.Incident{}, "GET /v1/incidents/" + someIncident: d})
	for _, tt := range []struct {
		args []string
		code ExitCode
		want string
	}{
		{[]string{"list", "--state", "opne"}, ExitUsage, `--state opne: choose going, has_ended, open`},
		{[]string{"list", "--state", "open applied"}, ExitUsage, `choose going, has_ended, open`},
		{[]string{"list", "--source", "moon"}, ExitUsage, "--source moon"},
		{[]string{"list", "--limit", "0"}, ExitUsage, "--limit 0"},
		{[]string{"list", "-o", "xml"}, ExitUsage, "unknown format"},
		{[]string{"list"}, ExitOK, "no such incidents"},
		{[]string{"show"}, ExitUsage, "needs the ID of an incident"},
		{[]string{"show", "0123456789ab"}, ExitFailed, "there is no incident 0123456789ab; see: stella incidents list"},
		{[]string{"show", "../x\x1b"}, ExitFailed, "there is no incident"},
		{[]string{"close", someIncident}, ExitUsage, "--reason is needed"},
		{[]string{"close", someIncident, "--reason", "x"}, ExitFailed, "has ended already"},
		{[]string{"note", someIncident}, ExitUsage, "needs the ID of an incident and a text"},
		{[]string{"postmortem", someIncident, "-o", "x.svg"}, ExitUsage, "that is what the picture would be called"},
		{[]string{"list", "--server", "unix:///a", "--agent", "unix:///b"}, ExitFailed, "exclude each other"},
	} {
		if got := f.runAgent(t, append([]string{"incidents"}, tt.args...)...); got.code != tt.code || !strings.Contains(got.stderr, tt.want) {
			t.Errorf("%q: exit %d, %s", tt.args, got.code, got.stderr)
		}
	}
	got := runWith(t.Context(), t, map[string]string{"XDG_RUNTIME_DIR": t.TempDir()}, "incidents", "list")
	if got.code != ExitFailed || !strings.Contains(got.stderr, "start both with: stella up") {
		t.Errorf("with nobody to ask: exit %d, %s", got.code, got.stderr)
	}
}
