package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"stella/internal/rdev"
)

func TestCommand(t *testing.T) {
	g := newRig(t)
	key := g.key("ci", rdev.ScopeRun, "p")
	const body = `{"shell":"echo one; sleep 0.05; echo two >&2; sleep 0.05; printf three; exit 3"}`
	made := g.status(g.send(key, "POST", "/v1/projects/p/commands", body, "Idempotency-Key", "1"), 202)
	c := into[rdev.Command](t, made)
	at := "/v1/projects/p/commands/" + c.ID
	if made.Header.Get("Location") != at || c.By != "key ci" || c.Project != "p" {
		t.Errorf("%+v at %q", c, made.Header.Get("Location"))
	}
	again := g.status(g.send(key, "POST", "/v1/projects/p/commands", body, "Idempotency-Key", "1"), 200)
	if into[rdev.Command](t, again).ID != c.ID || again.Header.Get("Location") != at {
		t.Errorf("the same key gave %s", again.body)
	}
	g.status(g.send(key, "POST", "/v1/projects/p/commands", `{"argv":["true"]}`, "Idempotency-Key", "1"), 409)

	res := g.open(key, "GET", at+"/events", "")
	all := events(t, res.Body)
	res.Body.Close()
	text := ""
	for _, e := range all {
		var o struct{ Stream, Text, End string }
		must(t, json.Unmarshal([]byte(e.data), &o))
		text += o.Text + o.End
	}
	last := all[len(all)-1]
	if text != "one\ntwo\nthree" || last.name != "end" || !strings.Contains(last.data, `"exit_code":3`) {
		t.Errorf("events %q", all)
	}
	c = g.wait(c)
	if c.End == nil || c.End.ExitCode != 3 || c.End.Reason != rdev.ReasonExit || c.Output.Bytes != 13 {
		t.Errorf("ended %+v", c)
	}
	g.status(g.send(key, "GET", at+"/events", "", "Last-Event-ID", last.id), 204)
	g.status(g.send(key, "GET", at+"/events?last_event_id="+last.id, ""), 204)
	g.status(g.send(key, "GET", at+"/events", "", "Last-Event-ID", "x"), 400)
	g.status(g.send(key, "GET", at+"/events", "", "Last-Event-ID", "99"), 400)
	g.status(g.send(key, "HEAD", at+"/events", ""), 405)
	if r := g.status(g.send(key, "GET", at+"/events?tail=1", ""), 200); strings.Contains(r.body, "two") || !strings.Contains(r.body, "three") {
		t.Errorf("the last line of events: %s", r.body)
	}

	for _, test := range []struct {
		query, ranged string
		status        int
		want          string
	}{
		{"", "", 200, "one\ntwo\nthree"},
		{"?stream=stdout", "", 200, "one\nthree"},
		{"?stream=stderr", "", 200, "two\n"},
		{"?tail=2", "", 200, "two\nthree"},
		{"?tail=0", "", 200, ""},
		{"", "bytes=0-2", 206, "one"},
		{"", "bytes=4-", 206, "two\nthree"},
		{"", "bytes=-5", 206, "three"},
		{"", "bytes=8-99", 206, "three"},
		{"?stream=stderr", "bytes=1-1", 206, "w"},
		{"", "bytes=0-1,3-4", 200, "one\ntwo\nthree"},
		{"", "lines=1-", 200, "one\ntwo\nthree"},
	} {
		r := g.status(g.send(key, "GET", at+"/output"+test.query, "", "Range", test.ranged), test.status)
		if r.body != test.want || !strings.HasPrefix(r.Header.Get("Content-Type"), "text/plain") {
			t.Errorf("output%s %s: %q (%s), want %q", test.query, test.ranged, r.body, r.Header.Get("Content-Type"), test.want)
		}
	}
	if r := g.status(g.send(key, "GET", at+"/output", "", "Range", "bytes=13-"), 416); r.Header.Get("Content-Range") != "bytes */13" {
		t.Errorf("behind the end: %q", r.Header.Get("Content-Range"))
	}
	g.status(g.send(key, "GET", at+"/output?stream=x", ""), 400)
	g.status(g.send(key, "GET", at+"/output?tail=-1", ""), 400)
}

// What is not kept is said in the place where it was, and nothing else is added or lost.
func TestOutputSaysWhatIsNotKept(t *testing.T) {
	g := newRig(t)
	c := g.submit(rdev.Request{Shell: `i=0; while [ $i -lt 30000 ]; do echo "line $i xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"; i=$((i+1)); done`, Output: 1 << 20})
	c = g.wait(c)
	r := g.status(g.send(master, "GET", "/v1/projects/p/commands/"+c.ID+"/output", ""), 200)
	lines := strings.Split(strings.TrimSuffix(r.body, "\n"), "\n")
	dropped, markers, next := 0, 0, 0
	for _, line := range lines {
		var n int
		if _, err := fmt.Sscanf(line, "[rdev: %d records", &n); err == nil {
			dropped += n
			next += n
			markers++
			continue
		}
		if !strings.HasPrefix(line, fmt.Sprintf("line %d ", next)) {
			t.Fatalf("%q, want line %d", line, next)
		}
		next++
	}
	if markers != 1 || int64(dropped) != c.Output.Dropped || next != 30000 || dropped == 0 {
		t.Errorf("%d markers of %d dropped (%d in the state), up to line %d", markers, dropped, c.Output.Dropped, next)
	}
	half := g.status(g.send(master, "GET", "/v1/projects/p/commands/"+c.ID+"/output", "", "Range", "bytes=300000-"), 206)
	if half.body != r.body[300000:] {
		t.Error("a range over the gap is another")
	}
}

// The marker has a line of its own, also where what is not kept begins and ends within one.
func TestGapWithinALine(t *testing.T) {
	g := newRig(t)
	c := g.wait(g.submit(rdev.Request{Shell: `head -c 4000000 /dev/zero | tr '\0' x`, Output: 1 << 20}))
	r := g.status(g.send(master, "GET", "/v1/projects/p/commands/"+c.ID+"/output", ""), 200)
	lines := strings.Split(r.body, "\n")
	if len(lines) != 3 || strings.Trim(lines[0]+lines[2], "x") != "" || lines[1] != fmt.Sprintf("[rdev: %d records are not kept here]", c.Output.Dropped) {
		t.Errorf("%d lines, the second %.100q", len(lines), lines[min(1, len(lines)-1)])
	}
}

func TestCancel(t *testing.T) {
	g := newRig(t)
	c := g.submit(rdev.Request{Argv: []string{"sleep", "1000"}})
	at := "/v1/projects/p/commands/" + c.ID
	for { // a queued command ends at once
		if c = into[rdev.Command](t, g.send(master, "GET", at, "")); c.Status == rdev.Running {
			break
		}
	}
	g.status(g.send(master, "DELETE", at, ""), 202)
	if c = g.wait(c); c.End.Reason != rdev.ReasonCancelled || c.End.Signal != "SIGTERM" {
		t.Errorf("%+v", c.End)
	}
	g.status(g.send(master, "DELETE", at, ""), 200)
	g.status(g.send(master, "DELETE", "/v1/projects/p/commands/nothing", ""), 404)
	page := into[rdev.AuditPage](t, g.status(g.send(master, "GET", "/v1/audit?limit=2", ""), 200))
	if len(page.Entries) != 2 || page.Entries[1].Action != rdev.ActionCancel || page.Entries[1].Command != c.ID || page.Next == 0 {
		t.Errorf("audit %+v", page)
	}
	page = into[rdev.AuditPage](t, g.status(g.send(master, "GET", fmt.Sprintf("/v1/audit?before=%d", page.Next), ""), 200))
	if len(page.Entries) != 1 || page.Entries[0].Action != rdev.ActionRun || page.Entries[0].Detail != "sleep 1000" || page.Entries[0].By != "master key" || page.Next != 0 {
		t.Errorf("audit %+v", page)
	}
}

func TestLists(t *testing.T) {
	g := newRig(t)
	var ids []string
	for range 5 {
		ids = append(ids, g.shell("true").ID)
	}
	var got []string
	next := ""
	for pages := 0; ; pages++ {
		list := into[rdev.CommandList](t, g.status(g.send(master, "GET", "/v1/commands?limit=2&status=ended&after="+next, ""), 200))
		for _, c := range list.Commands {
			got = append(got, c.ID)
		}
		if next = list.Next; next == "" {
			break
		}
		if pages > 5 || len(list.Commands) == 0 {
			t.Fatalf("page %d has %d commands, and is not the last", pages, len(list.Commands))
		}
	}
	for i, id := range got {
		if id != ids[len(ids)-1-i] {
			t.Errorf("listed %q, made %q", got, ids)
			break
		}
	}
	if len(got) != len(ids) {
		t.Errorf("listed %d of %d", len(got), len(ids))
	}
	for _, query := range []string{"?limit=0", "?limit=501", "?limit=x", "?since=yesterday"} {
		g.status(g.send(master, "GET", "/v1/projects/p/commands"+query, ""), 400)
	}
	g.status(g.send(master, "GET", "/v1/projects/p/commands?status=lost", ""), 422)
	if list := into[rdev.CommandList](t, g.send(master, "GET", "/v1/projects/q/commands", "")); list.Commands == nil || len(list.Commands) != 0 {
		t.Errorf("q has %+v", list)
	}
	all := into[rdev.ProjectList](t, g.status(g.send(g.key("q", rdev.ScopeRead, "q"), "GET", "/v1/projects", ""), 200))
	if len(all.Projects) != 1 || all.Projects[0].Name != "q" {
		t.Errorf("a key for q sees %+v", all)
	}
	if p := into[rdev.Project](t, g.status(g.send(master, "GET", "/v1/projects/p", ""), 200)); p.Kind != rdev.Local || !p.Ready {
		t.Errorf("%+v", p)
	}
	g.status(g.send(master, "GET", "/v1/projects/r", ""), 404)
}

func TestKeys(t *testing.T) {
	g := newRig(t)
	made := into[rdev.NewKey](t, g.status(g.send(master, "POST", "/v1/keys", `{"name":"ci","scope":"run","projects":["p"],"ttl_ns":3600000000000}`), 201))
	g.status(g.send(made.Secret, "GET", "/v1/projects/p", ""), 200)
	g.status(g.send(master, "POST", "/v1/keys", `{"name":"ci","scope":"run"}`), 409)
	for _, bad := range []string{`{"name":"A","scope":"run"}`, `{"name":"a","scope":"root"}`, `{"name":"a","scope":"admin","projects":["p"]}`, `{"name":"a","scope":"run","projects":["../x"]}`} {
		g.status(g.send(master, "POST", "/v1/keys", bad), 422)
	}
	turned := into[rdev.NewKey](t, g.status(g.send(master, "POST", "/v1/keys/ci/rotate", `{"grace_ns":3600000000000}`), 200))
	for _, secret := range []string{made.Secret, turned.Secret} {
		g.status(g.send(secret, "GET", "/v1/projects/p", ""), 200)
	}
	last := into[rdev.NewKey](t, g.status(g.send(master, "POST", "/v1/keys/ci/rotate", `{}`), 200))
	g.status(g.send(turned.Secret, "GET", "/v1/projects/p", ""), 401)
	list := g.status(g.send(master, "GET", "/v1/keys", ""), 200)
	if all := into[rdev.KeyList](t, list); len(all.Keys) != 1 || all.Keys[0].Name != "ci" || strings.Contains(list.body, "secret\":") {
		t.Errorf("listed %s", list.body)
	}

	// The streams of a key end with it, and not with the command.
	c := g.submit(rdev.Request{Argv: []string{"sleep", "5"}})
	res := g.open(last.Secret, "GET", "/v1/projects/p/commands/"+c.ID+"/events", "")
	defer res.Body.Close()
	g.status(g.send(master, "DELETE", "/v1/keys/ci", ""), 204)
	if all := events(t, res.Body); len(all) != 0 {
		t.Errorf("after the key was revoked: %q", all)
	}
	g.status(g.send(last.Secret, "GET", "/v1/projects/p", ""), 401)
	g.status(g.send(master, "DELETE", "/v1/keys/ci", ""), 404)
	g.status(g.send(master, "POST", "/v1/keys/ci/rotate", `{}`), 404)
	if text := g.log.String(); strings.Contains(text, made.Secret) || strings.Contains(text, last.Secret[20:]) {
		t.Error("a secret is in the log")
	}
	page := g.send(master, "GET", "/v1/audit", "")
	for _, action := range []string{rdev.ActionKey, rdev.ActionRotate, rdev.ActionRevoke} {
		if !strings.Contains(page.body, action) {
			t.Errorf("the audit log has no %s", action)
		}
	}
}

// Near the end of memory, streams are refused, with when to come back.
func TestStreamsAreRefusedUnderPressure(t *testing.T) {
	g := newRig(t)
	c := g.shell("true")
	g.refuse = true
	r := g.status(g.send(master, "GET", "/v1/projects/p/commands/"+c.ID+"/events", ""), http.StatusServiceUnavailable)
	if r.Header.Get("Retry-After") != "15" || !strings.Contains(r.body, "memory is short") {
		t.Errorf("%v %s", r.Header, r.body)
	}
}
