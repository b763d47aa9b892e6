package telemetry

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
)

var update = flag.Bool("update", false, "write docs/metrics.md instead of comparing it")

// What is made from the registry must be what is in docs/.
func TestDocs(t *testing.T) {
	const name = "../../docs/metrics.md"
	var got bytes.Buffer
	writeMetrics(t, &got)
	if *update {
		if err := os.WriteFile(name, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("%s is not what the registry says; run go test ./internal/telemetry -run TestDocs -update (-file +registry):\n%s", name, diff)
	}
}

func writeMetrics(t *testing.T, w io.Writer) {
	fmt.Fprint(w, `# Metrics

`+"`stellad`"+` serves these for Prometheus at `+"`/metrics`"+` of its admin listener, which also has `+"`/livez`"+`, `+"`/readyz`"+` and
`+"`/debug/pprof/`"+`. The table is made from `+"`internal/telemetry`"+`, and a test compares the two.

Gauges are asked for at each scrape; what cannot be known at that moment is left out. Metrics of jobs are of the
database, so several servers that share one show the same: take `+"`max`"+`, not `+"`sum`"+`, over them. All others are of one server.

| metric | type | labels | what |
|---|---|---|---|
`)
	for _, f := range families(t) {
		fmt.Fprintf(w, "| `%s` | %s | %s | %s |\n", f.GetName(), strings.ToLower(f.GetType().String()), labels(f), f.GetHelp())
	}
	quoted := func(list []string) string { return "`" + strings.Join(list, "`, `") + "`" }
	fmt.Fprintf(w, `
The values of labels are bounded. `+"`pool`, `from` and `to`"+` are names of pools, at most %d in the life of a server; `+"`worker`"+` is
POOL-NUMBER. What is beyond, or in none of these lists, is `+"`%s`"+`. No label has an image or a digest.

| label | values |
|---|---|
| `+"`outcome`"+` | %s |
| `+"`reason` of `scanner_worker_restarts_total`"+` | %s |
| `+"`reason` of `scanner_sbom_generation_failures_total`"+` | %s |
| `+"`state`"+` | %s |

`+"`scanner_scan_duration_seconds`"+` is also a native histogram, for servers that take those. Beside these there are the usual
`+"`go_`, `process_` and `promhttp_`"+` metrics of the program itself.

Rules for alerts are in `+"`deploy/alerts/scanner.yaml`"+`, their tests in `+"`deploy/alerts/scanner_test.yaml`"+`.
`, maxPools, other, quoted(outcomes), quoted(reasons), quoted(failures), quoted(states))
}

// families are the metrics of our own, with at least one series each.
func families(t *testing.T) []*dto.MetricFamily {
	t.Helper()
	s, _ := watched(t)
	all, err := s.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(f *dto.MetricFamily) bool {
		return !strings.HasPrefix(f.GetName(), "scanner_") && !strings.HasPrefix(f.GetName(), "stella_")
	})
}

func labels(f *dto.MetricFamily) string {
	var names []string
	for _, l := range f.GetMetric()[0].GetLabel() {
		names = append(names, "`"+l.GetName()+"`")
	}
	return strings.Join(names, ", ")
}

// Every metric that is declared is in the document: one that no test makes would be missing there.
func TestFamiliesAreComplete(t *testing.T) {
	want := []string{
		"scanner_attempts_total", "scanner_cache_bytes", "scanner_jobs_pending", "scanner_jobs_running", "scanner_layer_cache_hits_total",
		"scanner_layers_total", "scanner_oom_reroutes_total", "scanner_pool_memory_limit_bytes", "scanner_pool_workers", "scanner_queue_oldest_seconds",
		"scanner_sbom_generation_failures_total", "scanner_scan_duration_seconds", "scanner_scan_timeout_total", "scanner_state_duration_seconds",
		"scanner_store_up", "scanner_worker_memory_limit_bytes", "scanner_worker_memory_usage_bytes", "scanner_worker_quiet_seconds",
		"scanner_worker_restarts_total", "stella_build_info",
	}
	var got []string
	for _, f := range families(t) {
		got = append(got, f.GetName())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
