package cli

import (
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

	"stella/internal/explain"
	"stella/internal/oom"
)

// leaking is a container that grows by a MiB a second towards its limit, and the kill at its end.
func leaking(end time.Time) (samples []oom.Sample, kill oom.Kill) {
	const limit = 1 << 30
	for i := range 900 {
		used := int64(i) << 20
		samples = append(samples, oom.Sample{
			Time: end.Add(time.Duration(i-900) * time.Second), Usage: used, WorkingSet: used, Limit: limit, Anon: used, File: 0, Shmem: 0, Kernel: 0, Sock: 0, PIDs: 1,
		})
	}
	container := oom.Container{Namespace: "shop", Pod: "web-1", Name: "app"}
	return samples, oom.Kill{
		ID: "3f9a2c", Time: end, Count: 1, Cgroup: "/pods/web", Process: oom.Process{PID: 7, Comm: "app", Anon: limit},
		Limit: oom.Limit{Scope: oom.ScopeContainer, Cgroup: "/pods/web", Bytes: limit, Usage: limit}, Container: container, Confidence: oom.Certain,
	}
}

func TestExplain(t *testing.T) {
	now := time.Now()
	samples, kill := leaking(now)
	f := newFakeAgent(t, map[string]any{
		"GET /v1/kills": []oom.Kill{kill}, "GET /v1/kills/3f9a2c": kill, "GET /v1/series": samples,
		"GET /v1/containers": []oom.Usage{
			{Container: kill.Container, Cgroup: kill.Cgroup},
			{Container: oom.Container{Namespace: "shop", Pod: "web-1", Name: "proxy"}, Cgroup: "/pods/proxy"},
			{Container: oom.Container{Namespace: "shop", Pod: "web-1", Name: "proxy"}, Cgroup: "/pods/old", Gone: now},
		},
	})
	for _, name := range []string{"3f9a2c", "shop/web-1/app", "app", "/pods/web"} {
		got := f.runAgent(t, "explain", name, "-o", "json")
		var r explain.Report
		if err := json.Unmarshal([]byte(got.stdout), &r); err != nil || got.code != ExitOK {
			t.Fatalf("%s: exit %d, %v, %s", name, got.code, err, got.stderr)
		}
		if len(r.Findings) == 0 || r.Findings[0].Cause != explain.Leak || len(r.Findings[0].For) == 0 {
			t.Errorf("%s: %+v", name, r)
		}
	}
	got := f.runAgent(t, "explain", "3f9a2c")
	for _, want := range []string{"Container:  shop/web-1/app\n", "Cause:      leak (", "\nleak:\n  + "} {
		if !strings.Contains(got.stdout, want) {
			t.Errorf("it does not say %q:\n%s", want, got.stdout)
		}
	}
	for name, want := range map[string]string{
		"web-1": "web-1 means 2 containers: shop/web-1/app, shop/web-1/proxy; name one of them",
		"none":  "there is no kill, pod or container none on this node; see: stella oom list",
	} {
		if got := f.runAgent(t, "explain", name); got.code != ExitFailed || !strings.Contains(got.stderr, want) {
			t.Errorf("%s: exit %d, %s", name, got.code, got.stderr)
		}
	}
}

// What the container was before, when it began, and who was beside it on a node that was full, is asked for and told.
func TestExplainAsksAround(t *testing.T) {
	now := time.Now()
	samples, kill := leaking(now)
	kill.Limit = oom.Limit{Scope: oom.ScopeNode, Bytes: 16 << 30}
	kill.Container.PodUID = "u"
	started := now.Add(-20 * time.Minute)
	batch := oom.Container{Namespace: "reports", Pod: "batch-0", PodUID: "b", Name: "batch", Request: 1 << 20}
	f := newFakeAgent(t, map[string]any{
		"GET /v1/kills": []oom.Kill{kill}, "GET /v1/kills/3f9a2c": kill, "GET /v1/series": samples,
		"GET /v1/containers": []oom.Usage{
			{Container: kill.Container, Cgroup: kill.Cgroup, Started: started},
			{Container: kill.Container, Cgroup: "/pods/before", Started: started.Add(-time.Hour), Gone: started},
			{Container: oom.Container{Namespace: "shop", Pod: "web-1", PodUID: "u", Name: "proxy"}, Cgroup: "/pods/proxy", Gone: now.Add(-time.Hour)},
			{Container: batch, Cgroup: "/pods/batch", Sample: oom.Sample{WorkingSet: 9 << 30}},
		},
	})
	got := f.runAgent(t, "explain", "3f9a2c", "-o", "json")
	var r explain.Report
	if err := json.Unmarshal([]byte(got.stdout), &r); err != nil || got.code != ExitOK {
		t.Fatalf("exit %d, %v, %s", got.code, err, got.stderr)
	}
	if first := r.Findings[0]; first.Cause != explain.NodeFull || !strings.Contains(fmt.Sprint(first.For, first.Against), "reports/batch-0/batch grew by 599 MiB") {
		t.Errorf("%+v", first)
	}
	var series []string
	for _, asked := range f.requests() {
		if _, of, ok := strings.Cut(asked, "/v1/series?cgroup="); ok {
			series = append(series, of)
		}
	}
	if diff := cmp.Diff([]string{"%2Fpods%2Fbefore", "%2Fpods%2Fweb", "%2Fpods%2Fbatch"}, series); diff != "" {
		t.Errorf("series are asked for (-want +got):\n%s", diff)
	}
}

// A cgroup is found also by its path below the mount, and one of which nothing is known is no puzzle.
func TestExplainCgroup(t *testing.T) {
	samples, kill := leaking(time.Now())
	var asked []string
	f := newFakeAgent(t, map[string]any{
		"GET /v1/containers": []oom.Usage{}, "GET /v1/kills": []oom.Kill{},
		"GET /v1/series": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked = append(asked, r.URL.Query().Get("cgroup"))
			if err := json.NewEncoder(w).Encode(map[bool][]oom.Sample{true: samples, false: {}}[r.URL.Query().Get("cgroup") == kill.Cgroup]); err != nil {
				t.Error(err)
			}
		}),
	})
	for _, path := range []string{kill.Cgroup, "/sys/fs/cgroup" + kill.Cgroup, "/sys/fs/cgroup/memory" + kill.Cgroup + "/"} {
		if got := f.runAgent(t, "explain", path); got.code != ExitOK {
			t.Errorf("%s: exit %d, %s", path, got.code, got.stderr)
		}
	}
	if got := f.runAgent(t, "explain", "/none"); got.code != ExitFailed || !strings.Contains(got.stderr, "knows nothing of /none: neither samples nor kills of the last 1h; see: stella top containers") {
		t.Errorf("exit %d, %s%s", got.code, got.stderr, got.stdout)
	}
	if want := []string{kill.Cgroup, kill.Cgroup, kill.Cgroup, "/none"}; !slices.Equal(asked, want) {
		t.Errorf("asked for %q", asked)
	}
}

// Of a container that is started again and again, the newest lives are taken, and their number is bounded.
func TestLivesAreBounded(t *testing.T) {
	web := oom.Container{Namespace: "shop", Pod: "web-1", Name: "app"}
	all := []oom.Usage{{Cgroup: "/now", Container: web}}
	for i := range 3 * maxEarlier {
		all = append(all, oom.Usage{Cgroup: fmt.Sprint("/", i), Container: web, Gone: time.Unix(int64(i), 0)})
	}
	got := lives(all, "/now", &web)
	if len(got) != maxEarlier || got[0].Cgroup != fmt.Sprint("/", 2*maxEarlier+1) || got[maxEarlier-1].Cgroup != "/now" {
		t.Errorf("%d lives, from %s to %s", len(got), got[0].Cgroup, got[len(got)-1].Cgroup)
	}
}

// What somebody printed in a loop is explained without an agent, and what is wrong with it is said.
func TestExplainSamples(t *testing.T) {
	var grows strings.Builder
	grows.WriteString("$ while sleep 10; do date; kubectl top pod; done\n")
	for i := range 60 {
		fmt.Fprintf(&grows, "%s\nNAME CPU(cores) MEMORY(bytes)\nother-1 1m 20Mi\nweb-1 1m %dMi\n", time.Unix(1_795_000_000+10*int64(i), 0).UTC().Format(time.UnixDate), 100+5*i)
	}
	file := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(file, []byte(grows.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	got := runWith(t.Context(), t, nil, "explain", "--samples", file, "web-1", "--limit", "512Mi", "-o", "json")
	var r explain.Report
	if err := json.Unmarshal([]byte(got.stdout), &r); err != nil || got.code != ExitOK {
		t.Fatalf("exit %d, %v, %s", got.code, err, got.stderr)
	}
	if r.Container.Name != "web-1" || r.Findings[0].Cause != explain.Leak || r.Forecast == nil || r.Forecast.Limit != 512<<20 {
		t.Errorf("%+v", r)
	}
	if !strings.Contains(got.stderr, "1 line left out that are no readings, the first in line 1: $ while") {
		t.Errorf("it says %s", got.stderr)
	}
	for _, tt := range []struct {
		args string
		code ExitCode
		want string
	}{
		{"--samples " + file, ExitFailed, "these are readings of several: other-1, web-1; name one of them"},
		{"--samples " + file + " none", ExitFailed, `there are no readings of "none", but of other-1, web-1`},
		{"--samples " + file + ".none web-1", ExitFailed, "no such file"},
		{"--samples " + file + " --since 2h", ExitUsage, "--since is for what an agent has"},
		{"--samples " + file + " --unit m", ExitUsage, "--unit m: write B, K, M or G"},
		{"web-1 --limit 1Gi", ExitUsage, "--limit is for --samples FILE"},
		{"", ExitUsage, "needs what to explain"},
	} {
		if got := runWith(t.Context(), t, nil, append([]string{"explain"}, strings.Fields(tt.args)...)...); got.code != tt.code || !strings.Contains(got.stderr, tt.want) {
			t.Errorf("%s: exit %d, %s; want %d, %s", tt.args, got.code, got.stderr, tt.code, tt.want)
		}
	}
}
