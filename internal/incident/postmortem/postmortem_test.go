package postmortem

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"stella/internal/explain"
	"stella/internal/incident"
	"stella/internal/oom"
)

var keep = flag.String("keep", "", "write the post-mortem of the gate into this `DIRECTORY`")

var began = time.Date(2026, 5, 30, 3, 33, 0, 0, time.UTC)

func data(v any) json.RawMessage {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return text
}

// gate is an incident as that of the runbook: a gate whose children are killed while its first process lives on. Every text in it is made by word.
func gate(word func(string) string) incident.Details {
	id := 0
	event := func(kind incident.Kind, after time.Duration, text string) incident.Event {
		id++
		return incident.Event{Incident: "i", ID: fmt.Sprintf("e%d", id), Time: began.Add(after), Kind: kind, Actor: word("stella-agent on k8s-master"), Text: word(text)}
	}
	opened := event(incident.Opened, 0, "kured/kured-sentinel-gate ran out of memory")
	opened.Source, opened.Limit = incident.SourceNode, &incident.Limit{Scope: "container", Bytes: 64 << 20}
	opened.Subject = &incident.Subject{
		Name: word("kured/kured-sentinel-gate"), Namespace: word("kured"), Workload: word("DaemonSet/kured-sentinel-gate"), Pod: word("kured-sentinel-gate-x2x4z"),
		Container: word("gate"), Image: word("bitnami/kubectl:1.31"), Node: word("k8s-master"), Cgroup: word("/kubepods/burstable/pod1/c1"),
	}
	events := []incident.Event{opened}
	var samples []incident.Sample
	for i := range 240 {
		anon := int64(3<<20) + int64(i%24)*int64(2400<<10)
		limit := int64(64 << 20)
		if i > 200 {
			anon, limit = 3<<20+int64(i%24)<<19, 256<<20
		}
		samples = append(samples, incident.Sample{Time: began.Add(time.Duration(i-20) * time.Minute), Usage: anon + 6<<20, WorkingSet: anon + 4<<20, Limit: limit, Anon: anon, File: 2 << 20, Kernel: 3 << 20, Shmem: 1 << 20})
	}
	for i := range 8 {
		k := event(incident.Killed, time.Duration(i)*24*time.Minute+4*time.Minute, "kubectl was killed")
		lived := true
		k.Kills, k.Peak = 1, 64<<20
		k.Data = data(oom.Kill{ID: fmt.Sprintf("abcd%d", i), Count: 1, Process: oom.Process{PID: 100 + i, Comm: word("kubectl")}, Cgroup: "/c1", MainSurvived: &lived, Doubt: word("")})
		events = append(events, k)
	}
	minute := event(incident.Killed, 171*time.Minute, "40 processes were killed within the minute")
	minute.Kills = 40
	explained := event(incident.Explained, 172*time.Minute, "children (93 %)")
	explained.Cause, explained.Confidence = "children", 0.93
	explained.Data = data(explain.Report{
		Findings: []explain.Finding{
			{Cause: explain.Children, Confidence: 0.93, Summary: word("Many short processes, together too large."), For: []explain.Evidence{{Text: word("Three kubectl of 40 MiB each were there."), From: began, To: began.Add(time.Hour), Kill: "abcd3"}}, Against: []explain.Evidence{{Text: word("It grew a little.")}}},
			{Cause: explain.Leak, Confidence: 0.2, Summary: word("It grows without an end.")},
		},
		Collect: []string{word("more samples")}, Limit: &explain.Recommendation{Bytes: 256 << 20, Seen: 130 << 20, Headroom: 126 << 20, Reason: word("for three at a time")},
		Known: &explain.Issue{Title: word("a title"), Match: word("a match"), Remedy: word("a remedy"), Source: word("a source")},
	})
	sampled := event(incident.Sampled, 172*time.Minute, "samples")
	sampled.Data = data(samples)
	approved := event(incident.Approved, 178*time.Minute, "the gate needs three kubectl at a time")
	approved.Actor = word("uid 0 (root)")
	remedied := event(incident.Remedied, 181*time.Minute, "limit 64Mi → 256Mi")
	remedied.Limit = &incident.Limit{Scope: "container", Bytes: 256 << 20}
	changed := event(incident.Changed, 100*time.Minute, "its image changed")
	events = append(events, minute, explained, sampled, approved, remedied, changed, event(incident.ReadBack, 182*time.Minute, "256Mi in both cgroups"), event(incident.Verified, 215*time.Minute, "it held for 30 minutes"))
	in, _ := incident.Fold(events)
	return incident.Details{Incident: in, Timeline: incident.Timeline(events)}
}

func same(s string) string { return s }

// write is the Markdown and the picture of an incident.
func write(t testing.TB, d incident.Details) (md, svg string) {
	t.Helper()
	p := Of(d)
	var m, s bytes.Buffer
	if err := errors.Join(p.Markdown(&m, "gate.svg"), p.SVG(&s)); err != nil {
		t.Fatal(err)
	}
	return m.String(), s.String()
}

func TestGate(t *testing.T) {
	md, svg := write(t, gate(same))
	for _, want := range []string{
		"# Post-mortem: kured/kured-sentinel-gate ran out of memory", "## Summary", "## Root cause (chain)", "## Why hard to spot", "## Fix", "## Contributing items", "## Lessons", "## Timeline",
		"killed 48 processes", "64.0 MiB (the container's) fired: 48 processes killed", "**children** (93 %)", "At 8 kills of 48 the first process lived on", "told together", "64.0 MiB (the container's); now 256 MiB", "fixed: a remedy was applied, and held",
		"([e5](#event-e5))", `<a id="event-e5"></a>`, "to be written by people", "it took 2h54m until a person", "2. **remedied**", "uid 0 (root)", "leak (20 %)", "its image changed",
	} {
		if !strings.Contains(md, want) {
			t.Errorf("there is no %q", want)
		}
	}
	if strings.Contains(md, "within 10s") {
		t.Error("it says what was not so")
	}
	if elements(t, svg)["circle"] < 10 || !strings.Contains(svg, "limit 256 MiB") {
		t.Errorf("the picture lacks something: %v", elements(t, svg))
	}
	if *keep != "" {
		for name, text := range map[string]string{"gate.md": md, "gate.svg": svg} {
			if err := os.WriteFile(filepath.Join(*keep, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A line is drawn however far apart samples are, and broken where there are none for long.
func TestGaps(t *testing.T) {
	for _, every := range []time.Duration{time.Second, time.Minute, time.Hour} {
		var samples []incident.Sample
		for i := range 20 {
			at := began.Add(time.Duration(i) * every)
			if i >= 10 {
				at = at.Add(20 * every)
			}
			samples = append(samples, incident.Sample{Time: at, WorkingSet: 1 << 20, Anon: 1 << 20})
		}
		_, svg := write(t, incident.Details{Timeline: []incident.Event{{ID: "e1", Kind: incident.Sampled, Time: began, Data: data(samples)}}})
		if lines := strings.Count(svg, `class="need" d="M`) - 1; lines != 2 || strings.Count(svg, "L") < 18 { // and one in the legend
			t.Errorf("every %v: %d lines:\n%s", every, lines, svg)
		}
	}
}

// Of an incident of which little is known, it says so.
func TestLittle(t *testing.T) {
	for name, d := range map[string]incident.Details{
		"nothing":       {},
		"opened":        {Incident: incident.Incident{ID: "i", State: incident.Open}, Timeline: []incident.Event{{Incident: "i", ID: "e1", Kind: incident.Opened, Time: began}}},
		"odd data":      {Timeline: []incident.Event{{ID: "e1", Kind: incident.Killed, Time: began, Data: []byte(`[]`)}, {ID: "e2", Kind: incident.Explained, Data: []byte(`{"findings":[]}`)}, {ID: "e3", Kind: incident.Sampled, Data: []byte(`[{"t":"0001-01-01T00:00:00Z"},{"t":"9999-01-01T00:00:00Z","ws":-5}]`)}}},
		"far in time":   {Timeline: []incident.Event{{ID: "e1", Kind: incident.Killed, Time: time.Time{}}, {ID: "e2", Kind: incident.Remedied, Time: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)}}},
		"beyond memory": {Incident: incident.Incident{Peak: 1 << 62, Limit: incident.Limit{Bytes: 1<<63 - 1}}, Timeline: []incident.Event{{ID: "e1", Kind: incident.Opened, Limit: &incident.Limit{Bytes: 1<<63 - 1}, Time: began}}},
	} {
		md, svg := write(t, d)
		if !strings.Contains(md, "## Lessons") || elements(t, svg)["svg"] != 1 || strings.Contains(svg, "NaN") || len(svg) > 64<<10 {
			t.Errorf("%s:\n%s\n%s", name, md, svg)
		}
	}
}

// elements counts those of an XML document.
func elements(t testing.TB, text string) map[string]int {
	t.Helper()
	all := map[string]int{}
	for d := xml.NewDecoder(strings.NewReader(text)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		if e, ok := token.(xml.StartElement); ok {
			all[e.Name.Local]++
			for _, a := range e.Attr {
				all[e.Name.Local+" "+a.Name.Local]++
			}
		}
	}
}

// skeleton is what Markdown can be made of: without what is escaped, and without letters and digits.
func skeleton(md string) string {
	var b strings.Builder
	escaped, code := false, false
	for line := range strings.Lines(md) {
		if strings.HasPrefix(line, "```") {
			code = !code
		}
		for _, r := range line {
			switch {
			case escaped:
				escaped = false
			case r == '\\' && !code:
				escaped = true
			case code && r != '\n' && r != '`', r == ' ', unicode.IsLetter(r), unicode.IsDigit(r), r > 127, strings.ContainsRune("\"'%,;?/.:()-+=", r):
			default:
				b.WriteRune(r)
			}
		}
	}
	return b.String()
}

// Whatever a name is, the document has the structure that it has with another one.
func FuzzHostile(f *testing.F) {
	for _, s := range []string{"x", "", "# a\n\n## b", "| a | b |\n", "](http://evil)", "![x](http://evil)", "<script>alert(1)</script>", "```\n# out", "`", "a\\", "\\`", "--> <!--", "&lt;", "]]>", "\x00\x1b[2J", "\u202e", "- a", "1. a", "www.evil.com https://evil.com", "\xff", "*a*_b_~c~", "^a", "[^1]: x"} {
		f.Add(s)
	}
	plainMD, plainSVG := write(f, gate(func(string) string { return "x" }))
	want, shape := skeleton(plainMD), fmt.Sprint(elements(f, plainSVG))
	f.Fuzz(func(t *testing.T, hostile string) {
		if plain(hostile) == "" {
			hostile += "x" // what is empty is left out
		}
		md, svg := write(t, gate(func(string) string { return hostile }))
		if got := skeleton(md); got != want {
			t.Errorf("%q changes the structure:\n%s", hostile, md)
		}
		if got := fmt.Sprint(elements(t, svg)); got != shape {
			t.Errorf("%q changes the picture: %s, want %s", hostile, got, shape)
		}
		for _, bad := range []string{"http://", "https://", "www."} {
			if rest := strings.ReplaceAll(md, "\\", "\x00"); strings.Contains(strings.ToLower(rest), bad) && strings.Contains(rest[:strings.Index(rest, "```")], bad) {
				t.Errorf("%q becomes a link", hostile)
			}
		}
	})
}
