package loop

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"stella/internal/gate"
)

// staleAfter is for how many periods a loop may not look and still be called alive.
const staleAfter = 3

// maxBlocker bounds the text of one blocker as a label, in bytes.
const maxBlocker = 200

// Metrics is what Prometheus is told of a gate, in its text format, and what a kubelet is told of its health. Its methods may be called at the same time.
//
// It is written by hand: Prometheus' library for Go takes 4 MiB of the 16 that a gate may have (docs/adr/0018-gate.md).
type Metrics struct {
	Node    string
	Period  time.Duration
	Gated   func() bool // whether the gated file is there
	Version string

	mu      sync.Mutex
	last    gate.Verdict
	seen    bool
	began   time.Time // when the last iteration began
	i, most int
}

func (m *Metrics) iterate(i, most int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.i, m.most, m.began = i, most, time.Now()
}

func (m *Metrics) verdict(v gate.Verdict) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last, m.seen = v, true
}

// Handler serves /metrics, /livez and /readyz.
func (m *Metrics) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		fmt.Fprint(w, m.text())
	})
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { m.health(w, true) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { m.health(w, false) })
	return mux
}

// health answers whether iterations come (live), and whether one has come to an end.
func (m *Metrics) health(w http.ResponseWriter, live bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case live && !m.began.IsZero() && time.Since(m.began) > staleAfter*m.Period:
		http.Error(w, fmt.Sprintf("the last iteration began %v ago", time.Since(m.began).Round(time.Second)), http.StatusServiceUnavailable)
	case !live && !m.seen:
		http.Error(w, "the first look has not come to an end", http.StatusServiceUnavailable)
	default:
		fmt.Fprintln(w, "ok")
	}
}

// text is all of it.
func (m *Metrics) text() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := exposition{node: m.Node}
	e.family("stella_gate_build_info", "gauge", "The version.", sample{1, labels{"version", m.Version}})
	e.family("stella_gate_iteration", "gauge", "Which iteration of this process it is.", sample{float64(m.i), nil})
	e.family("stella_gate_max_iterations", "gauge", "With how many the process ends; 0 is without end.", sample{float64(m.most), nil})
	e.family("stella_gate_period_seconds", "gauge", "How often it looks.", sample{m.Period.Seconds(), nil})
	e.family("process_resident_memory_bytes", "gauge", "Resident memory.", sample{float64(resident()), nil})
	if m.seen {
		m.verdictText(&e)
	}
	return e.String()
}

func (m *Metrics) verdictText(e *exposition) {
	v := m.last
	pending := 0.0
	if !v.Pending.IsZero() {
		pending = max(0, time.Since(v.Pending).Seconds())
	}
	e.family("stella_gate_last_evaluation_timestamp", "gauge", "When it last looked, in seconds since 1970.", sample{float64(v.Time.UnixMilli()) / 1000, nil})
	e.family("stella_gate_open", "gauge", "Whether the node may be rebooted.", sample{one(v.Open), nil})
	e.family("stella_gate_reboot_pending_seconds", "gauge", "How long the node has wanted a reboot, by the age of the raw file; 0 where it wants none.", sample{pending, nil})
	e.family("stella_gate_reboot_required", "gauge", "Whether each file is there: raw is the system's, gated is the one that kured looks for.",
		sample{one(!v.Pending.IsZero()), labels{"sentinel", "raw"}}, sample{one(m.Gated()), labels{"sentinel", "gated"}})
	var verdicts, blockers []sample
	for _, r := range v.Results {
		verdicts = append(verdicts, sample{one(r.Outcome != gate.Pass), labels{"check", r.Check, "reason", r.Reason}})
		for _, b := range r.Blockers {
			blockers = append(blockers, sample{1, labels{"check", r.Check, "blocker", strings.ToValidUTF8(b[:min(len(b), maxBlocker)], "")}})
		}
	}
	e.family("stella_gate_verdict", "gauge", "1 for each check that keeps the gate shut, with its reason; 0 for each that passes.", verdicts...)
	e.family("stella_gate_blocker", "gauge", "1 for each thing that a check named as what blocks, at most five for each check.", blockers...)
}

func one(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// resident is this process's resident memory in bytes, 0 where that is not known.
func resident() int64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize())
}

// labels are names and values in turn.
type labels []string

type sample struct {
	value  float64
	labels labels
}

// exposition is Prometheus' text format, version 0.0.4: https://prometheus.io/docs/instrumenting/exposition_formats/.
type exposition struct {
	strings.Builder
	node string
}

var escape = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)

// family writes one metric. Series of the same labels are written once: two of a kind would make the whole unreadable.
func (e *exposition) family(name, kind, help string, samples ...sample) {
	if len(samples) == 0 {
		return
	}
	fmt.Fprintf(e, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
	seen := map[string]bool{}
	for _, s := range samples {
		var series strings.Builder
		fmt.Fprintf(&series, `%s{node="%s"`, name, escape.Replace(e.node))
		for i := 0; i+1 < len(s.labels); i += 2 {
			fmt.Fprintf(&series, `,%s="%s"`, s.labels[i], escape.Replace(s.labels[i+1]))
		}
		if !seen[series.String()] {
			seen[series.String()] = true
			fmt.Fprintf(e, "%s} %s\n", &series, strconv.FormatFloat(s.value, 'g', -1, 64))
		}
	}
}
