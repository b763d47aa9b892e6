package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"stella/test/cluster"
	"stella/test/cluster/internal/cage"
)

// seedAt is where Prometheus asks whether the alerts of the post-mortem fire.
const seedAt = cage.NodeIP + ":9100"

// seedAlerts are those of the post-mortem, none of which is about the node, with labels as such rules give them.
var seedAlerts = []string{"PVCStuckPending", "ExternalAccessDivergence", "NodeFilesystemFull"}

const seedRules = `
groups:
- name: seed
  rules:
  - {alert: Watchdog, expr: vector(1)}
  - {alert: PVCStuckPending, expr: seed_fires == 1, labels: {severity: warning, namespace: hermes-agent, persistentvolumeclaim: data}}
  - {alert: ExternalAccessDivergence, expr: seed_fires == 1, labels: {severity: warning, host: hermes.example.org}}
  - {alert: NodeFilesystemFull, expr: seed_fires == 1, labels: {severity: critical, mountpoint: /mnt/synology-backup}}
`

// seedIgnores are rules for them, scoped: a full disk of a node has to keep it from its reboot. %s is when they lapse.
const seedIgnores = `
apiVersion: v1
kind: ConfigMap
metadata: {name: kured-sentinel-gate, namespace: stella}
data:
  ignore.yaml: |
    ignore:
    - {matchers: ['alertname="PVCStuckPending"', 'namespace="hermes-agent"'], until: %[1]s, reason: its deployment is parked, by: ann}
    - {matchers: ['alertname="ExternalAccessDivergence"', 'host=~"hermes[.].*"'], until: %[1]s, reason: its deployment is parked, by: ann}
    - {matchers: ['alertname="NodeFilesystemFull"', 'mountpoint="/mnt/synology-backup"'], until: %[1]s, reason: the offsite backup is cleaned up, by: ann}
`

// seed is the metric that the alerts follow.
type seed struct{ fires atomic.Bool }

func newSeed(t *testing.T, c *cluster.Cluster) *seed {
	t.Helper()
	s := &seed{}
	listener, err := c.Listen(seedAt)
	if err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{Listener: listener, Config: &http.Server{ReadHeaderTimeout: soon, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		value := 0
		if s.fires.Load() {
			value = 1
		}
		fmt.Fprintln(w, "seed_fires", value)
	})}}
	server.Start()
	t.Cleanup(server.Close)
	return s
}

// threeAlerts is the post-mortem's chain: three alerts that have nothing to do with the node keep it from its reboot for days. Here somebody is told at once
// when it is 24 h, and with their names.
func (g *gateNode) threeAlerts(t *testing.T) {
	g.seed.fires.Store(true)
	g.Await(t, settle, `count(ALERTS{alertname=~"`+strings.Join(seedAlerts, "|")+`", alertstate="firing"}) == 3`)
	g.wish(t, 25*time.Hour)
	v := g.verdict(t, map[string]string{"alerts": "firing"})
	for i, name := range seedAlerts {
		if blockers := v.Blocking()[0].Blockers; len(blockers) != len(seedAlerts) || !strings.Contains(strings.Join(blockers, " "), name) {
			t.Errorf("alert %d is not among %q", i, blockers)
		}
	}
	g.heldByGate(t)
	told := g.Alert(t, settle, map[string]string{"alertname": "KuredRebootBacklog", "node": cluster.NodeName, "check": "alerts", "reason": "firing"})
	for _, name := range seedAlerts {
		if !strings.Contains(told.Annotations["description"], name) {
			t.Errorf("%s is not in %q", name, told.Annotations)
		}
	}
	t.Logf("%+v", told.Annotations)
	g.says(t, append([]string{"alerts: firing", "starves", "longer than"}, seedAlerts...), "gate", "status", "-o", "wide")
	g.says(t, append([]string{"/mnt/synology-backup", "hermes.example.org"}, seedAlerts...), "gate", "explain", cluster.NodeName)
}

// heldByKured: rules let the gate open, and now it is kured that goes by the alerts. The metrics say so, until kured asks the gate alone.
func (g *gateNode) heldByKured(t *testing.T) {
	g.ignore(t, time.Now().Add(time.Hour))
	looked := g.verdict(t, nil).Time
	cluster.Eventually(t, settle, func(context.Context) error {
		if g.verdict(t, nil).Time.Equal(looked) {
			return errors.New("the gate has not looked again")
		}
		return nil
	})
	g.remindKured(t)
	g.Await(t, settle, `stella_gate_reboot_required{sentinel="raw"} == 1 and on () stella_gate_reboot_required{sentinel="gated"} == 1 and on () stella_gate_open == 1 and on () kured_reboot_required == 1`)
	g.Await(t, settle, `ALERTS{alertname="KuredRebootBacklog", check="", alertstate="firing"} and on () ALERTS{alertname="KuredHeldByKured", alertstate="pending"}`)
	g.says(t, []string{"open"}, "gate", "status")
	if _, err := os.Stat(g.rebooted); err == nil {
		t.Error("kured rebooted the node while alerts fired that it does not ignore")
	}
	g.deployKured(t, "/var/run", "")
	g.reboots(t)
	g.comesBack(t)
}

func (g *gateNode) ignore(t *testing.T, until time.Time) {
	t.Helper()
	g.Apply(t, "", fmt.Sprintf(seedIgnores, until.UTC().Format(time.RFC3339)))
}

// lapse: a reboot that somebody holds back meets no alerts, until the rules are over.
func (g *gateNode) lapse(t *testing.T) {
	g.says(t, []string{"held: "}, "gate", "hold", "--all", "--reason", "freeze for the release", "--by", "kim")
	g.wish(t, 0)
	g.verdict(t, map[string]string{"hold": "held"})
	g.ignore(t, time.Now().Add(3*time.Second))
	v := g.verdict(t, map[string]string{"hold": "held", "alerts": "firing"})
	if said := v.Blocking()[1].Detail; !strings.Contains(said, "3 rules lapsed") {
		t.Errorf("it does not say that rules lapsed: %s", said)
	}
	g.says(t, []string{"freeze for the release", "3 rules lapsed"}, "gate", "explain", cluster.NodeName)
}

// memory: all this took the gate no more than it may have.
func (g *gateNode) memory(t *testing.T) {
	most := g.Await(t, settle, `max_over_time(process_resident_memory_bytes{job="kured-sentinel-gate"}[15m])`)[0].Value
	t.Logf("the gate had %.1f MiB resident at most", most/(1<<20))
	if most > 16<<20 {
		t.Errorf("the gate had %.0f bytes resident, and may have 16 MiB", most)
	}
}
