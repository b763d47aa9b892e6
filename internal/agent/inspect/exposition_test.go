package inspect

import (
	"fmt"
	"maps"
	"math"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
)

func read(t testing.TB, text string) map[string]float64 {
	t.Helper()
	values, err := exposition(t.Context(), strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return values
}

func TestExposition(t *testing.T) {
	text := `# HELP sse_connections_active Clients.
# TYPE sse_connections_active gauge
sse_connections_active{route="/a}\"{"} 3
sse_connections_active{route="/b"} 4 1700000000000
# TYPE requests counter
requests{code="200"} 10
# TYPE requests_seen_total counter
requests_seen_total 10
# TYPE latency histogram
latency_bucket{le="1"} 5
latency_sum 7
latency_count 5
# TYPE size summary
size{quantile="0.5"} 1
size_sum 2
jobs 5
jobs_created 6
# TYPE go_goroutines gauge
go_goroutines 12
process_resident_memory_bytes 1e9
# TYPE depth gauge
depth -1.5e1
# TYPE odd gauge
odd NaN
inf +Inf
<html> 5
7days 1
unclosed{a="b" 4
two words here 5
`
	want := map[string]float64{"sse_connections_active": 7, "jobs": 5, "depth": -15}
	if got := read(t, text); !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// What the usual library writes is read as it was meant.
func TestClientGolang(t *testing.T) {
	r := prometheus.NewRegistry()
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "open", Help: "a\nb \\ c"}, []string{"label"})
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: "seen"})
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "took"})
	s := prometheus.NewSummary(prometheus.SummaryOpts{Name: "sizes", Objectives: map[float64]float64{0.5: 0.1}})
	r.MustRegister(g, c, h, s)
	g.WithLabelValues("} \" \n \\").Set(2.5)
	g.WithLabelValues("").Set(1)
	c.Inc()
	h.Observe(1)
	s.Observe(1)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&b, f); err != nil {
			t.Fatal(err)
		}
	}
	if got := read(t, b.String()); !maps.Equal(got, map[string]float64{"open": 3.5}) {
		t.Errorf("%v of\n%s", got, &b)
	}
}

// There are not more gauges than a bound, and the first ones are kept.
func TestManyGauges(t *testing.T) {
	var b strings.Builder
	for n := range 10 * maxGauges {
		fmt.Fprintf(&b, "g%d 1\n", n)
	}
	fmt.Fprintf(&b, "g0 1\n%s 1\n", strings.Repeat("x", maxName+1))
	got := read(t, b.String())
	if len(got) != maxGauges || got["g0"] != 2 || got["g99"] != 1 {
		t.Errorf("%d gauges", len(got))
	}
}

// Whatever is read has names as metrics have them, finite values, and a bounded number of them.
func FuzzExposition(f *testing.F) {
	f.Add("# TYPE a gauge\na{b=\"c\"} 1 2\n")
	f.Add("a 1e308\na 1e308\nb -1\n#\n")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := exposition(t.Context(), strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		for name, v := range got {
			if math.IsNaN(v) || math.IsInf(v, 0) || name == "" || len(name) > maxName || strings.ContainsAny(name, " {}\"\n") || !strings.Contains(text, name) {
				t.Errorf("%q is %v", name, v)
			}
		}
		if len(got) > maxGauges {
			t.Errorf("%d gauges", len(got))
		}
	})
}

// What is read of a file leads to this machine alone.
func FuzzTarget(f *testing.F) {
	f.Add("/a metrics http://127.0.0.1:80/m")
	f.Add("/a pprof http://[::1]:80?x#y")
	f.Fuzz(func(t *testing.T, text string) {
		var target Target
		if target.line(strings.Fields(text)) != nil {
			return
		}
		for _, at := range []string{target.Metrics, target.Pprof} {
			if at == "" {
				continue
			}
			u, err := url.Parse(at)
			if err != nil {
				t.Fatal(err)
			}
			if host, err := netip.ParseAddrPort(u.Host); err != nil || !host.Addr().IsLoopback() || u.Scheme != "http" {
				t.Errorf("%q leads to %q", text, at)
			}
		}
	})
}
