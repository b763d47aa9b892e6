package loop

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"stella/internal/gate"
)

// scrape reads the metrics as Prometheus' own parser does: names, labels in order, values.
func scrape(t *testing.T, m *Metrics) map[string]float64 {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(m.text()))
	if err != nil {
		t.Fatalf("%v in\n%s", err, m.text())
	}
	got := map[string]float64{}
	for name, f := range families {
		for _, s := range f.GetMetric() {
			var labels []string
			for _, l := range s.GetLabel() {
				if l.GetName() != "node" {
					labels = append(labels, l.GetName()+"="+l.GetValue())
				}
			}
			slices.Sort(labels)
			got[strings.Join(append([]string{name}, labels...), " ")] = s.GetGauge().GetValue()
		}
	}
	return got
}

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		there := true
		m := &Metrics{Node: "no\"de\\1\n", Period: time.Minute, Version: "1", Gated: func() bool { return there }}
		m.iterate(3, 72)
		if got := scrape(t, m); got["stella_gate_iteration"] != 3 || got["stella_gate_max_iterations"] != 72 || got["process_resident_memory_bytes"] < 1<<20 {
			t.Errorf("%v", got)
		}
		hostile := strings.Repeat("x\"\\\n\xff", 100)
		firing := gate.Blocked("firing", "", "3 alerts")
		firing.Check, firing.Blockers = "alerts", []string{`PVCStuckPending{namespace="hermes"}`, hostile, hostile}
		well := gate.Passed("well")
		well.Check = "nodes"
		m.verdict(gate.Verdict{Time: time.Now(), Pending: time.Now().Add(-25 * time.Hour), Results: []gate.Result{well, firing}})
		time.Sleep(time.Hour)
		got := scrape(t, m)
		for name, want := range map[string]float64{
			"stella_gate_open":                                                             0,
			"stella_gate_reboot_pending_seconds":                                           26 * 3600,
			"stella_gate_reboot_required sentinel=raw":                                     1,
			"stella_gate_reboot_required sentinel=gated":                                   1,
			"stella_gate_verdict check=alerts reason=firing":                               1,
			"stella_gate_verdict check=nodes reason=":                                      0,
			`stella_gate_blocker blocker=PVCStuckPending{namespace="hermes"} check=alerts`: 1,
		} {
			if v, ok := got[name]; !ok || v != want {
				t.Errorf("%s is %v, %v; want %v", name, v, ok, want)
			}
		}
		there = false
		m.verdict(gate.Verdict{Time: time.Now()})
		if got := scrape(t, m); got["stella_gate_reboot_pending_seconds"] != 0 || got["stella_gate_reboot_required sentinel=raw"] != 0 || got["stella_gate_reboot_required sentinel=gated"] != 0 {
			t.Errorf("%v", got)
		}
	})
}

// It is alive while looks begin, and ready when one has come to an end.
func TestHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &Metrics{Period: time.Minute, Gated: func() bool { return false }}
		status := func(path string) int {
			w := httptest.NewRecorder()
			m.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
			return w.Code
		}
		m.iterate(1, 0)
		if live, ready := status("/livez"), status("/readyz"); live != 200 || ready != 503 {
			t.Errorf("before the first look: %d, %d", live, ready)
		}
		m.verdict(gate.Verdict{})
		time.Sleep(staleAfter * time.Minute)
		if live, ready := status("/livez"), status("/readyz"); live != 200 || ready != 200 {
			t.Errorf("%d, %d", live, ready)
		}
		time.Sleep(time.Second)
		if live := status("/livez"); live != 503 {
			t.Errorf("of a loop that hangs: %d", live)
		}
	})
}
