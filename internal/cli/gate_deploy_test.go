package cli

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"stella/internal/testkit"
)

const (
	gateAlerts      = "../../deploy/alerts/gate.yaml"
	gateAlertsTests = "../../deploy/alerts/gate_test.yaml"
	gateManual      = "../../docs/gate.md"
)

func readDeployed(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestGateAlertRules(t *testing.T) {
	testkit.Need(t, testkit.Program("prometheus"))
	for _, args := range [][]string{{"check", "rules", gateAlerts}, {"test", "rules", gateAlertsTests}} {
		if out, err := exec.Command("promtool", args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// Every alert is tested before, during and after, is about metrics that the manual has, leads to a part of the manual
// and to a command that there is, and cannot be what keeps a node from being rebooted.
func TestGateAlertsLeadSomewhere(t *testing.T) {
	var file struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr         string
				Labels, Annotations map[string]string
			}
		}
	}
	if err := yaml.Unmarshal([]byte(readDeployed(t, gateAlerts)), &file); err != nil {
		t.Fatal(err)
	}
	manual, tests := readDeployed(t, gateManual), readDeployed(t, gateAlertsTests)
	_, ignored, _ := strings.Cut(manual, "\n--alert-filter-regexp=^(")
	ignored, _, _ = strings.Cut(ignored, ")$")
	var alerts []string
	for _, r := range file.Groups[0].Rules {
		alerts = append(alerts, r.Alert)
		for _, name := range regexp.MustCompile(`\bstella_gate_[a-z_]+`).FindAllString(r.Expr, -1) {
			if !strings.Contains(manual, "\n| `"+name+"` | ") {
				t.Errorf("%s is about %s, which %s does not have", r.Alert, name, gateManual)
			}
		}
		if n := strings.Count(tests, "alertname: "+r.Alert+"\n"); n < 3 {
			t.Errorf("%s is tested at %d moments; want before, during and after", r.Alert, n)
		}
		_, anchor, _ := strings.Cut(r.Annotations["runbook"], "#")
		title := "\n### " + strings.ReplaceAll(anchor, "-", " ") + "\n"
		if anchor == "" || !strings.Contains(strings.ToLower(strings.ReplaceAll(manual, "'", "")), title) {
			t.Errorf("%s leads to %q, which is not there", r.Alert, r.Annotations["runbook"])
		}
		if r.Labels["stella_gate"] != "ignores" {
			t.Errorf("%s lacks the label that keeps it from blocking reboots itself", r.Alert)
		}
		if words := strings.Fields(r.Annotations["command"]); words[0] == "stella" {
			if cmd, _, err := newRoot(&app{console: &console{}, getenv: func(string) string { return "" }}).Find(words[1:3]); err != nil || cmd.Name() != words[2] {
				t.Errorf("%s: there is no command %q", r.Alert, words[:3])
			}
		}
	}
	if want := strings.Join(alerts, "|"); ignored != want {
		t.Errorf("%s has kured ignore %s; the alerts are %s", gateManual, ignored, want)
	}
}

// The namespace of the manifest is the one that the commands look in, unless they are told otherwise.
func TestGateManifestNamespace(t *testing.T) {
	for document := range strings.SplitSeq(readDeployed(t, "../../deploy/kubernetes/gate.yaml"), "\n---\n") {
		var o struct {
			Kind     string
			Metadata struct{ Name, Namespace string }
		}
		if err := yaml.Unmarshal([]byte(document), &o); err != nil {
			t.Fatal(err)
		}
		if (o.Kind == "DaemonSet" || o.Kind == "ConfigMap") && o.Metadata.Namespace != gateNamespace {
			t.Errorf("%s %s is in namespace %q; want %q", o.Kind, o.Metadata.Name, o.Metadata.Namespace, gateNamespace)
		}
	}
}
