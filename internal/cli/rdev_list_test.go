package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"stella/internal/rdev"
	rdevstream "stella/internal/rdev/stream"
)

// someCommands are commands of each state, newest first.
func someCommands() []rdev.Command {
	at := time.Now().Add(-time.Hour).Truncate(time.Second)
	return []rdev.Command{
		{ID: "9", Project: "web", Request: rdev.Request{Argv: []string{"make", "a b"}}, Status: rdev.Queued, Place: 2, By: "key ci", Created: at},
		{ID: "8", Project: "web", Request: rdev.Request{Shell: "echo \x1b[31m"}, Status: rdev.Running, By: "uid 0", Created: at, Started: at},
		{
			ID: "7", Project: "web", Request: rdev.Request{Argv: []string{"hog"}, Memory: 64 << 20, Directory: "sub"}, Status: rdev.Ended, By: "uid 0",
			Created: at, Started: at, Finished: at.Add(1500 * time.Millisecond), Output: rdev.Output{Lines: 1200, Bytes: 4096},
			End: &rdev.End{Reason: rdev.ReasonOOM, ExitCode: 137, OOM: &rdev.OOM{Kills: 1}, Detail: "out of memory"},
		},
		{
			ID: "6", Project: "web", Request: rdev.Request{Argv: []string{"sh"}}, Status: rdev.Ended, By: "uid 0", Created: at, Started: at, Finished: at.Add(time.Second),
			End: &rdev.End{Reason: rdev.ReasonExit, OOM: &rdev.OOM{Kills: 1, Survived: true}},
		},
	}
}

func TestRdevPs(t *testing.T) {
	f := newFakeRdev(t, nil, map[string]any{
		"GET /v1/projects/web/commands": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			page := rdev.CommandList{Commands: someCommands()[:2], Next: "8"}
			if r.FormValue("after") == "8" {
				page = rdev.CommandList{Commands: someCommands()[2:]}
			}
			writeJSON(w, page)
		}),
		"GET /v1/commands": rdev.CommandList{Commands: []rdev.Command{}},
	})
	f.runRdev(t.Context(), t, "ps").want(t, ExitOK, `ID  STATUS      RESULT        AGE  TOOK  COMMAND
9   queued (2)  -             60m  -     make 'a b'
8   running     -             60m  60m   echo `+"\uFFFD"+`[31m
7   ended       oom           60m  1.5s  hog
6   ended       exit 0 (oom)  60m  1s    sh
`, "")
	wantRequests(t, f, "GET /v1/projects", "GET /v1/projects/web/commands?limit=51", "GET /v1/projects/web/commands?after=8&limit=49")
	got := f.runRdev(t.Context(), t, "ps", "-p", "web", "-o", "wide", "--no-headers", "--limit", "3")
	if lines := strings.Split(got.stdout, "\n"); len(lines) != 4 || !slices.Equal(strings.Fields(lines[2])[5:], strings.Fields("hog uid 0 sub 64.0 MiB 1,200 4.0 KiB out of memory")) {
		t.Errorf("wide is\n%s", got.stdout)
	}
	if got.stderr != "stella: these are the newest 3 commands; --limit shows more\n" {
		t.Errorf("at the limit it says %q", got.stderr)
	}
	f.runRdev(t.Context(), t, "ps", "-p", "web", "-o", "name").want(t, ExitOK, "9\n8\n7\n6\n", "")
	got = f.runRdev(t.Context(), t, "ps", "-p", "web", "-o", "json")
	var commands []rdev.Command
	if err := json.Unmarshal([]byte(got.stdout), &commands); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(someCommands(), commands); diff != "" {
		t.Errorf("JSON (-want +got):\n%s", diff)
	}
	f.runRdev(t.Context(), t, "ps", "-A", "--status", "queued", "--by", "key ci").want(t, ExitOK, "", "stella: no such commands\n")
	f.runRdev(t.Context(), t, "ps", "-A", "-q", "-o", "json").want(t, ExitOK, "[]\n", "")
	if body := f.request(t, "GET /v1/commands"); body != "?by=key+ci&limit=51&status=queued" {
		t.Errorf("asked for %s", body)
	}
}

func TestRdevLogs(t *testing.T) {
	events := []any{
		rdevstream.Output{Stream: rdev.Stdout, Text: "a", End: "\n"}, rdevstream.Output{Stream: rdev.Stderr, Text: "b", End: "\n"},
		rdev.End{Reason: rdev.ReasonExit, ExitCode: 2, Detail: "it ended by itself with exit code 2"},
	}
	f := newFakeRdev(t, events, map[string]any{
		"GET /v1/projects/web/commands": rdev.CommandList{Commands: []rdev.Command{{ID: "7", Request: rdev.Request{Argv: []string{"make"}}}}},
		"GET /v1/projects/web/commands/7/output": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, "all\xff\n")
		}),
	})
	f.runRdev(t.Context(), t, "logs").want(t, ExitOK, "all\xff\n", "stella: this is command 7: make\n")
	f.runRdev(t.Context(), t, "logs", "7", "--tail", "5", "--stream", "stderr").want(t, ExitOK, "all\xff\n", "")
	const ended = "stella: the command: it ended by itself with exit code 2\n"
	f.runRdev(t.Context(), t, "logs", "-f", "7", "--tail", "5").want(t, ExitOK, "a\nb\n", ended)
	f.runRdev(t.Context(), t, "logs", "-f", "7", "--stream", "stderr").want(t, ExitOK, "b\n", ended)
	wantRequests(t, f, "GET /v1/projects", "GET /v1/projects/web/commands?limit=1", "GET /v1/projects/web/commands/7/output",
		"GET /v1/projects", "GET /v1/projects/web/commands/7/output?stream=stderr&tail=5",
		"GET /v1/projects", "GET /v1/projects/web/commands/7/events?tail=5", "GET /v1/projects", "GET /v1/projects/web/commands/7/events")
	f.runRdev(t.Context(), t, "logs", "8").want(t, ExitFailed, "", "stella: "+f.address+" answered 404 Not Found; does the rdev-api listen there?\n")
}

// Without an ID and without commands there is nothing to show.
func TestRdevLogsOfNothing(t *testing.T) {
	f := newFakeRdev(t, nil, map[string]any{"GET /v1/projects/web/commands": rdev.CommandList{}})
	f.runRdev(t.Context(), t, "logs").want(t, ExitFailed, "", "stella: no command was run in project web\n")
}

func TestRdevCancel(t *testing.T) {
	for _, tt := range []struct {
		c    rdev.Command
		want string
	}{
		{rdev.Command{ID: "7", Status: rdev.Running}, "command 7 is being ended\n"},
		{rdev.Command{ID: "7", Status: rdev.Ended, End: &rdev.End{Reason: rdev.ReasonCancelled}}, "command 7 is cancelled\n"},
		{rdev.Command{ID: "7", Status: rdev.Ended, End: &rdev.End{Reason: rdev.ReasonExit, ExitCode: 2}}, "command 7 had ended: exit 2\n"},
	} {
		f := newFakeRdev(t, nil, map[string]any{"DELETE /v1/projects/web/commands/7": tt.c})
		f.runRdev(t.Context(), t, "cancel", "7").want(t, ExitOK, tt.want, "")
	}
}

func TestRdevProjects(t *testing.T) {
	list := rdev.ProjectList{Problem: "the cluster\ndoes not answer", Projects: []rdev.Project{
		{Name: "web", Kind: rdev.Local, Directory: "/src/web", Ready: true},
		{Name: "pod-1", Kind: rdev.Pod, Namespace: "dev", PodName: "pod-1", Container: "app", Reason: "it waits"},
	}}
	f := newFakeRdev(t, nil, map[string]any{"GET /v1/projects": list})
	const warning = "stella: warning: not all projects are known: the cluster; does not answer\n"
	f.runRdev(t.Context(), t, "projects").want(t, ExitOK, `NAME   KIND   READY  WHERE          REASON
web    local  yes    /src/web       -
pod-1  pod    no     dev/pod-1/app  it waits
`, warning)
	f.runRdev(t.Context(), t, "projects", "-o", "name", "-q").want(t, ExitOK, "web\npod-1\n", "")
}

// A secret is alone on standard output, and is the one of this service, not that of the scanner's.
func TestRdevKeys(t *testing.T) {
	created := time.Now().Add(-3 * day)
	key := rdev.Key{Name: "ci", Scope: rdev.ScopeRun, Projects: []string{"web", "api"}, By: "uid 0", Created: created}
	var sent string
	f := newFakeRdev(t, nil, map[string]any{
		"POST /v1/keys":           rdev.NewKey{Key: key, Secret: "rdev_abc"},
		"POST /v1/keys/ci/rotate": rdev.NewKey{Key: key, Secret: "rdev_def"},
		"DELETE /v1/keys/ci":      http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNoContent) }),
		"GET /v1/keys": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			sent = r.Header.Get("Authorization")
			all := rdev.Key{Name: "all", Scope: rdev.ScopeRead, Created: created, Expires: created.Add(time.Hour), Used: created}
			writeJSON(w, rdev.KeyList{Keys: []rdev.Key{key, all}})
		}),
	})
	const note = "stella: key ci may run in web, api, until it is revoked; its secret is shown this once\n"
	f.runRdev(t.Context(), t, "keys", "create", "ci", "--scope", "run", "-p", "web,api", "--expires", "1d").want(t, ExitOK, "rdev_abc\n", note)
	f.runRdev(t.Context(), t, "keys", "rotate", "ci", "--grace", "1h").want(t, ExitOK, "rdev_def\n", note)
	f.runRdev(t.Context(), t, "keys", "revoke", "ci").want(t, ExitOK, "key ci is revoked\n", "")
	wantRequests(t, f, `POST /v1/keys {"name":"ci","scope":"run","projects":["web","api"],"ttl_ns":86400000000000}`,
		`POST /v1/keys/ci/rotate {"grace_ns":3600000000000}`, "DELETE /v1/keys/ci")
	got := runWith(t.Context(), t, map[string]string{"STELLA_RDEV": f.address, "STELLA_API_KEY": "scanner", "STELLA_RDEV_KEY": "rdev_abc"}, "rdev", "keys", "list")
	got.want(t, ExitOK, "NAME  SCOPE  PROJECTS      STATE    EXPIRES               USED    AGE  BY\n"+
		"ci    run    web, api      valid    -                     never   3d   uid 0\n"+
		"all   read   all projects  expired  "+timeText(created.Add(time.Hour))+"  3d ago  3d   -\n", "")
	if sent != "Bearer rdev_abc" {
		t.Errorf("sent %q", sent)
	}
}

func TestNoRdev(t *testing.T) {
	want := "no rdev-api is named by --rdev or STELLA_RDEV, and there is no socket /a or /b; start one with: rdev-api, or stella up"
	if got := (&noRdevError{[]string{"/a", "/b"}}).Error(); got != want {
		t.Errorf("error is %q; want %q", got, want)
	}
}
