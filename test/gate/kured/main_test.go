//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"stella/internal/testkit"
)

// cluster is an API server with one node and kured's DaemonSet, and a Prometheus.
type cluster struct {
	mu        sync.Mutex
	lock      string // "" is nobody's
	version   int
	cordoned  bool
	conflicts int
	did       []string
	alerts    string // an answer of Prometheus
}

func (c *cluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	switch r.Method + " " + r.URL.Path {
	case "GET /api/v1/query":
		c.did = append(c.did, "alerts")
		io.WriteString(w, c.alerts)
		return
	case "PATCH /api/v1/nodes/n1":
		c.cordoned = strings.Contains(string(body), "true")
		c.did = append(c.did, fmt.Sprintf("cordon %v", c.cordoned))
		fallthrough
	case "GET /api/v1/nodes/n1":
		fmt.Fprintf(w, `{"kind":"Node","metadata":{"name":"n1"},"spec":{"unschedulable":%v}}`, c.cordoned)
		return
	case "PATCH /apis/apps/v1/namespaces/kube-system/daemonsets/kured":
		var patch struct {
			Metadata struct {
				Version     string             `json:"resourceVersion"`
				Annotations map[string]*string `json:"annotations"`
			} `json:"metadata"`
		}
		if err := json.Unmarshal(body, &patch); err != nil || patch.Metadata.Version != fmt.Sprint(c.version) || c.conflicts > 0 {
			c.conflicts--
			w.WriteHeader(http.StatusConflict)
			return
		}
		c.version++
		c.lock = ""
		c.did = append(c.did, "unlock")
		if text := patch.Metadata.Annotations["weave.works/kured-node-lock"]; text != nil {
			c.lock = *text
			c.did[len(c.did)-1] = "lock"
		}
		fallthrough
	case "GET /apis/apps/v1/namespaces/kube-system/daemonsets/kured":
		annotations := map[string]string{"other": "x"}
		if c.lock != "" {
			annotations["weave.works/kured-node-lock"] = c.lock
		}
		text, _ := json.Marshal(annotations)
		fmt.Fprintf(w, `{"kind":"DaemonSet","metadata":{"name":"kured","resourceVersion":"%d","annotations":%s}}`, c.version, text)
		return
	}
	w.WriteHeader(http.StatusNotFound)
}

func (c *cluster) done() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.did, ", ")
}

// rig is a kured that can be looked with, once at a time.
func rig(t *testing.T, c *cluster, change func(o *options)) (*daemon, string) {
	t.Helper()
	dir := t.TempDir()
	s := httptest.NewServer(c)
	t.Cleanup(s.Close)
	file := filepath.Join(dir, "kubeconfig")
	text := fmt.Sprintf("current-context: c\ncontexts: [{name: c, context: {cluster: c}}]\nclusters: [{name: c, cluster: {server: %q}}]\n", s.URL)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", file)
	o, err := parse([]string{"--node-id=n1", "--reboot-sentinel=" + filepath.Join(dir, "sentinel"), "--reboot-command=touch " + filepath.Join(dir, "rebooted"), "--prometheus-url=" + s.URL},
		func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(o.sentinel, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	// What only the test's own process 1 could show is left to the cluster: to enter the mounts that one has takes the same rights.
	o.mounts = "/proc/self/ns/mnt"
	if change != nil {
		change(&o)
	}
	d, err := newDaemon(o, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.api.Close)
	return d, filepath.Join(dir, "rebooted")
}

const calm = `{"status":"success","data":{"result":[]}}`

func alerts(each ...string) string {
	for i, a := range each {
		name, state, _ := strings.Cut(a, ":")
		each[i] = fmt.Sprintf(`{"metric":{"alertname":%q,"alertstate":%q}}`, name, state)
	}
	return `{"status":"success","data":{"result":[` + strings.Join(each, ",") + `]}}`
}

// A look asks in kured's order, and ends where the answer is no.
func TestLook(t *testing.T) {
	testkit.Need(t, testkit.Root)
	for _, x := range []struct {
		name    string
		cluster *cluster
		change  func(o *options)
		did     string
		reboots bool
	}{
		{"all says yes", &cluster{alerts: calm}, nil, "alerts, lock, cordon true", true},
		{"the window is shut", &cluster{alerts: calm}, func(o *options) {
			now := time.Now().UTC()
			o.start, o.end = now.Add(2*time.Hour).Format("15:04"), now.Add(3*time.Hour).Format("15:04")
		}, "", false},
		{"no wish", &cluster{alerts: calm}, func(o *options) { o.sentinel += "-not" }, "", false},
		{"no wish by command", &cluster{alerts: calm}, func(o *options) { o.sentinelCommand = "sh -c 'exit 1'" }, "", false},
		{"a wish by command", &cluster{alerts: calm}, func(o *options) { o.sentinelCommand = "sh -c 'exit 0'"; o.sentinel += "-not" }, "alerts, lock, cordon true", true},
		{"a command that fails", &cluster{alerts: calm}, func(o *options) { o.sentinelCommand = "sh -c 'exit 3'" }, "", false},
		{"an alert", &cluster{alerts: alerts("A:pending")}, nil, "alerts", false},
		{"an alert that only pends", &cluster{alerts: alerts("A:pending")}, func(o *options) { o.firingOnly = true }, "alerts, lock, cordon true", true},
		{"an alert that is ignored", &cluster{alerts: alerts("A:firing")}, func(o *options) { o.filter = "^(A|B)$" }, "alerts, lock, cordon true", true},
		{"another one", &cluster{alerts: alerts("A:firing", "C:firing")}, func(o *options) { o.filter = "^(A|B)$" }, "alerts", false},
		{"another than the only ones", &cluster{alerts: alerts("C:firing")}, func(o *options) { o.filter, o.matchOnly = "^A$", true }, "alerts, lock, cordon true", true},
		{"a Prometheus that fails", &cluster{alerts: `{"status":"error"}`}, nil, "alerts", false},
		{"a lock of another node", &cluster{alerts: calm, lock: `{"nodeID":"n2"}`}, nil, "alerts", false},
		{"a lock of its own", &cluster{alerts: calm, lock: `{"nodeID":"n1"}`}, nil, "alerts, cordon true", true},
		{"a lock that another takes first", &cluster{alerts: calm, conflicts: 1}, nil, "alerts", false},
	} {
		t.Run(x.name, func(t *testing.T) {
			d, rebooted := rig(t, x.cluster, x.change)
			got, err := d.look(t.Context())
			_, statErr := os.Stat(rebooted)
			if err != nil || got != x.reboots || (statErr == nil) != x.reboots || x.cluster.done() != x.did {
				t.Errorf("rebooted %v, %v; %v; did %q, want %q", got, err, statErr, x.cluster.done(), x.did)
			}
		})
	}
}

// After a reboot the node is given back, and a node that was cordoned before stays so.
func TestTakeBack(t *testing.T) {
	for lock, did := range map[string]string{
		"":                "",
		`{"nodeID":"n2"}`: "",
		`{"nodeID":"n1","metadata":{"unschedulable":false}}`: "cordon false, unlock",
		`{"nodeID":"n1","metadata":{"unschedulable":true}}`:  "unlock",
	} {
		c := &cluster{lock: lock}
		d, _ := rig(t, c, nil)
		if err := d.takeBack(t.Context()); err != nil || c.done() != did {
			t.Errorf("%s: %v, did %q, want %q", lock, err, c.done(), did)
		}
	}
}

// The whole program reboots once, and has its metric.
func TestRun(t *testing.T) {
	testkit.Need(t, testkit.Root)
	c := &cluster{alerts: calm}
	port := freePort(t)
	d, rebooted := rig(t, c, func(o *options) {
		o.period, o.metricsHost, o.metricsPort = 20*time.Millisecond, "127.0.0.1", port
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error)
	go func() { ended <- d.run(ctx) }()
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(rebooted); err == nil {
			break
		}
		if time.Since(began) > time.Minute {
			t.Fatal("no reboot")
		}
	}
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		text, err := scrape(fmt.Sprintf("http://127.0.0.1:%d/metrics", port))
		if strings.Contains(text, "\nkured_reboot_required{node=\"n1\"} 1\n") {
			break
		}
		if time.Since(began) > time.Minute {
			t.Fatalf("%q, %v", text, err)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if did := c.done(); did != "alerts, lock, cordon true" {
		t.Errorf("did %q", did)
	}
}

// scrape asks for metrics once.
func scrape(url string) (string, error) {
	answer, err := http.Get(url)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return string(text), err
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func TestParse(t *testing.T) {
	variables := map[string]string{"KURED_NODE_ID": "n1", "KURED_REBOOT_SENTINEL": "/b"}
	o, err := parse([]string{"--reboot-sentinel=/a", "--period", "5m"}, func(name string) (string, bool) {
		value, ok := variables[name]
		return value, ok
	})
	if err != nil || o.node != "n1" || o.sentinel != "/b" || o.period != 5*time.Minute {
		t.Errorf("%+v, %v", o, err)
	}
}

func TestMisuse(t *testing.T) {
	none := func(string) (string, bool) { return "", false }
	for want, args := range map[string][]string{
		"KURED_NODE_ID":   nil,
		"not defined":     {"--what"},
		"no time of day":  {"--node-id=n", "--start-time=noon"},
		"is no command":   {"--node-id=n", "--reboot-sentinel-command='"},
		"missing closing": {"--node-id=n", "--alert-filter-regexp=("},
	} {
		if err := run(t.Context(), args, none, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", args, err, want)
		}
	}
	if _, err := parse([]string{"--node-id=n"}, func(name string) (string, bool) { return "often", name == "KURED_PERIOD" }); err == nil {
		t.Error("a period of often")
	}
	if _, err := (options{mounts: "/proc/self/ns/mnt"}).hostCommand("/missing/program", slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a program that is not there ran")
	}
}

func TestWindow(t *testing.T) {
	for text, want := range map[string][]string{
		"0:00 23:59:59": {"00:00", "01:00", "02:00", "03:00", "04:00", "12:00", "22:00", "23:59"},
		"02:00 04:00":   {"02:00", "03:00", "04:00"},
		"22:00 01:30":   {"00:00", "01:00", "22:00", "23:59"},
	} {
		start, end, _ := strings.Cut(text, " ")
		w, err := newWindow(start, end)
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range []string{"00:00", "01:00", "02:00", "03:00", "04:00", "12:00", "22:00", "23:59"} {
			moment, err := time.Parse("15:04", at)
			if err != nil {
				t.Fatal(err)
			}
			if in := slices.Contains(want, at); w.has(moment) != in {
				t.Errorf("%s in %s: %v", at, text, w.has(moment))
			}
		}
	}
}

func TestSplit(t *testing.T) {
	for command, want := range map[string]string{
		"/bin/systemctl reboot": "/bin/systemctl|reboot", " a\t'b c'd \"e'f\" ''": "a|b cd|e'f|", "'": "", "  ": "",
	} {
		words, err := split(command)
		if got := strings.Join(words, "|"); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", command, got, err)
		}
	}
}
