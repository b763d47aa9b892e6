package agent

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
	"go.yaml.in/yaml/v3"

	"stella/internal/explain"
	"stella/internal/oom"
)

var update = flag.Bool("update", false, "write the table of metrics in docs/agent.md instead of comparing it")

// still is a source whose state a test sets.
type still struct {
	containers []oom.Container
	kills      []int64
	alive      []oom.Container
	scopes     map[oom.Scope]int64
	status     oom.AgentStatus
	ahead      map[string]*explain.Forecast // by cgroup
	warnings   int64
}

func (s *still) Forecasts(fn func(oom.Container, string, *explain.Forecast, bool)) {
	for cgroup, f := range s.ahead {
		fn(oom.Container{Name: "app", Namespace: "shop", Pod: "web-1"}, cgroup, f, f.Due)
	}
}

func (s *still) Warnings() int64 { return s.warnings }

func (s *still) Totals(fn func(oom.Container, string, int64)) {
	for i, c := range s.containers {
		fn(c, "/"+c.Name, s.kills[i])
	}
}

func (s *still) Each(fn func(oom.Container, string)) {
	for _, c := range s.alive {
		fn(c, "/"+c.Name)
	}
}

func (s *still) Scopes() map[oom.Scope]int64 { return s.scopes }
func (s *still) Status() oom.AgentStatus     { return s.status }

func gather(t *testing.T, s *still) map[string]*dto.MetricFamily {
	t.Helper()
	m := newMetrics("1.2.3", s)
	m.seen(2 * time.Millisecond)
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]*dto.MetricFamily{}
	for _, f := range families {
		all[f.GetName()] = f
	}
	return all
}

// series are those of one metric, as LABEL=VALUE,… VALUE.
func series(f *dto.MetricFamily) []string {
	var all []string
	for _, m := range f.GetMetric() {
		var labels []string
		for _, l := range m.GetLabel() {
			if l.GetValue() != "" {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
		}
		all = append(all, fmt.Sprintf("%s %g", strings.Join(labels, ","), m.GetCounter().GetValue()+m.GetGauge().GetValue()))
	}
	slices.Sort(all)
	return all
}

func TestEvents(t *testing.T) {
	gate := oom.Container{Name: "gate", Namespace: "kured", Pod: "gate-1", Image: "gate:1", ID: "ab"}
	quiet := oom.Container{Name: "quiet", Namespace: "kured", Pod: "quiet-1"}
	all := gather(t, &still{containers: []oom.Container{gate, {Name: "bad\xff"}}, kills: []int64{149, 1}, alive: []oom.Container{gate, quiet}})
	want := []string{
		"container=bad\uFFFD,id=/bad\uFFFD 1",
		"container=gate,id=/gate,image=gate:1,name=ab,namespace=kured,pod=gate-1 149",
		"container=quiet,id=/quiet,namespace=kured,pod=quiet-1 0",
	}
	if diff := cmp.Diff(want, series(all["container_oom_events_total"])); diff != "" {
		t.Error(diff)
	}
}

// However many containers there are, the series are bounded, and no kill is left out of their sum.
func TestEventsAreBounded(t *testing.T) {
	s := &still{}
	for i := range maxSeries + 500 {
		s.containers = append(s.containers, oom.Container{Name: strconv.Itoa(i)})
		s.kills = append(s.kills, 2)
	}
	var sum float64
	f := gather(t, s)["container_oom_events_total"]
	for _, m := range f.GetMetric() {
		sum += m.GetCounter().GetValue()
	}
	if n := len(f.GetMetric()); n != maxSeries+1 || sum != 2*(maxSeries+500) {
		t.Errorf("%d series, %g kills; want %d and %d", n, sum, maxSeries+1, 2*(maxSeries+500))
	}
}

func TestStates(t *testing.T) {
	s := &still{scopes: map[oom.Scope]int64{oom.ScopePod: 7}}
	s.status.Witnesses = []oom.WitnessReport{{Name: oom.WitnessLog, State: stateFailed}, {Name: oom.WitnessCounter, State: stateOK}, {Name: oom.WitnessTrace, State: stateOff}}
	s.status.Ledger = oom.LedgerStatus{Unattributed: 3, LostRecords: 4, Dropped: 5, Bytes: 6, Fault: "the disk is full"}
	all := gather(t, s)
	for name, want := range map[string][]string{
		"stella_oom_witness_up":           {"witness=cgroup-counter 1", "witness=kernel-log 0"},
		"stella_oom_unattributed_total":   {" 3"},
		"stella_kmsg_records_lost_total":  {" 4"},
		"stella_oom_ledger_dropped_total": {" 5"},
		"stella_oom_ledger_bytes":         {" 6"},
		"stella_oom_ledger_writable":      {" 0"},
	} {
		if diff := cmp.Diff(want, series(all[name])); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if got := series(all["stella_oom_kills_total"]); len(got) != len(scopes) || !slices.Contains(got, "constraint=pod 7") {
		t.Errorf("stella_oom_kills_total: %v", got)
	}
}

// What grows has a series each, also under names that are no UTF-8.
func TestForecasts(t *testing.T) {
	past := time.Now().Add(-time.Hour) // which is no negative time
	all := gather(t, &still{warnings: 3, ahead: map[string]*explain.Forecast{"/a": {At: past, Due: true}, "/b\xfe": {At: past}, "/b\xff": {At: past}}})
	for name, want := range map[string][]string{
		"stella_oom_forecast_seconds": {"container=app,id=/a,namespace=shop,pod=web-1 0", "container=app,id=/b\uFFFD,namespace=shop,pod=web-1 0"},
		"stella_oom_forecast_warning": {"container=app,id=/a,namespace=shop,pod=web-1 1", "container=app,id=/b\uFFFD,namespace=shop,pod=web-1 0"},
		"stella_oom_warnings_total":   {" 3"},
	} {
		if diff := cmp.Diff(want, series(all[name])); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

const docs = "../../docs/agent.md"

// The table in docs/agent.md is what the registry says.
func TestDocs(t *testing.T) {
	s := &still{containers: []oom.Container{{Name: "a"}}, kills: []int64{1}, ahead: map[string]*explain.Forecast{"/a": {}}}
	s.status.Witnesses = []oom.WitnessReport{{Name: oom.WitnessLog, State: stateOK}}
	var rows strings.Builder
	all := gather(t, s)
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for name := range all {
			if strings.HasPrefix(name, "stella_") || strings.HasPrefix(name, "container_") {
				if !yield(name) {
					return
				}
			}
		}
	}) {
		var labels []string
		for _, l := range all[name].GetMetric()[0].GetLabel() {
			labels = append(labels, "`"+l.GetName()+"`")
		}
		fmt.Fprintf(&rows, "| `%s` | %s | %s | %s |\n", name, strings.ToLower(all[name].GetType().String()), strings.Join(labels, ", "), all[name].GetHelp())
	}
	text, err := os.ReadFile(docs)
	if err != nil {
		t.Fatal(err)
	}
	const head = "| metric | type | labels | what |\n|---|---|---|---|\n"
	before, rest, ok := strings.Cut(string(text), head)
	old, after, ok2 := strings.Cut(rest, "\n\n")
	if !ok || !ok2 {
		t.Fatalf("%s has no table of metrics", docs)
	}
	want := strings.TrimSuffix(rows.String(), "\n")
	if *update {
		if err := os.WriteFile(docs, []byte(before+head+want+"\n\n"+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, old); diff != "" {
		t.Errorf("%s is not what the registry says; run go test ./internal/agent -run TestDocs -update:\n%s", docs, diff)
	}
}

// Every alert is about metrics that there are, and leads to a place in the document.
func TestAlertsLeadSomewhere(t *testing.T) {
	var file struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr string
				Annotations map[string]string
			}
		}
	}
	data, err := os.ReadFile("../../deploy/alerts/agent.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(docs)
	if err != nil {
		t.Fatal(err)
	}
	commands, err := os.ReadFile("../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	var anchors []string
	for _, m := range regexp.MustCompile(`(?m)^### (.*)$`).FindAllStringSubmatch(string(text), -1) {
		anchors = append(anchors, "docs/agent.md#"+strings.ReplaceAll(strings.ToLower(m[1]), " ", "-"))
	}
	var alerts int
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			alerts++
			for _, name := range regexp.MustCompile(`\b(?:stella|container)_[a-z_]+`).FindAllString(r.Expr, -1) {
				if !strings.Contains(string(text), "| `"+name+"` |") {
					t.Errorf("%s is about %s, which is not measured", r.Alert, name)
				}
			}
			if !slices.Contains(anchors, r.Annotations["runbook"]) {
				t.Errorf("%s leads to %s, which is not there", r.Alert, r.Annotations["runbook"])
			}
			for command := range strings.SplitSeq(r.Annotations["command"], ";") {
				words := strings.Fields(command)
				if len(words) < 3 || !strings.Contains(string(commands), strings.Join(words[:3], " ")) {
					t.Errorf("%s says to type %q, which is no command", r.Alert, command)
				}
			}
		}
	}
	if alerts != 6 {
		t.Errorf("%d alerts, want 6", alerts)
	}
}
