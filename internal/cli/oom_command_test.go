package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stella/internal/oom"
	"stella/internal/sse"
)

// newFakeAgent serves answers as an agent does; the status is that of one that is well.
func newFakeAgent(t *testing.T, answers map[string]any) *fakeService {
	t.Helper()
	if answers["GET /v1/status"] == nil {
		answers["GET /v1/status"] = oom.AgentStatus{Node: "k8s-master"}
	}
	for _, none := range []string{"GET /v1/gauges", "GET /v1/heaps"} {
		if answers[none] == nil {
			answers[none] = []struct{}{}
		}
	}
	return newFakeService(t, answers)
}

// runAgent runs a command with an agent.
func (f *fakeService) runAgent(t *testing.T, args ...string) ran {
	t.Helper()
	return runWith(t.Context(), t, map[string]string{"STELLA_AGENT": f.address}, args...)
}

func TestOOMList(t *testing.T) {
	f := newFakeAgent(t, map[string]any{"GET /v1/kills": someKills()})
	got := f.runAgent(t, "oom", "list", "-n", "kured", "--pod", "p", "--container", "c", "--workload", "DaemonSet/w", "--limit", "7")
	if lines := strings.Split(got.stdout, "\n"); len(lines) != 5 || !strings.HasPrefix(lines[1], "3f9a2c ") || got.code != ExitOK || got.stderr != "" {
		t.Errorf("exit %d, %q, %q; want the newest kill first", got.code, got.stderr, got.stdout)
	}
	wantRequests(t, f, "GET /v1/kills?container=c&limit=7&namespace=kured&pod=p&workload=DaemonSet%2Fw", "GET /v1/status")

	got = f.runAgent(t, "oom", "list", "--last", "7d", "-o", "json")
	var kills []oom.Kill
	if err := json.Unmarshal([]byte(got.stdout), &kills); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(newestFirst(), kills); diff != "" {
		t.Errorf("JSON (-want +got):\n%s", diff)
	}
	if asked := f.requests(); !strings.HasPrefix(asked[2], "GET /v1/kills?limit=1000&since=20") {
		t.Errorf("--last asks %q", asked[2])
	}
	if got = f.runAgent(t, "oom", "list", "-o", "yaml"); !strings.HasPrefix(got.stdout, "- id: 3f9a2c\n  boot: b\n") {
		t.Errorf("YAML is %q", got.stdout)
	}
	if got = f.runAgent(t, "oom", "list", "--limit", "3"); got.stderr != "stella: these are the newest 3 kills; --limit shows more\n" {
		t.Errorf("at the limit it says %q", got.stderr)
	}
}

// No kills is an answer, and what the agent cannot see is said beside it.
func TestOOMListOfNothing(t *testing.T) {
	f := newFakeAgent(t, map[string]any{
		"GET /v1/kills": []oom.Kill{},
		"GET /v1/status": oom.AgentStatus{
			Witnesses: []oom.WitnessReport{{Name: oom.WitnessLog, State: "failed", Detail: "no permission\x1b"}, {Name: oom.WitnessTrace, State: "off"}},
			Ledger:    oom.LedgerStatus{Fault: "disk full", LostRecords: 2},
		},
	})
	const warnings = "stella: warning: the agent cannot read the kernel log: no permission\uFFFD\n" +
		"stella: warning: the agent cannot keep kills on disk: disk full\n" +
		"stella: warning: 2 records of the kernel log were overwritten before they were read; counters tell of the kills in them\n"
	f.runAgent(t, "oom", "list").want(t, ExitOK, "", warnings+"stella: no such kills\n")
	f.runAgent(t, "oom", "list", "-o", "json", "-q").want(t, ExitOK, "[]\n", "")
}

func TestOOMShow(t *testing.T) {
	kill := newestFirst()[0]
	f := newFakeAgent(t, map[string]any{
		"GET /v1/kills/3f9a2c": kill,
		"GET /v1/kills/zz":     refuse(http.StatusNotFound, "there is no kill zz"),
		"GET /v1/series":       refuse(http.StatusNotFound, "no samples"),
	})
	got := f.runAgent(t, "oom", "show", "3f9a2c")
	if got.code != ExitOK || got.stderr != "" || !strings.HasPrefix(got.stdout, "Kill 3f9a2c:       kubectl[8103] in kured/") {
		t.Errorf("exit %d, %q, %q", got.code, got.stderr, got.stdout)
	}
	if got = f.runAgent(t, "oom", "show", "3f9a2c", "-o", "json"); !strings.HasPrefix(got.stdout, "{\n  \"id\": \"3f9a2c\",\n") {
		t.Errorf("JSON is %q", got.stdout)
	}
	wantRequests(t, f, "GET /v1/kills/3f9a2c", "GET /v1/series?cgroup=%2Fkubepods%2Fburstable%2Fpod6b3f%2F0527c6dd14e504ab", "GET /v1/kills/3f9a2c")
	f.runAgent(t, "oom", "show", "zz").want(t, ExitFailed, "", "stella: there is no kill zz\n")
}

func TestOOMUsage(t *testing.T) {
	f := newFakeAgent(t, map[string]any{})
	for _, tt := range []struct{ args, want string }{
		{"oom lst", `did you mean "list"?`},
		{"oom list --limit 0", "--limit 0: must be 1 to 10000"},
		{"oom list --last 0d", "must be above 0"},
		{"oom list -o jsn", `did you mean "json"?`},
		{"oom show", "needs the ID of a kill"},
		{"oom watch -o table", "choose text or json"},
		{"top pods --sort-by memry", `did you mean "memory"?`},
		{"top processes --sort-by trend", "choose memory or cpu"},
		{"top processes --limit 0", "--limit 0: must be 1 to 1000"},
		{"top node --interval 1ms", "must be at least 100ms"},
		{"top node -o wide", "choose text, json or yaml"},
	} {
		got := f.runAgent(t, strings.Fields(tt.args)...)
		if got.code != ExitUsage || !strings.Contains(got.stderr, tt.want) || got.stdout != "" {
			t.Errorf("%s: exit %d, %q; want exit 2 and %q", tt.args, got.code, got.stderr, tt.want)
		}
	}
	if asked := f.requests(); asked != nil {
		t.Errorf("the agent was asked %q", asked)
	}
}

// Who finds no agent is told how to start one.
func TestNoAgent(t *testing.T) {
	dead := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	for _, tt := range []struct{ address, want string }{
		{"unix:///nonexistent/s", "stella: no stella-agent at unix:///nonexistent/s: the socket does not exist; start one as root with"},
		{"unix://" + dead, "nobody listens there; start one as root with"},
	} {
		got := runWith(t.Context(), t, nil, "oom", "list", "--agent", tt.address)
		if got.code != ExitFailed || !strings.Contains(got.stderr, tt.want) || strings.Count(got.stderr, "\n") != 1 {
			t.Errorf("%s: exit %d, %q; want %q", tt.address, got.code, got.stderr, tt.want)
		}
	}
	want := "no agent is named by --agent or STELLA_AGENT, and there is no socket /a or /b; start one as root with: stella-agent, or stella up"
	if got := (&noAgentError{[]string{"/a", "/b"}}).Error(); got != want {
		t.Errorf("error is %q; want %q", got, want)
	}
}

// sendKills sends events and waits.
func sendKills(events ...oom.KillEvent) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		sse.Serve(w, r, nil, func(ctx context.Context, send func(sse.Event) error) error {
			for i, e := range events {
				data, err := json.Marshal(e)
				if err != nil {
					return err
				}
				if err := send(sse.Event{ID: fmt.Sprint(i + 1), Data: data}); err != nil {
					return err
				}
			}
			<-ctx.Done()
			return nil
		})
	}
}

// A kill is told at once, and again when there is more to tell; Ctrl-C ends the watch without a word.
func TestOOMWatch(t *testing.T) {
	known := newestFirst()[0]
	early := known
	early.Container, early.MainSurvived = oom.Container{}, nil
	events := []oom.KillEvent{{Kill: early}, {Kill: early, Updated: true}, {Kill: known, Updated: true}}
	for _, tt := range []struct {
		format string
		want   []string
	}{
		{"text", []string{
			"  2026-11-21T11:59:50.000Z 3f9a2c /kubepods/burstable/pod6b3f/0527c6dd14e504ab: kubectl[8103] killed with 41.0 MiB, limit 64.0 MiB (pod)\n",
			"+ 2026-11-21T11:59:50.000Z 3f9a2c kured/kured-sentinel-gate-x7k2p/gate: kubectl[8103] killed with 41.0 MiB, limit 64.0 MiB (pod), no restart shows it\n",
		}},
		{"json", []string{`{"kill":{"id":"3f9a2c",`, `{"kill":{"id":"3f9a2c",`, `"updated":true}` + "\n"}},
	} {
		f := newFakeAgent(t, map[string]any{"GET /v1/kills/events": sendKills(events...)})
		ctx, interrupt := context.WithCancel(t.Context())
		var got []string
		var stderr strings.Builder
		out := writerFunc(func(p []byte) (int, error) {
			if got = append(got, string(p)); len(got) == len(tt.want) {
				interrupt()
			}
			return len(p), nil
		})
		code := Main(ctx, Options{Args: []string{"oom", "watch", "-o", tt.format, "--agent", f.address}, Stdout: out, Stderr: &stderr, Getenv: func(string) string { return "" }})
		interrupt()
		if code != ExitOK || stderr.String() != "stella: watching for OOM kills on k8s-master; Ctrl-C ends it\n" {
			t.Errorf("%s: exit %d, %q", tt.format, code, stderr.String())
		}
		if !slices.EqualFunc(got, tt.want, strings.Contains) {
			t.Errorf("%s: wrote %q; want %q", tt.format, got, tt.want)
		}
	}
}

// A line of the stream is one line, whatever a process and a cgroup are called.
func TestKillLine(t *testing.T) {
	kills := someKills()
	for i, want := range []string{
		"2026-11-18T12:00:00.000Z 1a x; \uFFFD]0;.service: a\uFFFD[2Jb[77] killed with 3.0 GiB, limit 16.0 GiB (node)",
		"2026-11-21T11:00:00.000Z 2b unattributed: 49 unknown killed, limit unknown, strong",
	} {
		if got := killLine(&kills[i]); got != want {
			t.Errorf("line is %q; want %q", got, want)
		}
	}
}

// The texts that updates are compared with are as many as they may be.
func TestRecentIsBounded(t *testing.T) {
	r := newRecent(3)
	for i := range 100 {
		if !r.put(fmt.Sprint(i), "x") {
			t.Fatalf("%d is not new", i)
		}
	}
	if len(r.texts) != 3 || len(r.keys) != 3 {
		t.Errorf("%d texts and %d keys are kept; want 3", len(r.texts), len(r.keys))
	}
	if r.put("99", "x") || !r.put("99", "y") || !r.put("0", "x") {
		t.Error("a text that was told is told again, or one that was not is left out")
	}
}

// Commands are for shells: nothing that a kernel log named may do anything there.
func TestNextCommandsAreQuoted(t *testing.T) {
	k := oom.Kill{Container: oom.Container{Namespace: "n", Pod: "a b'; rm -rf $HOME", Unit: "-x"}}
	got := nextCommands(&k, "unix:///a b")
	want := `stella oom list --last 7d -n n --pod 'a b'\''; rm -rf $HOME' --agent 'unix:///a b'`
	if got[0] != want || slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, "systemctl") }) {
		t.Errorf("commands are %q; want the first to be %q, and none of -x", got, want)
	}
	k.Container.Pod = "a\x1b"
	if got = nextCommands(&k, ""); got[0] != "stella oom list --last 7d" {
		t.Errorf("commands are %q", got)
	}
}
