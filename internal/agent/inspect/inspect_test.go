package inspect

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"stella/internal/kube"
	"stella/internal/oom"
)

// world is the surroundings of an inspector: one cgroup, as a test wants it.
type world struct {
	mu      sync.Mutex
	there   bool
	sample  oom.Sample
	pid     int
	asked   []string // paths
	log     strings.Builder
	answers map[string]http.HandlerFunc
}

func (w *world) Newest(cgroup string) (oom.Sample, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sample, w.there && cgroup == "/app"
}

func (w *world) Main(string) (int, bool, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pid, true, true
}

func (w *world) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	w.asked = append(w.asked, r.URL.Path)
	answer := w.answers[r.URL.Path]
	w.mu.Unlock()
	if answer == nil {
		http.NotFound(rw, r)
		return
	}
	answer(rw, r)
}

func (w *world) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(b)
}

func (w *world) said() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.String()
}

// newWorld serves it, and makes an inspector that asks it.
func newWorld(t *testing.T) (*world, *Inspector) {
	t.Helper()
	w := &world{there: true, pid: 7, answers: map[string]http.HandlerFunc{
		"/metrics": func(rw http.ResponseWriter, _ *http.Request) { io.WriteString(rw, "open 3\n") },
		"/heap":    profile,
	}}
	server := httptest.NewServer(w)
	t.Cleanup(server.Close)
	return w, New(Options{
		Dir: t.TempDir(), Every: time.Second, Boot: "boot", Version: "test", Newest: w.Newest, Main: w.Main, Log: slog.New(slog.NewTextHandler(w, nil)),
		File: []Target{{Cgroup: "/app", Metrics: server.URL + "/metrics", Pprof: server.URL + "/heap"}, {Cgroup: "/none", Metrics: server.URL + "/none"}},
		Containers: func(func(oom.Container, string)) {
			t.Error("the containers are looked at, though no pod says anything")
		},
	})
}

func profile(rw http.ResponseWriter, _ *http.Request) {
	z := gzip.NewWriter(rw)
	io.WriteString(z, "a profile")
	z.Close()
}

// What a cgroup counts is read, and kept when it is gone; one that is not there is not asked.
func TestGauges(t *testing.T) {
	w, i := newWorld(t)
	i.round(t.Context())
	i.round(t.Context())
	got := i.Gauges("/app")
	if len(got) != 1 || got[0].Name != "open" || len(got[0].Points) != 2 || got[0].Points[1].Value != 3 || time.Since(got[0].Points[1].Time) > time.Minute {
		t.Fatalf("%+v", got)
	}
	if s := i.Status(); s.Targets != 1 || s.Metrics != 2 || s.MetricsFailed != 0 || slices.Contains(w.asked, "/none") {
		t.Errorf("%+v, asked %v", s, w.asked)
	}
	w.there = false
	for range goneAfter + 1 {
		i.find()
	}
	if got := i.Gauges("/app"); len(got) != 1 || i.Status().Targets != 0 {
		t.Errorf("it is gone, and so are %+v", got)
	}
	if i.Gauges("/none") != nil {
		t.Error("there are gauges of nothing")
	}
}

// Who does not answer is said once, is left alone for longer and longer, and is well again.
func TestTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tr trouble
		var log strings.Builder
		logger := slog.New(slog.NewTextHandler(&log, nil))
		w := &watch{Target: Target{Cgroup: "/app"}}
		var waits []time.Duration
		for range 12 {
			tr.tell(logger, "metrics", w, errors.New("refused"))
			waits = append(waits, time.Until(tr.until))
			if tr.ready() {
				t.Error("it is asked at once")
			}
			time.Sleep(time.Until(tr.until))
			if !tr.ready() {
				t.Error("it is not asked again")
			}
		}
		if n := strings.Count(log.String(), "refused"); n != 1 || waits[0] != patient || waits[1] != 2*patient || waits[11] != longest {
			t.Errorf("it is said %d times, waits %v", n, waits)
		}
		tr.tell(logger, "metrics", w, nil)
		if !strings.Contains(log.String(), "answers again") || !tr.ready() {
			t.Errorf("log %s", &log)
		}
	})
}

// Answers that are not what they should be end within their bounds, and say why.
func TestHostileAnswers(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed") }))
	defer elsewhere.Close()
	answers := map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"/redirect": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, http.StatusFound) }, "redirects, which is not followed"},
		"/missing":  {http.NotFound, "status 404"},
		"/endless": {func(w http.ResponseWriter, _ *http.Request) {
			for line := []byte(strings.Repeat("a", 1000) + " 1\n"); ; {
				if _, err := w.Write(line); err != nil {
					return
				}
			}
		}, "answers more than 8.0 MiB"},
		"/silent": {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "no answer, or not all of it, within"},
		"/header": {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", maxHeader)) }, "exceeded"},
		"/page":   {func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") }, ""},
	}
	mux := http.NewServeMux()
	for path, c := range answers {
		mux.HandleFunc(path, c.answer)
	}
	server := httptest.NewServer(mux)
	defer server.Close()
	f := newFetcher("test")
	for path, c := range answers {
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errors.New("no answer, or not all of it, within a second"))
		values, err := f.gauges(ctx, server.URL+path)
		cancel()
		if c.want == "" && (err != nil || len(values) > 0) || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, %v; want %q", path, values, err, c.want)
		}
	}
	for path, want := range map[string]string{"/page": "no heap profile", "/redirect": "not followed", "/missing": "404", "/endless": "no heap profile"} {
		if err := f.heap(t.Context(), server.URL+path, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("heap of %s: %v; want %q", path, err, want)
		}
	}
}

// Profiles are taken once a life at each mark, of what is passed already the last alone, and not without a limit.
func TestMarks(t *testing.T) {
	w, i := newWorld(t)
	i.find()
	const limit = 1000 << 20
	at := func(percent int64) []string {
		t.Helper()
		w.mu.Lock()
		w.sample = oom.Sample{WorkingSet: limit / 100 * percent, Limit: limit}
		w.mu.Unlock()
		i.look(t.Context())
		var reasons []string
		for _, h := range i.Heaps("/app") {
			reasons = append(reasons, h.Reason)
		}
		return reasons
	}
	settle := func() {
		for _, w := range i.targets() {
			w.life.since = w.life.since.Add(-time.Minute)
		}
	}
	check := func(got []string, want ...string) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
	}
	check(at(10))
	settle()
	check(at(10), "baseline")
	check(at(79), "baseline")
	check(at(80), "baseline", "80%")
	check(at(70), "baseline", "80%")
	check(at(99), "baseline", "80%", "95%")
	w.pid = 8
	check(at(96), "baseline", "80%", "95%", "95%")
	w.pid = 9
	check(at(81), "baseline", "80%", "95%", "95%", "80%")
	settle()
	check(at(10), "baseline", "80%", "95%", "95%", "80%")
	heaps := i.Heaps("/app")
	if h := heaps[0]; h.Life != "boot/7" || h.Limit != limit || h.WorkingSet != limit/10 || h.Bytes == 0 || h.ID == heaps[1].ID || i.Status().Heaps != 5 {
		t.Errorf("%+v, %+v", heaps[0], i.Status())
	}
	// An agent that is started again knows what there is.
	again := New(i.o)
	again.find()
	again.look(t.Context())
	if got := again.Heaps("/app"); len(got) != 5 {
		t.Errorf("it took another: %v", got)
	}
	none := life{name: "x", taken: 1}
	if none.due(&oom.Sample{WorkingSet: 1 << 40}, time.Now(), time.Second) != 0 {
		t.Error("one is due without a limit")
	}
}

// What a program answers instead of a profile is not kept.
func TestHeapThatIsNone(t *testing.T) {
	w, i := newWorld(t)
	w.answers["/heap"] = func(rw http.ResponseWriter, _ *http.Request) { io.WriteString(rw, "heap profile: 1: 2 [3: 4]") }
	i.find()
	w.sample = oom.Sample{WorkingSet: 90, Limit: 100}
	i.look(t.Context())
	files, _ := os.ReadDir(i.o.Dir)
	if s := i.Status(); s.HeapsFailed != 1 || s.HeapBytes != 0 || len(i.Heaps("/app")) > 0 || len(files) > 0 {
		t.Errorf("%+v, %v", s, files)
	}
}

func TestHeaps(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "heaps")
	h, err := openHeaps(dir)
	if err != nil {
		t.Fatal(err)
	}
	text := []byte(strings.Repeat("x", 8<<20))
	for n := range 10 {
		p := oom.Heap{Cgroup: fmt.Sprint("/", n)}
		if err := h.add(&p, func(w io.Writer) error { _, err := w.Write(text); return err }); err != nil {
			t.Fatal(err)
		}
	}
	if h.size() != maxHeapBytes || h.of("/1") != nil || len(h.of("/2")) != 1 {
		t.Errorf("%d bytes; the oldest are %v, %v", h.size(), h.of("/1"), h.of("/2"))
	}
	kept := h.of("/9")[0]
	os.WriteFile(filepath.Join(dir, "stranger.pb.gz"), text, 0o600)
	os.Remove(h.file(h.of("/2")[0].ID))
	if h, err = openHeaps(dir); err != nil || h.size() != maxHeapBytes-8<<20 {
		t.Errorf("%v, %d bytes", err, h.size())
	}
	f, err := h.open(kept.ID)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(f); err != nil || len(b) != len(text) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	f.Close()
	for _, id := range []string{"stranger", "../" + filepath.Base(dir) + "/" + kept.ID, "", "heaps.json"} {
		if _, err := h.open(id); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: %v", id, err)
		}
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "*")); len(files) != 7+1 {
		t.Errorf("there are %v", files)
	}
	// A disk that is full leaves nothing behind.
	if err := h.add(&oom.Heap{}, func(io.Writer) error { return errors.New("no space") }); err == nil {
		t.Error("it is kept")
	}
	os.WriteFile(filepath.Join(dir, heapIndex), []byte("[{"), 0o600)
	if h, err = openHeaps(dir); err != nil || h.size() != 0 {
		t.Errorf("a broken index: %v, %d bytes", err, h.size())
	}
}

// However many targets there are, with whatever gauges, what is kept of them is bounded.
func TestGaugesAreBounded(t *testing.T) {
	var g gauges
	values := map[string]float64{}
	for n := range maxGauges {
		values[fmt.Sprintf("%0200d", n)] = float64(n)
	}
	full := 0
	for n := range 100 {
		if err := g.add(fmt.Sprint("/", n), time.Now(), values); err != nil {
			full++
		}
	}
	if g.size > maxGaugeBytes || full == 0 {
		t.Errorf("%d bytes, full for %d", g.size, full)
	}
	g.gone("/0")
	g.gone("/1")
	if err := g.add("/new", time.Now(), map[string]float64{"a": 1}); err != nil || g.of("/0") != nil || g.of("/1") == nil {
		t.Errorf("the eldest that is gone makes no room: %v", err)
	}
	var one gauges
	for n := range 3 * maxPoints {
		name := "early"
		if n > maxPoints {
			name = "late"
		}
		if err := one.add("/a", time.UnixMilli(int64(n)), map[string]float64{name: float64(n)}); err != nil {
			t.Fatal(err)
		}
	}
	got := one.of("/a")
	if len(got) != 1 || got[0].Name != "late" || len(got[0].Points) != maxPoints || got[0].Points[0].Value != 2*maxPoints || one.size != ringSize+2+gaugeSize+4 {
		t.Errorf("%d, size %d", len(got), one.size)
	}
}

func aPod(change func(p *kube.Pod)) *kube.Pod {
	p := &kube.Pod{Metadata: kube.Metadata{Name: "web", Namespace: "shop", UID: "u1", Annotations: map[string]string{}}}
	p.Spec.Containers = []kube.ContainerSpec{{Name: "app", Ports: []kube.ContainerPort{{Port: 8080}}}, {Name: "proxy", Ports: []kube.ContainerPort{{Port: 15000, Protocol: "TCP"}, {Port: 53, Protocol: "UDP"}}}}
	p.Status.IP = "10.0.0.7"
	change(p)
	return p
}

func TestAnnotations(t *testing.T) {
	for name, c := range map[string]struct {
		annotations string // KEY=VALUE, by spaces
		ip          string
		want        string // CONTAINER METRICS PPROF
		problem     string
	}{
		"nothing":            {"", "10.0.0.7", "", ""},
		"both":               {"stella/metrics=8080/m stella/pprof=8080", "10.0.0.7", "app http://10.0.0.7:8080/m http://10.0.0.7:8080/debug/pprof/heap", ""},
		"a query":            {"stella/pprof=8080/debug/pprof/heap?gc=1", "10.0.0.7", "app  http://10.0.0.7:8080/debug/pprof/heap?gc=1", ""},
		"another container":  {"stella/metrics=15000", "10.0.0.7", "proxy http://10.0.0.7:15000/metrics ", ""},
		"not declared":       {"stella/pprof=6060", "10.0.0.7", "app  http://10.0.0.7:6060/debug/pprof/heap", ""},
		"kubectl's":          {"stella/pprof=6060 kubectl.kubernetes.io/default-container=proxy", "10.0.0.7", "proxy  http://10.0.0.7:6060/debug/pprof/heap", ""},
		"IPv6":               {"stella/metrics=1", "fd00::1", "app http://[fd00::1]:1/metrics ", ""},
		"Prometheus'":        {"prometheus.io/scrape=true prometheus.io/port=8080 prometheus.io/path=m", "10.0.0.7", "app http://10.0.0.7:8080/m ", ""},
		"Prometheus' not":    {"prometheus.io/scrape=false prometheus.io/port=8080", "10.0.0.7", "", ""},
		"Prometheus' ports":  {"prometheus.io/scrape=true", "10.0.0.7", "", "2 ports: say which"},
		"Prometheus' https":  {"prometheus.io/scrape=true prometheus.io/port=1 prometheus.io/scheme=https", "10.0.0.7", "", "only http"},
		"its own first":      {"prometheus.io/scrape=true prometheus.io/port=1 stella/metrics=2", "10.0.0.7", "app http://10.0.0.7:2/metrics ", ""},
		"no IP yet":          {"stella/metrics=8080", "", "", ""},
		"this machine":       {"stella/metrics=8080", "127.0.0.1", "", "none of a pod"},
		"a cloud's metadata": {"stella/metrics=80", "169.254.169.254", "", "none of a pod"},
		"another host":       {"stella/metrics=8080/@evil", "10.0.0.7", "app http://10.0.0.7:8080/@evil ", ""},
		"no IP":              {"stella/metrics=8080", "evil.example", "", "none of a pod"},
		"no port":            {"stella/metrics=@evil:80/x", "10.0.0.7", "", "begins with no port"},
		"too large":          {"stella/metrics=65536", "10.0.0.7", "", "no port from 1"},
		"one is wrong":       {"stella/metrics=x stella/pprof=8080", "10.0.0.7", "app  http://10.0.0.7:8080/debug/pprof/heap", "8080/metrics"},
		"control characters": {"stella/metrics=80/\x01", "10.0.0.7", "", "no path"},
	} {
		of, err := wishes(aPod(func(p *kube.Pod) {
			for pair := range strings.FieldsSeq(c.annotations) {
				key, value, _ := strings.Cut(pair, "=")
				p.Metadata.Annotations[key] = value
			}
			p.Status.IP = c.ip
		}))
		var got []string
		for container, target := range of {
			got = append(got, container+" "+target.Metrics+" "+target.Pprof)
		}
		if text := strings.Join(got, "; "); text != c.want || (err == nil) != (c.problem == "") || err != nil && !strings.Contains(err.Error(), c.problem) {
			t.Errorf("%s: %q, %v; want %q, %q", name, text, err, c.want, c.problem)
		}
	}
}

// Pods come, change and go, those that the server does not list any more, too; there are not more than a bound.
func TestPods(t *testing.T) {
	w, i := newWorld(t)
	container := oom.Container{ID: "c", PodUID: "u1", Name: "app", Pod: "web", Namespace: "shop"}
	i.o.Containers = func(fn func(oom.Container, string)) { fn(container, "/pods/web/c") }
	put := func(uid, port string) {
		i.Pod(kube.Event[kube.Pod]{Change: kube.Put, Object: aPod(func(p *kube.Pod) { p.Metadata.UID, p.Metadata.Annotations[annotationMetrics] = uid, port })})
	}
	target := func() string {
		i.find()
		i.mu.Lock()
		defer i.mu.Unlock()
		if w := i.watched["/pods/web/c"]; w != nil && w.missed == 0 {
			return w.Metrics
		}
		return ""
	}
	put("u1", "8080")
	if got := target(); got != "http://10.0.0.7:8080/metrics" {
		t.Errorf("%q", got)
	}
	put("u1", "9090")
	if got := target(); got != "http://10.0.0.7:9090/metrics" {
		t.Errorf("it changed: %q", got)
	}
	put("u1", "wrong")
	put("u1", "wrong")
	if got := target(); got != "" || strings.Count(w.said(), "begins with no port") != 1 {
		t.Errorf("%q, %s", got, w.said())
	}
	put("u1", "8080")
	i.Pod(kube.Event[kube.Pod]{Change: kube.Reset})
	i.Pod(kube.Event[kube.Pod]{Change: kube.Synced})
	if got := target(); got != "" {
		t.Errorf("it is gone: %q", got)
	}
	for n := range maxTargets + 10 {
		put(fmt.Sprint(n), "8080")
	}
	if n := len(i.pods.byUID); n != maxTargets {
		t.Errorf("%d pods", n)
	}
	i.Pod(kube.Event[kube.Pod]{Change: kube.Delete, Object: aPod(func(p *kube.Pod) { p.Metadata.UID = "0" })})
	put("u1", "8080")
	if got := target(); got == "" {
		t.Error("there is room, and it is not taken")
	}
}

func TestReadFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "inspect")
	for text, want := range map[string]string{
		"# nothing\n\n": "[]",
		"/a metrics http://127.0.0.1:80\n/b pprof http://[::1]:6060/p?gc=1\n/a\tpprof http://127.0.0.1:1/\n": "[{/a http://127.0.0.1:80/metrics http://127.0.0.1:1/debug/pprof/heap} {/b  http://[::1]:6060/p?gc=1}]",
		"/a metrics":                                       ":1: want a cgroup, metrics or pprof, and a URL",
		"# x\na metrics http://127.0.0.1:80":               ":2: \"a\" is no path of a cgroup",
		"/a/../b metrics http://127.0.0.1:80":              "no path of a cgroup",
		"/a traces http://127.0.0.1:80":                    "neither metrics nor pprof",
		"/a metrics https://127.0.0.1:80":                  "want a URL such as http://127.0.0.1:8080/metrics",
		"/a metrics http://me:secret@127.0.0.1:80":         "want a URL such as",
		"/a metrics http://10.0.0.1:80":                    "no loopback address",
		"/a metrics http://localhost:80":                   "no loopback address with a port: write 127.0.0.1:PORT",
		"/a metrics http://127.0.0.1":                      "no loopback address",
		"/a metrics http://127.0.0.1:1 x":                  "want a cgroup",
		"/a pprof http://[::1]:1\n/a pprof http://[::1]:2": ":2: /a has pprof twice",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		all, err := ReadFile(name)
		got := fmt.Sprint(all)
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, want) || strings.Contains(got, "secret") {
			t.Errorf("%q: %s; want %s", text, got, want)
		}
	}
	if _, err := ReadFile(t.TempDir()); err == nil {
		t.Error("a directory is no file")
	}
}
