package alerts

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"stella/internal/gate"
	"stella/internal/testkit"
)

// The real ones say what the doubles of the other tests say.
func TestRealOnes(t *testing.T) {
	testkit.Need(t, testkit.Program("prometheus"), testkit.Program("prometheus-alertmanager"))
	dir, at, am := t.TempDir(), free(t), free(t)
	write := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	write("rules.yml", `groups: [{name: g, rules: [
  {alert: Watchdog, expr: vector(1)},
  {alert: Waiting, expr: vector(1), for: 1h},
  {alert: PVCStuckPending, expr: vector(1), labels: {namespace: hermes, note: "a \"b\""}, annotations: {summary: s}}]}]`)
	config := write("prometheus.yml", fmt.Sprintf(`global: {evaluation_interval: 1s}
rule_files: [rules.yml]
alerting: {alertmanagers: [{static_configs: [{targets: [%q]}]}]}`, am))
	start(t, "prometheus", "--config.file="+config, "--rules.alert.resend-delay=1s", "--storage.tsdb.path="+dir+"/data", "--web.listen-address="+at)
	start(t, "prometheus-alertmanager", "--config.file="+write("am.yml", "{route: {receiver: r}, receivers: [{name: r}]}"), "--storage.path="+dir+"/am",
		"--web.listen-address="+am, "--cluster.listen-address=")
	until := time.Now().Add(time.Hour).Format(time.RFC3339)
	rules := write("ignore.yml", fmt.Sprintf(`ignore: [{matchers: ['alertname="PVCStuckPending"', 'note="a \"b\""'], until: "%s", reason: parked, by: ann}]`, until))
	for _, o := range []Options{{Kind: Prometheus, URL: "http://" + at}, {Kind: Alertmanager, URL: "http://" + am}} {
		eventually(t, o, gate.Block, `PVCStuckPending{namespace="hermes", note="a \"b\""} since 20`)
		o.IgnoreFile = rules
		eventually(t, o, gate.Pass, "1 firing, all ignored; PVCStuckPending ignored by rule 1")
	}
	eventually(t, Options{Kind: Prometheus, URL: "http://" + at, Pending: true}, gate.Block, "2 firing: PVCStuckPending")
	eventually(t, Options{Kind: Prometheus, URL: "http://" + at, Watchdog: "Cat"}, gate.Unknown, "no Cat")

	silence := fmt.Sprintf(`{"matchers":[{"name":"namespace","value":"hermes","isRegex":false}],"startsAt":%q,"endsAt":%q,"createdBy":"ann","comment":"c"}`,
		time.Now().Format(time.RFC3339), until)
	answer, err := http.Post("http://"+am+"/api/v2/silences", "application/json", strings.NewReader(silence))
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("silence: %v, %v", answer, err)
	}
	answer.Body.Close()
	eventually(t, Options{Kind: Alertmanager, URL: "http://" + am}, gate.Pass, "no alert fires but Watchdog; 1 silenced or inhibited")
	eventually(t, Options{Kind: Prometheus, URL: "http://" + at + "/not"}, gate.Unknown, "404")
}

// free is an address that nobody listens at.
func free(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// start starts a program that ends with the test.
func start(t *testing.T, name string, args ...string) {
	t.Helper()
	var log strings.Builder
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		if t.Failed() {
			t.Logf("%s: %s", name, log.String())
		}
	})
}

// eventually looks until it finds what it is to find.
func eventually(t *testing.T, o Options, want gate.Outcome, detail string) {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		r := run(t, o)
		if r.Outcome == want && strings.Contains(r.Detail, detail) {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("%+v; want %s: %s", r, want, detail)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
