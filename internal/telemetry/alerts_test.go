package telemetry

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"stella/internal/testkit"
)

const alerts = "../../deploy/alerts/"

// rule is one of deploy/alerts/scanner.yaml.
type rule struct {
	Alert, Expr string
	Annotations map[string]string
}

func rules(t *testing.T) []rule {
	t.Helper()
	data, err := os.ReadFile(alerts + "scanner.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Groups []struct{ Rules []rule } }
	if err := yaml.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	var all []rule
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	return all
}

// TestAlertRules runs the rules' own tests, which are beside them in deploy/alerts.
func TestAlertRules(t *testing.T) {
	testkit.Need(t, testkit.Program("prometheus"))
	for _, args := range [][]string{
		{"check", "rules", alerts + "scanner.yaml", alerts + "agent.yaml"},
		{"test", "rules", alerts + "scanner_test.yaml", alerts + "agent_test.yaml"},
	} {
		if out, err := exec.Command("promtool", args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

var (
	metric = regexp.MustCompile(`\b(?:scanner|stella)_[a-z_]+`)
	title  = regexp.MustCompile(`(?m)^## (.*)$`)
	place  = regexp.MustCompile(`\{\{[^}]*\}\}`)
)

// Every alert is tested, is about metrics that there are, and says what to type and to read.
func TestAlertsLeadSomewhere(t *testing.T) {
	want := []string{"ScannerWorkerOOM", "ScannerWorkerMemoryHigh", "ScannerWorkerStuck", "ScannerQueueBacklog", "ScannerTimeoutExceeded", "ScannerSbomGenerationFailed"}
	known := map[string]bool{}
	for _, f := range families(t) {
		known[f.GetName()] = true
	}
	tests, reference, doctor := file(t, alerts+"scanner_test.yaml"), file(t, "../../docs/cli.md"), file(t, "../../docs/doctor.md")
	var anchors []string
	for _, m := range title.FindAllStringSubmatch(doctor, -1) {
		anchors = append(anchors, "docs/doctor.md#"+strings.ReplaceAll(m[1], ".", ""))
	}
	var got []string
	for _, r := range rules(t) {
		got = append(got, r.Alert)
		for _, name := range metric.FindAllString(r.Expr, -1) {
			if !known[name] {
				t.Errorf("%s is about %s, which is not measured", r.Alert, name)
			}
		}
		if n := strings.Count(tests, "alertname: "+r.Alert+"\n"); n < 3 {
			t.Errorf("%s is tested at %d moments; want before, during and after", r.Alert, n)
		}
		if !slices.Contains(anchors, r.Annotations["runbook"]) {
			t.Errorf("%s: no such runbook: %q", r.Alert, r.Annotations["runbook"])
		}
		command := place.ReplaceAllString(r.Annotations["command"], "X")
		words := regexp.MustCompile(`^stella( [a-z]+)+`).FindString(command)
		if words == "" || !strings.Contains(reference, "\n## "+words+"\n") {
			t.Errorf("%s: docs/cli.md has no %q", r.Alert, words)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("alerts %q, want %q", got, want)
	}
}

func file(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
