package rdevserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"stella/internal/bytesize"
	"stella/internal/oom"
	"stella/internal/oom/kmsg"
	"stella/internal/rdev"
	"stella/internal/store"
	"stella/internal/testkit"
)

const adminKey = "0123456789abcdef0123456789abcdef"

func options(t *testing.T) Options {
	t.Helper()
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	for name, text := range map[string]string{key: adminKey + "\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	work := filepath.Join(dir, "work")
	if err := os.Mkdir(work, 0o755); err != nil {
		t.Fatal(err)
	}
	return Options{
		Version: "1.2.3", StateDir: filepath.Join(dir, "state"), Socket: filepath.Join(dir, "run", "s"), Listen: "127.0.0.1:0",
		Projects: []string{"p=" + work}, AdminKeyFile: key, Log: slog.New(slog.DiscardHandler),
	}
}

// start starts a service and returns when it is ready; the function it returns ends it.
func start(t *testing.T, o Options) (end func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- Run(ctx, o, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-done:
		t.Fatalf("the service ended: %v", err)
	}
	end = func() error {
		cancel()
		err := <-done
		done <- nil
		return err
	}
	t.Cleanup(func() {
		if err := end(); err != nil {
			t.Errorf("end: %v", err)
		}
	})
	return end
}

// client talks over the socket.
type client struct {
	t *testing.T
	*http.Client
}

func connect(t *testing.T, o Options) client {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", o.Socket)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return client{t, &http.Client{Transport: transport}}
}

func (c client) do(method, path, body string, want int, v any) string {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), method, "http://rdev"+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	res, err := c.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != want {
		c.t.Fatalf("%s %s: %d %s, %v; want %d", method, path, res.StatusCode, text, err, want)
	}
	if v != nil {
		if err := json.Unmarshal(text, v); err != nil {
			c.t.Fatalf("%v: %s", err, text)
		}
	}
	return string(text)
}

// A service runs commands for the machine's own users without a key, ends what runs when it is stopped, tells who
// follows that, and knows everything after the next start.
func TestRun(t *testing.T) {
	o := options(t)
	end := start(t, o)
	c := connect(t, o)
	var done, running rdev.Command
	c.do("POST", "/v1/projects/p/commands", `{"shell":"echo hello; exit 3"}`, 202, &done)
	if all := c.do("GET", "/v1/projects/p/commands/"+done.ID+"/events", "", 200, nil); !strings.Contains(all, `"text":"hello"`) || !strings.Contains(all, `"exit_code":3`) {
		t.Errorf("events %s", all)
	}
	var long rdev.Command
	c.do("POST", "/v1/projects/p/commands", `{"shell":"yes | head -c 3000000","output":1048576}`, 202, &long)
	if who := c.do("GET", "/v1/audit", "", 200, nil); !strings.Contains(who, fmt.Sprintf(`"by":"uid %d"`, os.Geteuid())) || !strings.Contains(who, `"from":"socket"`) {
		t.Errorf("the audit log has %s", who)
	}
	metrics := ""
	for !strings.Contains(metrics, `rdev_commands_ended_total{reason="exit"} 2`) { // a moment after their ends are told
		metrics = c.do("GET", "/metrics", "", 200, nil)
	}
	if c.do("GET", "/v1/projects/p/commands/"+long.ID, "", 200, &long); long.Output.Bytes != 3_000_000 || long.Output.Dropped == 0 || long.Output.Gone {
		t.Errorf("a long output is %+v", long.Output)
	}
	for _, want := range []string{"\nsse_connections_active ", "\ncommands_active ", "\nrdev_outputs_truncated_total 1\n"} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics have no %q", want)
		}
	}
	c.do("GET", "/ready", "", 200, nil)

	second := o
	second.Socket += "2"
	if err := Run(t.Context(), second, func() { t.Error("a second service became ready") }); !errors.Is(err, store.ErrLocked) {
		t.Errorf("a second service on the same state: %v; want that it is locked", err)
	}
	second.Handover = time.Millisecond
	if err := Run(t.Context(), second, func() { t.Error("a second service became ready") }); !errors.Is(err, store.ErrLocked) {
		t.Errorf("a second service that waited: %v; want that it is locked", err)
	}

	c.do("POST", "/v1/projects/p/commands", `{"argv":["sleep","1000"]}`, 202, &running)
	for running.Status != rdev.Running {
		c.do("GET", "/v1/projects/p/commands/"+running.ID, "", 200, &running)
	}
	follow, err := c.Get("http://rdev/v1/projects/p/commands/" + running.ID + "/events")
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan string)
	go func() {
		defer follow.Body.Close()
		text, err := io.ReadAll(follow.Body)
		told <- fmt.Sprintf("%s %v", text, err)
	}()
	if err := end(); err != nil {
		t.Fatal(err)
	}
	if text := <-told; !strings.Contains(text, `"reason":"cancelled"`) {
		t.Errorf("who followed was told %s", text)
	}
	start(t, o)
	c = connect(t, o)
	c.do("GET", "/v1/projects/p/commands/"+running.ID, "", 200, &running)
	if running.End == nil || running.End.Reason != rdev.ReasonCancelled || !strings.Contains(running.End.Detail, "service") {
		t.Errorf("what ran is %+v", running.End)
	}
	if got := c.do("GET", "/v1/projects/p/commands/"+done.ID+"/output", "", 200, nil); got != "hello\n" {
		t.Errorf("the output is %q", got)
	}
}

// A child that the kernel kills while the command goes on is told of, by its name, unless the kernel's log leaves out whose
// cgroup it was, which it does when many are killed on the machine at the same time.
func TestVictimIsNamed(t *testing.T) {
	testkit.Need(t, testkit.Root, testkit.MemoryCgroup)
	o := options(t)
	ours := make(chan string, 100) // what the log says of our cgroups
	following := make(chan struct{})
	var once sync.Once
	go func() {
		defer once.Do(func() { close(following) })
		_ = kmsg.Follow(t.Context(), kmsg.Options{}, func(r oom.Report) {
			if strings.Contains(r.Cgroup, group(o.StateDir)) {
				ours <- r.Process.Comm
			}
		}, func(oom.Lost) {}, func(uint64) { once.Do(func() { close(following) }) })
	}()
	<-following
	start(t, o)
	c := connect(t, o)
	for range 20 {
		var command rdev.Command
		c.do("POST", "/v1/projects/p/commands", `{"shell":"head -c 500000000 /dev/zero | tail -n 1 > /dev/null; exit 7","memory":33554432}`, 202, &command)
		for command.Status != rdev.Ended {
			c.do("GET", "/v1/projects/p/commands/"+command.ID, "", 200, &command)
			time.Sleep(5 * time.Millisecond)
		}
		end := command.End
		if end.OOM == nil || end.Reason != rdev.ReasonExit || end.ExitCode != 7 || !end.OOM.Survived || end.OOM.Limit != 32<<20 {
			t.Fatalf("%+v, %+v", end, end.OOM)
		}
		if end.OOM.VictimComm == "tail" && end.OOM.VictimPID > 0 {
			return
		}
		select {
		case comm := <-ours:
			t.Fatalf("the log names %s, and the end %+v", comm, end.OOM)
		case <-time.After(100 * time.Millisecond):
		}
	}
	t.Skip("too many processes are killed on this machine: the kernel logs nothing but their numbers")
}

// What cannot be known is not waited for.
func TestVictimsWithoutALog(t *testing.T) {
	v := newVictims("rdev-1", slog.New(slog.DiscardHandler))
	v.report(oom.Report{Cgroup: "/a/stella-rdev-1-x-9/below", Process: oom.Process{PID: 5, Comm: "first"}})
	v.report(oom.Report{Cgroup: "/a/stella-rdev-1-x-9", Process: oom.Process{PID: 6, Comm: "last"}})
	v.report(oom.Report{Cgroup: "/a/another", Process: oom.Process{PID: 7, Comm: "other"}})
	if pid, comm, ok := v.last("/sys/fs/cgroup/a/stella-rdev-1-x-9"); pid != 6 || comm != "last" || !ok {
		t.Errorf("%d %s %v", pid, comm, ok)
	}
	for range 2 { // the second time, nobody waits
		if pid, _, ok := v.last("/sys/fs/cgroup/a/another"); ok {
			t.Errorf("of another's cgroup: %d", pid)
		}
		v.deaf = true
	}
}

func TestValidate(t *testing.T) {
	for want, change := range map[string]func(*Options){
		"--state-dir is needed":  func(o *Options) { o.StateDir = "" },
		"nobody could reach":     func(o *Options) { o.Socket, o.Listen = "", "" },
		"from other machines":    func(o *Options) { o.Listen = "0.0.0.0:0" },
		"--admin":                func(o *Options) { o.Admin = "0.0.0.0:0" },
		"belong together":        func(o *Options) { o.TLSCert = "x" },
		"there are no projects":  func(o *Options) { o.Projects = nil },
		"would both be":          func(o *Options) { o.Projects = []string{"a=/x", "a=/y"} },
		"--project /=":           func(o *Options) { o.Projects = []string{"/=/"} },
		"give --kubernetes":      func(o *Options) { o.Pods = "a=b" },
		"--kubeconfig":           func(o *Options) { o.Kubernetes = true },
		"no network":             func(o *Options) { o.MetricsFrom = []string{"10.0.0.0/8,x"} },
		"--webhook-allow":        func(o *Options) { o.WebhookAllow = []string{"10"} },
		"can be guessed":         func(o *Options) { o.AdminKeyFile = write(t, "short") },
		"--admin-key-file: open": func(o *Options) { o.AdminKeyFile = "/proc/nobody" },
		"--user":                 func(o *Options) { o.User = "nobody-of-this-name" },
		"is negative":            func(o *Options) { o.Streams = -1 },
		"each must be at most":   func(o *Options) { o.Limits.Memory, o.Limits.MaxMemory = 2<<30, 1<<30 },
		"service's state":        func(o *Options) { o.StateDir = "/proc/nobody/x" },
		"/proc/nobody":           func(o *Options) { o.Roots = []string{"/proc/nobody"} },
	} {
		o := options(t)
		change(&o)
		if o.Kubernetes {
			t.Setenv("KUBERNETES_SERVICE_HOST", "")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		err := Run(ctx, o, cancel)
		cancel()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
}

func write(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestUser(t *testing.T) {
	for _, who := range []string{"nobody", "65534"} {
		o := options(t)
		o.User = who
		if err := o.Validate(); err != nil {
			t.Fatal(err)
		}
		if o.user.UID != 65534 || o.user.Name != "nobody" || o.user.GID != 65534 {
			t.Errorf("%s is %+v", who, o.user)
		}
	}
}

// Where nobody says how much memory commands may have, it is never all that there is; in pods it is the pods'.
func TestTotalMemory(t *testing.T) {
	o := options(t)
	if err := o.Validate(); err != nil {
		t.Fatal(err)
	}
	if got := o.totalMemory(); !o.totalByItself || got <= 0 || got > 4<<30 {
		t.Errorf("commands may have %s", bytesize.Text(got))
	}
	o.places = nil
	if got := o.totalMemory(); got != podMemory {
		t.Errorf("commands in pods may have %s", bytesize.Text(got))
	}
	if a, b := group("/a"), group("/b"); a == b || !strings.HasPrefix(a, "rdev-") {
		t.Errorf("groups %s and %s", a, b)
	}
}

// A service in place of one that is being ended waits for it.
func TestHandover(t *testing.T) {
	o := options(t)
	end := start(t, o)
	next := o
	next.Handover = time.Minute
	waits := make(chan struct{})
	next.Log = slog.New(hear{slog.DiscardHandler, "waiting for another process to end", waits})
	go func() {
		<-waits
		if err := end(); err != nil {
			t.Error(err)
		}
	}()
	start(t, next)
	connect(t, next).do("GET", "/ready", "", 200, nil)
}

// hear is a handler that hears of a message, which comes once.
type hear struct {
	slog.Handler
	message string
	heard   chan<- struct{}
}

func (hear) Enabled(context.Context, slog.Level) bool { return true }

func (h hear) WithAttrs([]slog.Attr) slog.Handler { return h }

func (h hear) Handle(_ context.Context, r slog.Record) error {
	if r.Message == h.message {
		close(h.heard)
	}
	return nil
}

// Beyond loopback, the admin listener asks for a key.
func TestAdminListener(t *testing.T) {
	o := options(t)
	o.Admin, o.AllowPlainHTTP = "0.0.0.0:0", true
	addresses := make(chan string, 1)
	o.Log = slog.New(ready{slog.DiscardHandler, addresses})
	start(t, o)
	_, port, err := net.SplitHostPort(<-addresses)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		path, key, forwarded string
		want                 int
	}{
		{"/livez", "", "x", 200}, {"/metrics", "", "", 200}, {"/metrics", "", "192.0.2.1", 401}, {"/metrics", adminKey, "192.0.2.1", 200},
		{"/debug/pprof/heap", "", "192.0.2.1", 401}, {"/v1/projects", adminKey, "", 404},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:"+port+test.path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if test.key != "" {
			r.Header.Set("Authorization", "Bearer "+test.key)
		}
		if test.forwarded != "" {
			r.Header.Set("X-Forwarded-For", test.forwarded)
		}
		res, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != test.want {
			t.Errorf("%+v: %d", test, res.StatusCode)
		}
	}
}

// ready is a handler that hears where the admin listener is.
type ready struct {
	slog.Handler
	admin chan<- string
}

func (ready) Enabled(context.Context, slog.Level) bool { return true }

func (h ready) WithAttrs([]slog.Attr) slog.Handler { return h }

func (h ready) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if r.Message == "ready" && a.Key == "admin" {
			h.admin <- a.Value.String()
		}
		return true
	})
	return nil
}
