package incidents

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"stella/internal/incident"
)

// A node without stellad: the kills of a burst are one incident that is explained; the death of the agent neither loses one nor doubles it; when somebody has closed it, the next kill opens
// another; and it can be written up.
func TestNode(t *testing.T) {
	r := newRig(t)
	r.start()
	r.kill(3)
	r.until("three kills are one incident, explained", func() bool {
		all := r.incidents()
		return len(all) == 1 && all[0].Kills == 3 && all[0].Cause != ""
	})
	first := r.incidents()[0]
	if first.State != incident.Open || first.Limit != (incident.Limit{Scope: "container", Bytes: limit}) || first.Subject.Name != r.id[:13] || first.Peak < limit/2 {
		t.Errorf("%+v", first)
	}

	// It dies before it has told of two, and while it is away there is one more.
	r.kill(2)
	r.end(syscall.SIGKILL)
	r.kill(1)
	r.start()
	r.until("all kills are told", func() bool { return r.incidents()[0].Kills >= r.killed })
	d, err := r.asks.Incident(t.Context(), first.ID)
	if err != nil {
		t.Fatal(err)
	}
	want := r.killed
	if got := pids(t, d); len(slices.Compact(got)) != int(want) || d.Kills != want || len(r.incidents()) != 1 {
		t.Errorf("%d were killed, told are %v in %+v", want, got, r.incidents())
	}
	r.commands(first.ID)

	r.kill(1)
	r.until("another incident is opened", func() bool { return len(r.incidents()) == 2 })
	if all := r.incidents(); all[0].Kills != 1 || all[1].Kills != want || all[1].State != incident.Closed {
		t.Errorf("%+v", all)
	}
}

// commands looks at an incident, closes it and writes it up.
func (r *rig) commands(name string) {
	r.Helper()
	var all []incident.Incident
	if err := json.Unmarshal([]byte(r.stella(0, "incidents", "list", "-o", "json", "--state", "going", "--limit", "1000")), &all); err != nil || !slices.ContainsFunc(all, func(in incident.Incident) bool { return in.ID == name }) {
		r.Errorf("list: %v, %+v", err, all)
	}
	r.contains(r.stella(0, "incidents", "show", name), "Kills:", "container", "lived on, so no restart shows it", "stella remedy plan "+name)
	r.contains(r.stella(0, "explain", name), "Cause:")
	r.stella(0, "incidents", "note", name, "seen # by | a person")
	r.contains(r.stella(2, "incidents", "close", name), "--reason is needed")
	r.contains(r.stella(1, "incidents", "close", "0123456789ab", "--reason", "x"), "there is no incident 0123456789ab; see: stella incidents list")
	r.contains(r.stella(0, "incidents", "close", name, "--reason", "fewer children"), "is closed")
	r.contains(r.stella(1, "incidents", "close", name, "--reason", "again"), "has ended already")

	file := filepath.Join(r.dir, "gate.md")
	r.stella(0, "incidents", "postmortem", name, "-o", file)
	text, err := os.ReadFile(file)
	if err != nil {
		r.Fatal(err)
	}
	r.contains(string(text), "## Root cause (chain)", "At 6 kills of 6 the first process lived on", "closed by a person", "uid 0 (root)", "fewer children", "seen \\# by \\| a person", "](<gate.svg>)")
	d, err := r.asks.Incident(r.Context(), name)
	if err != nil {
		r.Fatal(err)
	}
	for _, e := range d.Timeline {
		r.contains(string(text), `<a id="event-`+e.ID+`"></a>`)
	}
	r.picture(strings.TrimSuffix(file, ".md")+".svg", 6)
	r.contains(r.stella(0, "incidents", "postmortem", name), "](data:image/svg+xml;base64,")
}

func (r *rig) contains(text string, parts ...string) {
	r.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			r.Errorf("there is no %q in\n%s", part, text)
		}
	}
}

// picture checks that a file is a whole SVG, with a line of memory, a limit, and a mark for the kills at most.
func (r *rig) picture(file string, kills int) {
	r.Helper()
	f, err := os.Open(file)
	if err != nil {
		r.Fatal(err)
	}
	defer f.Close()
	classes := map[string]int{}
	for d := xml.NewDecoder(f); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			r.Fatal(err)
		}
		e, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		if len(classes) == 0 && e.Name.Local != "svg" {
			r.Errorf("it begins with %s", e.Name.Local)
		}
		classes["all"]++
		for _, a := range e.Attr {
			if a.Name.Local == "class" {
				classes[a.Value]++
			}
		}
	}
	// One of each is in the legend.
	if classes["need"] < 2 || classes["limit"] != 2 || classes["killed"] < 2 || classes["killed"] > kills+1 {
		r.Errorf("the picture has %v", classes)
	}
}
