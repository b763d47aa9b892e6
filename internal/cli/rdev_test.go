package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"stella/internal/rdev"
	rdevstream "stella/internal/rdev/stream"
	"stella/internal/sse"
)

// runRdev runs a command with an rdev-api.
func (f *fakeService) runRdev(ctx context.Context, t *testing.T, args ...string) ran {
	t.Helper()
	return runWith(ctx, t, map[string]string{"STELLA_RDEV": f.address}, append([]string{"rdev"}, args...)...)
}

// newFakeRdev serves answers as an rdev-api does with one project, web, where command 7 prints and ends like this.
func newFakeRdev(t *testing.T, events []any, more map[string]any) *fakeService {
	t.Helper()
	answers := map[string]any{
		"GET /v1/projects": rdev.ProjectList{Projects: []rdev.Project{{Name: "web", Kind: rdev.Pod, Namespace: "rdev", PodName: "web", Ready: true}}},
		"POST /v1/projects/web/commands": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusAccepted)
			json.NewEncoder(w).Encode(rdev.Command{ID: "7", Project: "web", Status: rdev.Queued, Place: 1})
		}),
		"GET /v1/projects/web/commands/7/events": sendOutput(nil, events...),
	}
	for pattern, answer := range more {
		answers[pattern] = answer
	}
	return newFakeService(t, answers)
}

// sendOutput sends events, each a rdevstream.Output, rdevstream.Gap or rdev.End, and before an end waits for ready unless it is nil.
func sendOutput(ready <-chan struct{}, events ...any) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		sse.Serve(w, r, nil, func(ctx context.Context, send func(sse.Event) error) error {
			for i, e := range events {
				name := rdevstream.EventOutput
				switch e.(type) {
				case rdevstream.Gap:
					name = rdevstream.EventGap
				case rdev.End:
					name = rdevstream.EventEnd
					if ready != nil {
						select {
						case <-ready:
						case <-ctx.Done():
							return nil
						}
					}
				}
				data, err := json.Marshal(e)
				if err != nil {
					return err
				}
				if err := send(sse.Event{ID: fmt.Sprint(i + 1), Name: name, Data: data}); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// request is what follows in the first request that begins like this.
func (f *fakeService) request(t *testing.T, prefix string) string {
	t.Helper()
	all := f.requests()
	i := slices.IndexFunc(all, func(s string) bool { return strings.HasPrefix(s, prefix) })
	if i < 0 {
		t.Fatalf("%s is not among %q", prefix, all)
	}
	return strings.TrimSpace(strings.TrimPrefix(all[i], prefix))
}

func TestRdevRunIsAsHere(t *testing.T) {
	f := newFakeRdev(t, []any{
		rdevstream.Output{Stream: rdev.Stdout, Text: "\x1b[32mok", End: "\n"},
		rdevstream.Output{Stream: rdev.Stderr, Text: "10 %", End: "\r"},
		rdevstream.Output{Stream: rdev.Stdout, Base64: []byte{0xff, 0}, End: ""},
		rdevstream.Gap{From: 4, To: 4, Dropped: 1},
		rdev.End{Reason: rdev.ReasonExit, ExitCode: 3},
	}, nil)
	got := f.runRdev(t.Context(), t, "run", "--memory", "2Gi", "--output-limit", "64Mi", "--timeout", "90s", "-e", "A=b=c", "-e", "STELLA_RDEV", "-e", "UNSET", "--dir", "sub", "make", "-j4", "--", "test")
	got.want(t, 3, "\x1b[32mok\n\xff\x00", "10 %\rstella: warning: 1 record of the output were dropped before they came here: the command printed more than is kept (--output-limit)\n")
	var request rdev.Request
	if err := json.Unmarshal([]byte(f.request(t, "POST /v1/projects/web/commands")), &request); err != nil {
		t.Fatal(err)
	}
	want := rdev.Request{
		Argv: []string{"make", "-j4", "--", "test"}, Directory: "sub", Memory: 2 << 30, Output: 64 << 20, Timeout: 90 * time.Second,
		Env: map[string]string{"A": "b=c", "STELLA_RDEV": f.address},
	}
	if diff := cmp.Diff(want, request); diff != "" {
		t.Errorf("request (-want +got):\n%s", diff)
	}
}

// Every end has its exit code, and what cannot be seen from that is said.
func TestRdevRunEnds(t *testing.T) {
	oom := &rdev.OOM{Limit: 64 << 20, Kills: 1}
	for _, tt := range []struct {
		end    rdev.End
		code   ExitCode
		stderr string
	}{
		{rdev.End{Reason: rdev.ReasonExit, Detail: "unsaid"}, ExitOK, ""},
		{rdev.End{Reason: rdev.ReasonExit, ExitCode: 1}, 1, ""},
		{rdev.End{Reason: rdev.ReasonExit, ExitCode: 0, OOM: oom, Detail: "a child died"}, 0, "stella: warning: the command: a child died\n"},
		{rdev.End{Reason: rdev.ReasonSignal, ExitCode: 139, Detail: "SIGSEGV"}, 139, "stella: the command: SIGSEGV\n"},
		{rdev.End{Reason: rdev.ReasonOOM, ExitCode: 137, OOM: oom, Detail: "out of memory"}, 137, "stella: the command: out of memory; --memory gives it more\n"},
		{rdev.End{Reason: rdev.ReasonTimeout, ExitCode: 143, Detail: "time over"}, ExitTimeout, "stella: the command: time over; --timeout gives it more\n"},
		{rdev.End{Reason: rdev.ReasonCancelled, ExitCode: 0, Detail: "cancelled by key ci"}, ExitNotRun, "stella: the command: cancelled by key ci\n"},
		{rdev.End{Reason: rdev.ReasonFailed, ExitCode: -1, Detail: "no such\x1b program"}, ExitNotRun, "stella: the command: no such\uFFFD program\n"},
		{rdev.End{Reason: rdev.ReasonLost, ExitCode: -1}, ExitNotRun, "stella: the command ended: lost, exit code -1\n"},
	} {
		f := newFakeRdev(t, []any{tt.end}, nil)
		t.Run(string(tt.end.Reason), func(t *testing.T) { f.runRdev(t.Context(), t, "run", "true").want(t, tt.code, "", tt.stderr) })
	}
}

// Ctrl-C cancels the command, shows what it still prints, and waits for its end.
func TestRdevRunIsCancelled(t *testing.T) {
	for name, tt := range map[string]struct {
		end  rdev.End
		code ExitCode
	}{
		"cancelled":    {rdev.End{Reason: rdev.ReasonCancelled, ExitCode: 143}, ExitInterrupted},
		"ended before": {rdev.End{Reason: rdev.ReasonExit, ExitCode: 4}, 4},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			cancelled := make(chan struct{})
			output := sendOutput(cancelled, rdevstream.Output{Stream: rdev.Stdout, Text: "bye", End: "\n"}, tt.end)
			f := newFakeRdev(t, nil, map[string]any{
				"GET /v1/projects/web/commands/7/events": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					cancel()
					output(w, r)
				}),
				"DELETE /v1/projects/web/commands/7": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					defer close(cancelled)
					writeJSON(w, rdev.Command{ID: "7", Status: rdev.Running})
				}),
			})
			f.runRdev(ctx, t, "run", "sleep", "9").want(t, tt.code, "bye\n", "")
		})
	}
}

// A reader that went away ends the command, as it would here.
func TestRdevRunWithoutReader(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	defer w.Close()
	never := make(chan struct{})
	f := newFakeRdev(t, nil, map[string]any{
		"GET /v1/projects/web/commands/7/events": sendOutput(never, rdevstream.Output{Stream: rdev.Stdout, Text: "y", End: "\n"}, rdev.End{}),
		"DELETE /v1/projects/web/commands/7":     rdev.Command{ID: "7", Status: rdev.Running},
	})
	var stderr strings.Builder
	code := Main(t.Context(), Options{Args: []string{"rdev", "run", "yes", "--rdev", "x"}, Stdout: w, Stderr: &stderr, Getenv: func(name string) string {
		return map[string]string{"STELLA_RDEV": f.address}[name]
	}})
	if code != 141 || stderr.Len() > 0 {
		t.Errorf("exit %d, %q", code, stderr.String())
	}
	f.request(t, "DELETE /v1/projects/web/commands/7")
}

// A service that does not answer for seconds, as when it is stopped slowly, is waited for, and that is said.
func TestRdevRunOutlastsARestart(t *testing.T) {
	asked := 0
	output := sendOutput(nil, rdevstream.Output{Stream: rdev.Stdout, Text: "hello", End: "\n"}, rdev.End{Reason: rdev.ReasonExit})
	f := newFakeRdev(t, nil, map[string]any{
		"GET /v1/projects/web/commands/7/events": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if asked++; asked <= 6 {
				refuse(http.StatusServiceUnavailable, "the service is being stopped")(w, r)
				return
			}
			output(w, r)
		}),
		"GET /v1/projects/web/commands/7": rdev.Command{ID: "7", Status: rdev.Running},
	})
	f.runRdev(t.Context(), t, "run", "true").want(t, ExitOK, "hello\n", "stella: warning: the service is being stopped; trying again\n")
}

// What is not the command's end has a code of its own, and says what to do.
func TestRdevNotRun(t *testing.T) {
	refused := newFakeRdev(t, nil, map[string]any{"POST /v1/projects/web/commands": refuse(http.StatusServiceUnavailable, "no new commands now: memory")})
	refused.runRdev(t.Context(), t, "run", "true").want(t, ExitNotRun, "", "stella: no new commands now: memory\n")
	gone := newFakeRdev(t, nil, map[string]any{"GET /v1/projects/web/commands/7/events": refuse(http.StatusForbidden, "no")})
	gone.runRdev(t.Context(), t, "run", "true").want(t, ExitNotRun, "", "stella: no; the command may go on: stella rdev logs -f 7 -p web\n")
	got := runWith(t.Context(), t, nil, "rdev", "run", "--rdev", "unix:///nonexistent/s", "true")
	got.want(t, ExitNotRun, "", "stella: no rdev-api at unix:///nonexistent/s: the socket does not exist; start one with rdev-api or stella up, or give the address of one that runs\n")
	got = runWith(t.Context(), t, nil, "rdev", "ps", "--rdev", "unix:///nonexistent/s")
	if got.code != ExitFailed {
		t.Errorf("ps: exit %d", got.code)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	gone.runRdev(ctx, t, "run", "true").want(t, ExitInterrupted, "", "stella: interrupted\n")
}

// A command that waits says so, once where there is no terminal.
func TestRdevRunWaits(t *testing.T) {
	told := make(chan struct{})
	f := newFakeRdev(t, nil, map[string]any{
		"GET /v1/projects/web/commands/7/events": sendOutput(told, rdev.End{Reason: rdev.ReasonExit}),
		"GET /v1/projects/web/commands/7": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			writeJSON(w, rdev.Command{ID: "7", Status: rdev.Queued, Place: 3})
			time.AfterFunc(100*time.Millisecond, func() { close(told) }) // until it has been read
		}),
	})
	f.runRdev(t.Context(), t, "run", "true").want(t, ExitOK, "", "stella: the command waits as number 3 of the queue\n")
}

func TestRdevDetach(t *testing.T) {
	f := newFakeRdev(t, nil, nil)
	f.runRdev(t.Context(), t, "run", "-d", "true").want(t, ExitOK, "7\n", "stella: to see what it prints: stella rdev logs -f 7 -p web\n")
	wantRequests(t, f, "GET /v1/projects", `POST /v1/projects/web/commands {"argv":["true"]}`)
}

// The project is that of the current directory, and the command begins there.
func TestRdevProject(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"src/web/api/v1", "src/web.old", "elsewhere"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(filepath.Join(dir, "src"), link); err != nil {
		t.Fatal(err)
	}
	local := func(name, d string) rdev.Project {
		return rdev.Project{Name: name, Kind: rdev.Local, Directory: filepath.Join(dir, d), Ready: true}
	}
	projects := []rdev.Project{local("web", "src/web"), local("all", "src"), {Name: "pod", Kind: rdev.Pod, Directory: dir}}
	for _, tt := range []struct{ dir, name, below string }{
		{"src", "all", ""}, {"src/web", "web", ""}, {"src/web/api/v1", "web", "api/v1"}, {"src/web.old", "all", "web.old"}, {"link/web/api", "web", "api"}, {"elsewhere", "", ""},
	} {
		name, below, ok := projectOf(filepath.Join(dir, tt.dir), projects)
		if name != tt.name || below != tt.below || ok != (tt.name != "") {
			t.Errorf("%s: %q, %q, %v; want %q, %q", tt.dir, name, below, ok, tt.name, tt.below)
		}
	}

	f := newFakeRdev(t, nil, map[string]any{"GET /v1/projects": rdev.ProjectList{Projects: projects}})
	t.Chdir(filepath.Join(dir, "src/web/api"))
	f.runRdev(t.Context(), t, "run", "-d", "-q", "true").want(t, ExitOK, "7\n", "")
	if body := f.request(t, "POST /v1/projects/web/commands"); body != `{"argv":["true"],"directory":"api"}` {
		t.Errorf("asked for %s", body)
	}
	t.Chdir(filepath.Join(dir, "elsewhere"))
	f.runRdev(t.Context(), t, "run", "true").want(t, ExitNotRun, "", "stella: this directory is in no project; name one with --project: web, all, pod\n")
	f = newFakeRdev(t, nil, map[string]any{"GET /v1/projects": rdev.ProjectList{Projects: projects[:1]}, "GET /v1/projects/web/commands": rdev.CommandList{}})
	f.runRdev(t.Context(), t, "run", "true").want(t, ExitNotRun, "", "stella: this directory is in no project; name one with --project: web\n")
	f.runRdev(t.Context(), t, "ps").want(t, ExitOK, "", "stella: no such commands\n") // the only one can be listed from anywhere
	f.runRdev(t.Context(), t, "run", "-d", "-q", "-p", "web", "true").want(t, ExitOK, "7\n", "")
	f.runRdev(t.Context(), t, "ps", "-p", "../x").want(t, ExitUsage, "", `stella: "../x" is no name of a project: small letters, digits, dots, dashes and underscores, a letter or digit first, at most 253`+"\n")
}

// What is piped is the command's; a terminal, and what is no file, is not.
func TestRdevInput(t *testing.T) {
	input := func(write string) ([]byte, error) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		go func() {
			w.WriteString(write)
			w.Close()
		}()
		c := &rdevRun{app: &app{quiet: true}, stdin: r}
		return c.input(t.Context())
	}
	if got, err := input("a\x00b"); err != nil || string(got) != "a\x00b" {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := input(strings.Repeat("x", rdev.MaxStdin)); err != nil || len(got) != rdev.MaxStdin {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if _, err := input(strings.Repeat("x", rdev.MaxStdin+1)); err == nil || !strings.Contains(err.Error(), "more than 1.0 MiB") {
		t.Errorf("%v", err)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // open, and closed
		if got, err := (&rdevRun{stdin: null}).input(t.Context()); err != nil || got != nil {
			t.Errorf("%q, %v", got, err)
		}
		null.Close()
	}
}

func TestRdevUsage(t *testing.T) {
	f := newFakeRdev(t, nil, nil)
	for _, tt := range []struct{ args, want string }{
		{"rdev rnu", `did you mean "run"?`},
		{"rdev run", "needs a program to run"},
		{"rdev run --memory x true", "no amount of bytes"},
		{"rdev run --timeout 0s true", "must be above 0"},
		{"rdev run --timeout 25h true", "the timeout 25h0m0s is too long"},
		{"rdev run -e 1=2 true", `"1" is no name of an environment variable`},
		{"rdev run --dir ../x true", "is no directory of a project"},
		{"rdev run --detatch true", `did you mean "--detach"?`},
		{"rdev ps --status runningg", `did you mean "running"?`},
		{"rdev ps --limit 0", "--limit 0: must be 1 to 5000"},
		{"rdev ps -A -p web", "--all-projects asks for all"},
		{"rdev ps -o jsn", `did you mean "json"?`},
		{"rdev logs 1 2", "takes the ID of a command"},
		{"rdev logs --tail 0", "--tail 0: must be above 0"},
		{"rdev logs --stream stdour", `did you mean "stdout"?`},
		{"rdev cancel", "needs the ID of a command"},
		{"rdev keys create ci --scope rnu", `did you mean "run"?`},
		{"rdev keys create ci --scope admin -p web", "a key with the scope admin is for all projects"},
		{"rdev keys rotate ci --grace 40d", "the old secret cannot count for another 960h0m0s"},
	} {
		got := f.runRdev(t.Context(), t, strings.Fields(tt.args)[1:]...)
		if got.code != ExitUsage || !strings.Contains(got.stderr, tt.want) || got.stdout != "" {
			t.Errorf("%s: exit %d, %q; want exit 2 and %q", tt.args, got.code, got.stderr, tt.want)
		}
	}
	if asked := f.requests(); asked != nil {
		t.Errorf("the service was asked %q", asked)
	}
}
