package cli

import (
	"bytes"
	"encoding/json"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"stella/internal/explain"
	"stella/internal/oom"
)

// someHeap is a heap profile as runtime/pprof writes it, of this process.
func someHeap(t *testing.T) http.HandlerFunc {
	t.Helper()
	runtime.GC()
	var b bytes.Buffer
	if err := pprof.Lookup("heap").WriteTo(&b, 0); err != nil {
		t.Fatal(err)
	}
	return func(w http.ResponseWriter, _ *http.Request) { w.Write(b.Bytes()) }
}

var held [][]byte

// hold allocates what the second profile has more.
//
//go:noinline
func hold() {
	for range 64 {
		held = append(held, make([]byte, 1<<20))
	}
}

// What the application counts, and where its heap grew, is in the report and in the drawing; where the heap cannot be read the report is as it was.
func TestExplainApplication(t *testing.T) {
	now := time.Now()
	samples, kill := leaking(now)
	var points []oom.GaugePoint
	for i := range samples {
		samples[i].Usage = int64(i*i/900) << 20
		samples[i].Anon, samples[i].WorkingSet = samples[i].Usage, samples[i].Usage
		points = append(points, oom.GaugePoint{Time: samples[i].Time, Value: float64(samples[i].Usage >> 20)})
	}
	heaps := []oom.Heap{
		{ID: "old", Time: now.Add(-50 * time.Minute), Life: "1"}, {ID: "h1", Time: now.Add(-14 * time.Minute), Life: "2"}, {ID: "h2", Time: now.Add(-time.Minute), Life: "2"},
		{ID: "h3", Time: now.Add(time.Second), Life: "3"},
	}
	answers := map[string]any{
		"GET /v1/containers": []oom.Usage{}, "GET /v1/kills": []oom.Kill{kill}, "GET /v1/kills/3f9a2c": kill, "GET /v1/series": samples,
		"GET /v1/gauges": []oom.Gauge{{Name: "jobs_open", Points: points}}, "GET /v1/heaps": heaps, "GET /v1/heaps/h1": someHeap(t),
	}
	hold()
	answers["GET /v1/heaps/h2"] = someHeap(t)
	f := newFakeAgent(t, answers)
	drawing := filepath.Join(t.TempDir(), "heap.svg")
	got := f.runAgent(t, "explain", "3f9a2c", "-o", "json", "--flame", drawing)
	var r explain.Report
	if err := json.Unmarshal([]byte(got.stdout), &r); err != nil || got.code != ExitOK || got.stderr != "" {
		t.Fatalf("exit %d, %v, %s", got.code, err, got.stderr)
	}
	if g := r.Findings[0].Gauge; g == nil || g.Name != "jobs_open" || math.Abs(g.PerUnit-1<<20) > 1<<14 {
		t.Errorf("the gauge is %+v of %+v", g, r.Findings[0])
	}
	if h := r.Heap; h == nil || len(h.Sites) == 0 || h.Sites[0].Function != "stella/internal/cli.hold" || h.Sites[0].Grown < 40<<20 || !h.From.Equal(heaps[1].Time) || !h.To.Equal(heaps[2].Time) {
		t.Errorf("the heap is %+v", h)
	}
	if text, err := os.ReadFile(drawing); err != nil || !strings.Contains(string(text), "<title>stella/internal/cli.hold: ") {
		t.Errorf("%v, %.300s", err, text)
	}
	if got := f.runAgent(t, "explain", "3f9a2c"); !strings.Contains(got.stdout, "\nHeap:       grew by ") || !strings.Contains(got.stdout, " by stella/internal/cli.hold (explain_application_test.go:") {
		t.Errorf("%s", got.stdout)
	}

	answers["GET /v1/heaps/h2"] = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("no profile")) })
	answers["GET /v1/gauges"] = http.NotFoundHandler()
	f = newFakeAgent(t, answers)
	got = f.runAgent(t, "explain", "3f9a2c")
	if got.code != ExitOK || !strings.Contains(got.stdout, "leak") || strings.Count(got.stderr, "warning: ") != 2 || !strings.Contains(got.stderr, "heap profile h2: ") {
		t.Errorf("exit %d, %s%s", got.code, got.stderr, got.stdout)
	}
	if got = f.runAgent(t, "explain", "3f9a2c", "--flame", drawing); got.code != ExitFailed || !strings.Contains(got.stderr, "not gzipped") {
		t.Errorf("exit %d, %s", got.code, got.stderr)
	}
	delete(answers, "GET /v1/heaps")
	f = newFakeAgent(t, answers)
	if got = f.runAgent(t, "explain", "3f9a2c", "--flame", drawing); got.code != ExitFailed || !strings.Contains(got.stderr, "stella/pprof") {
		t.Errorf("exit %d, %s", got.code, got.stderr)
	}
}

// What a container told before it was started again is of the same application.
func TestExplainEarlierLives(t *testing.T) {
	now := time.Now()
	samples, kill := leaking(now)
	usage := []oom.Usage{{Container: kill.Container, Cgroup: "/pods/new"}, {Container: kill.Container, Cgroup: kill.Cgroup, Gone: now}}
	asked := map[string][]string{}
	answer := func(what string, of map[string]any) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			cgroup := r.URL.Query().Get("cgroup")
			asked[what] = append(asked[what], cgroup)
			if err := json.NewEncoder(w).Encode(of[cgroup]); err != nil {
				t.Error(err)
			}
		}
	}
	f := newFakeAgent(t, map[string]any{
		"GET /v1/containers": usage, "GET /v1/kills": []oom.Kill{kill}, "GET /v1/kills/app": http.NotFoundHandler(), "GET /v1/series": samples,
		"GET /v1/gauges": answer("gauges", map[string]any{}),
		"GET /v1/heaps": answer("heaps", map[string]any{
			"/pods/new": []oom.Heap{{ID: "n1", Time: now.Add(-time.Second), Life: "new"}},
			kill.Cgroup: []oom.Heap{{ID: "o1", Time: now.Add(-9 * time.Minute), Life: "old"}, {ID: "o2", Time: now.Add(-time.Minute), Life: "old"}},
		}),
		"GET /v1/heaps/o1": someHeap(t), "GET /v1/heaps/o2": someHeap(t),
	})
	got := f.runAgent(t, "explain", "app", "-o", "json")
	var r explain.Report
	if err := json.Unmarshal([]byte(got.stdout), &r); err != nil || got.code != ExitOK || got.stderr != "" {
		t.Fatalf("exit %d, %v, %s", got.code, err, got.stderr)
	}
	if r.Heap == nil || !r.Heap.To.Equal(now.Add(-time.Minute)) {
		t.Errorf("the heap is %+v", r.Heap)
	}
	for what, cgroups := range asked {
		if len(cgroups) != 2 {
			t.Errorf("%s is asked of %v", what, cgroups)
		}
	}
}

// The pair that is compared is of one life, the newest that has two.
func TestChoose(t *testing.T) {
	begin := time.Now()
	at := func(minute int, id, life string) oom.Heap {
		return oom.Heap{ID: id, Life: life, Time: begin.Add(time.Duration(minute) * time.Minute)}
	}
	all := []oom.Heap{at(0, "a1", "a"), at(1, "a2", "a"), at(2, "a3", "a"), at(3, "b1", "b")}
	for _, c := range []struct {
		from int // minutes
		want string
	}{{0, "a1 a3"}, {2, "a1 a3"}, {3, " b1"}, {4, " "}} {
		first, last := choose(all, begin.Add(time.Duration(c.from)*time.Minute))
		got := ""
		for i, h := range []*oom.Heap{first, last} {
			if i == 1 {
				got += " "
			}
			if h != nil {
				got += h.ID
			}
		}
		if got != c.want {
			t.Errorf("from %d: %q, want %q", c.from, got, c.want)
		}
	}
}
