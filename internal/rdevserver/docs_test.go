package rdevserver

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.yaml.in/yaml/v3"

	"stella/internal/testkit"
)

const (
	rules  = "../../deploy/alerts/rdev.yaml"
	manual = "../../docs/rdev.md"
)

// ours are the names of the metrics that are no library's.
func ours(t *testing.T) (names []string) {
	t.Helper()
	m := newMetrics("x")
	m.answered(200)
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if name := f.GetName(); strings.HasPrefix(name, "rdev_") || strings.HasPrefix(name, "stella_") {
			names = append(names, name)
		}
	}
	described := make(chan *prometheus.Desc, 100)
	states{}.Describe(described)
	close(described)
	for d := range described {
		names = append(names, regexp.MustCompile(`fqName: "([^"]*)"`).FindStringSubmatch(d.String())[1])
	}
	return names
}

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// Every metric is in the manual, and the manual has no other.
func TestMetricsAreDescribed(t *testing.T) {
	var described []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| (?:gauge|counter|histogram)").FindAllStringSubmatch(read(t, manual), -1) {
		described = append(described, m[1])
	}
	names := ours(t)
	slices.Sort(names)
	slices.Sort(described)
	if !slices.Equal(names, described) {
		t.Errorf("the metrics are\n%q, and %s has\n%q", names, manual, described)
	}
}

func TestAlertRules(t *testing.T) {
	testkit.Need(t, testkit.Program("prometheus"))
	for _, args := range [][]string{{"check", "rules", rules}, {"test", "rules", strings.Replace(rules, ".yaml", "_test.yaml", 1)}} {
		if out, err := exec.Command("promtool", args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// Every alert is about metrics that there are, is tested, and leads to what to do.
func TestAlertsLeadSomewhere(t *testing.T) {
	var file struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr string
				Annotations map[string]string
			}
		}
	}
	if err := yaml.Unmarshal([]byte(read(t, rules)), &file); err != nil {
		t.Fatal(err)
	}
	known, text, tests := ours(t), read(t, manual), read(t, strings.Replace(rules, ".yaml", "_test.yaml", 1))
	for _, r := range file.Groups[0].Rules {
		for _, name := range regexp.MustCompile(`\b(?:rdev|commands|sse)_[a-z_]+`).FindAllString(r.Expr, -1) {
			if !slices.Contains(known, name) {
				t.Errorf("%s is about %s, which is not measured", r.Alert, name)
			}
		}
		if n := strings.Count(tests, "alertname: "+r.Alert+"\n"); n < 3 {
			t.Errorf("%s is tested at %d moments; want before, during and after", r.Alert, n)
		}
		_, anchor, _ := strings.Cut(r.Annotations["runbook"], "#")
		if title := "## " + strings.ReplaceAll(anchor, "-", " "); anchor == "" || !strings.Contains(strings.ToLower(text), "\n#"+title+"\n") {
			t.Errorf("%s leads to %q, which is not there", r.Alert, r.Annotations["runbook"])
		}
	}
}
