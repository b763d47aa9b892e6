package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"stella/internal/incident"
	"stella/internal/oom"
	"stella/internal/remedy"
)

// A plan for what is in no Kubernetes is left to a person, in commands that can be typed.
func TestRemedyPlan(t *testing.T) {
	now := time.Now()
	container := oom.Container{Unit: "db.service"}
	var samples []oom.Sample
	for i := range 900 {
		samples = append(samples, oom.Sample{Time: now.Add(time.Duration(i-900) * time.Second), Usage: 60 << 20, WorkingSet: 60 << 20, Limit: 64 << 20, Anon: 60 << 20, PIDs: 1})
	}
	f := newFakeAgent(t, map[string]any{
		"GET /v1/kills": []oom.Kill{}, "GET /v1/series": samples,
		"GET /v1/incidents":  []incident.Incident{{ID: "0123456789ab", Subject: incident.Subject{Cgroup: "/other"}}, {ID: "ba9876543210", Subject: incident.Subject{Cgroup: "/system.slice/db.service"}}},
		"GET /v1/limits":     []oom.CgroupLimit{{Cgroup: "/system.slice/db.service", Bytes: 64 << 20}, {Cgroup: "/system.slice"}},
		"GET /v1/containers": []oom.Usage{{Container: container, Cgroup: "/system.slice/db.service", Sample: samples[0]}},
	})
	got := f.runAgent(t, "remedy", "plan", "db.service")
	for _, want := range []string{
		" limit too low (", "Limit now:  64.0 MiB\n", "Back: systemctl set-property db.service MemoryMax=67108864\n", "Kind: unit, by a person\n", "    $ systemctl set-property db.service MemoryMax=83886080\n", "Risk: low. ",
	} {
		if !strings.Contains(got.stdout, want) || got.code != ExitOK {
			t.Errorf("exit %d, %s: it does not say %q:\n%s", got.code, got.stderr, want, got.stdout)
		}
	}
	got = f.runAgent(t, "remedy", "plan", "/system.slice/db.service", "--limit", "1Gi", "-o", "json")
	var p remedy.Plan
	if err := json.Unmarshal([]byte(got.stdout), &p); err != nil || p.Check() != nil || p.Subject.Cgroup != "/system.slice/db.service" || p.Incident != "ba9876543210" {
		t.Errorf("%v: %s", err, got.stdout)
	}
}

// What is wrong is said before anybody is asked.
func TestRemedyUsage(t *testing.T) {
	dir := t.TempDir()
	p := remedy.ForService(&incident.Details{Incident: incident.Incident{Limit: incident.Limit{Bytes: 512 << 20}}}, 0, time.Now())
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"plan": string(text), "edited": strings.Replace(string(text), "768Mi", "900Mi", 1), "none": "{}", "text": "hello", "large": strings.Repeat(" ", maxPlanFile+1),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	env := map[string]string{"XDG_STATE_HOME": dir, "HOME": dir}
	t.Setenv("KUBECONFIG", filepath.Join(dir, "no-kubeconfig"))
	for _, c := range []struct {
		args string
		code ExitCode
		want string
	}{
		{"plan", ExitUsage, "needs what to plan for"},
		{"plan x --limit 0", ExitUsage, "above zero"},
		{"apply plan", ExitUsage, "say which step"},
		{"apply plan --step 1 --approve", ExitUsage, "--approve needs --reason"},
		{"apply plan --step 1 --reason x", ExitUsage, "add --approve"},
		{"apply plan --step 1 --dry-run=client", ExitUsage, "only the server can try it"},
		{"apply plan --step 1 --rollback-if-not-held", ExitUsage, "add --approve"},
		{"apply plan --step 1 --below 0", ExitUsage, "from 1 to 100"},
		{"apply plan --step 2", ExitFailed, "has no step 2; it has 1"},
		{"apply edited --step 1", ExitFailed, "was changed since it was made"},
		{"apply none --step 1", ExitFailed, "it has no id"},
		{"apply text --step 1", ExitFailed, "is no plan of stella remedy plan -o json"},
		{"apply large --step 1", ExitFailed, "it is no plan"},
		{"apply missing --step 1", ExitFailed, "no such file"},
		{"apply plan --step 1", ExitFailed, "no kubeconfig"},
		{"verify 0123456789ab --audit-log a/b", ExitFailed, "there is no audit log a/b yet"},
		{"rollback plan --audit-log a/b --approve --reason x", ExitFailed, "there is no audit log a/b yet"},
		{"verify", ExitUsage, "needs a plan"},
		{"undo", ExitUsage, "is not a command"},
	} {
		got := runWith(t.Context(), t, env, append([]string{"remedy"}, strings.Fields(c.args)...)...)
		if got.code != c.code || !strings.Contains(got.stderr, c.want) || got.stdout != "" {
			t.Errorf("%s: exit %d, %q, %q; want exit %d and %q", c.args, got.code, got.stderr, got.stdout, c.code, c.want)
		}
	}
}

// What the scanner's workers need is a setting of the service, which keeps the incident.
func TestRemedyPlanOfAService(t *testing.T) {
	d := incident.Details{Incident: incident.Incident{ID: "job-7", Source: incident.SourceWorker, Subject: incident.Subject{Name: "debian:12 (job 7)"}, Limit: incident.Limit{Bytes: 64 << 20}}}
	f := newFakeService(t, map[string]any{"GET /v1/incidents/job-7": d})
	got := runWith(t.Context(), t, map[string]string{"STELLA_SERVER": f.address}, "remedy", "plan", "job-7")
	for _, want := range []string{"For:        debian:12 (job 7)\n", "Incident:   job-7\n", "    $ stella scanner config set worker.memory_limit 96Mi\n", "Kind: scanner, by a person\n"} {
		if got.code != ExitOK || !strings.Contains(got.stdout, want) {
			t.Errorf("exit %d, %s: it does not say %q:\n%s", got.code, got.stderr, want, got.stdout)
		}
	}
}
