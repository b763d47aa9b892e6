package service_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"stella/internal/rdev"
	"stella/internal/rdev/projects"
	"stella/internal/rdev/run"
	"stella/internal/rdev/service"
	"stella/internal/rdev/webhook"
	"stella/internal/testkit"
)

var _ service.Hooks = (*webhook.Sender)(nil)

// here runs commands on this machine.
type here struct{ *run.Runner }

func (h here) Run(ctx context.Context, _ rdev.Project, s run.Spec, started func()) rdev.End {
	return h.Runner.Run(ctx, s, started)
}

// Real programs in a real project, with real logs and a real receiver of webhooks.
func TestReal(t *testing.T) {
	testkit.Need(t, testkit.MemoryCgroup)
	r := sqliteRig(t)
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "web", "src"), 0o755); err != nil {
		t.Fatal(err)
	}
	found, err := projects.New(projects.Options{Roots: []string{root}, Log: r.o.Log})
	if err != nil {
		t.Fatal(err)
	}
	defer found.Close()
	runner, err := run.New(run.Options{Group: "rdev-service-test", Log: r.o.Log})
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan string, 10)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { told <- r.Header.Get("Stella-Event") }))
	defer receiver.Close()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("0123456789abcdef"), 0o600); err != nil {
		t.Fatal(err)
	}
	sender, err := webhook.Open(t.Context(), webhook.Options{DB: r.db, SecretFile: secret, Log: r.o.Log, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	if err != nil {
		t.Fatal(err)
	}
	go sender.Run(t.Context())
	r.o.Runner, r.o.Projects, r.o.Hooks = here{runner}, found, sender
	r.start()
	defer r.halt()

	c := r.submit(ada, "web", rdev.Request{Shell: `pwd; cat; echo "$A" >&2; exit 7`, Directory: "src", Env: map[string]string{"A": "from env"}, Stdin: []byte("from stdin\n"), Webhook: receiver.URL})
	text, end := output(t, r.logOf(c))
	if end.Reason != rdev.ReasonExit || end.ExitCode != 7 || !strings.Contains(text, "stdout: "+filepath.Join(root, "web", "src")+"\n") ||
		!strings.Contains(text, "stdout: from stdin\n") || !strings.Contains(text, "stderr: from env\n") {
		t.Errorf("%+v\n%s", end, text)
	}
	if event := <-told; event != webhook.EventEnded {
		t.Errorf("told %s", event)
	}
	eater := r.submit(ada, "web", rdev.Request{Argv: []string{"tail", "/dev/zero"}, Memory: 32 << 20})
	if c = r.end(eater); c.End.Reason != rdev.ReasonOOM || c.End.OOM == nil || c.End.OOM.Limit != 32<<20 {
		t.Errorf("the eater: %+v", c.End)
	}
	for _, request := range []rdev.Request{{Shell: "echo ready; sleep 1000 & wait"}, {Shell: "echo ready; sleep 1000", Timeout: 200 * time.Millisecond}} {
		c = r.submit(ada, "web", request)
		want := rdev.ReasonTimeout
		if request.Timeout == 0 {
			want = rdev.ReasonCancelled
			log := r.logOf(c)
			for log.State().Last == 0 {
				<-log.More(0)
			}
			if _, err := r.s.Cancel(t.Context(), bob, "web", c.ID); err != nil {
				t.Error(err)
			}
		}
		if c = r.end(c); c.End.Reason != want {
			t.Errorf("%s: %+v", request.Shell, c.End)
		}
	}
}

// What has ended takes no memory.
func TestFlat(t *testing.T) {
	r := sqliteRig(t)
	r.o.Runner = runnerFunc(func(context.Context, run.Spec) rdev.End { return rdev.End{Reason: rdev.ReasonExit} })
	r.o.Limits.Output = 1 << 20
	r.o.Log = slog.New(slog.DiscardHandler)
	r.open()
	r.start()
	round := func(n int) {
		for range n {
			r.end(r.submit(ada, "web", rdev.Request{Argv: []string{"x", strings.Repeat("y", 4000)}}))
		}
	}
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	round(100)
	before := heap()
	const n = 500
	round(n)
	// The store of logs has some 200 bytes for each log that it keeps.
	if grown := int64(heap()) - int64(before); grown > n*600 {
		t.Errorf("%d ended commands take %d bytes", n, grown)
	} else {
		t.Logf("%d ended commands take %d bytes", n, grown)
	}
}
