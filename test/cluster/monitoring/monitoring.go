// Package monitoring watches a test cluster with a real Prometheus and a real
// Alertmanager, so that tests see the figures and alerts that an operator would.
//
// Both run on the node. Prometheus asks its targets every second, evaluates
// [Options].Rules as often, and tells Alertmanager of alerts; Alertmanager
// notifies this process, through a socket of its own on the node. A target's
// labels are those that kube-prometheus gives: job "kubelet" with metrics_path
// and node, job "apiserver".
//
// Hazards:
//
//   - Prometheus takes up its targets, and the address of Alertmanager, 5 seconds
//     after it starts and no earlier. Until then a query finds nothing.
//   - cAdvisor looks at a container when it starts, and then every 10 to 15
//     seconds, however often it is asked. A peak between two looks is in no series.
//   - A series outlives what it is about by one scrape.
//   - A rule with "for: 10m" takes ten minutes here too. Test such rules with
//     promtool, which has a clock of its own.
package monitoring

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stella/internal/testkit"
	"stella/test/cluster"
)

// readyWithin bounds the start of a program. It takes a fraction of a second, on
// an emulated machine many.
const readyWithin = 2 * time.Minute

// Options say what is wanted beyond the kubelet's and the API server's metrics.
type Options struct {
	// Rules are the contents of rule files.
	Rules []string
	// Scrape is more entries of scrape_configs, as YAML that is not indented. The
	// files ca.crt, client.crt and client.key are there for its tls_config: the
	// cluster's authority, and the administrator.
	Scrape string
}

// Monitoring is a running Prometheus with its Alertmanager. It is safe for
// concurrent use.
type Monitoring struct {
	prometheus, alertmanager *process
	inbox                    *inbox
}

// Start starts both on the node of a cluster, which has [cluster.Node] or more,
// and returns when they are ready. They end with the test. Several may run on one
// cluster. The test is skipped where the programs are not installed.
func Start(t testing.TB, c *cluster.Cluster, options Options) *Monitoring {
	t.Helper()
	testkit.Need(t, testkit.Program("prometheus"), testkit.Program("prometheus-alertmanager"))
	// Without a node the programs would run on this machine itself, and outlive a test that is killed.
	if _, err := c.Client.CoreV1().Nodes().Get(t.Context(), cluster.NodeName, metav1.GetOptions{}); err != nil {
		t.Fatalf("monitoring runs on the cluster's node: %v", err)
	}
	host := nextHost()
	dir := t.TempDir()
	inbox, err := openInbox(t, c, host)
	if err != nil {
		t.Fatalf("receive alerts: %v", err)
	}
	if err := writeConfigs(dir, c, host, options); err != nil {
		t.Fatalf("configure monitoring: %v", err)
	}
	m := &Monitoring{inbox: inbox}
	m.alertmanager = start(t, c, "prometheus-alertmanager", dir, host.alertmanager(),
		"--config.file="+filepath.Join(dir, alertmanagerConfigFile),
		"--storage.path="+filepath.Join(dir, "alertmanager"),
		"--cluster.listen-address=", // alone
	)
	m.prometheus = start(t, c, "prometheus", dir, host.prometheus(),
		"--config.file="+filepath.Join(dir, prometheusConfigFile),
		"--storage.tsdb.path="+filepath.Join(dir, "prometheus"),
		"--rules.alert.resend-delay=1s",            // what fires before Alertmanager is known is dropped
		"--scrape.discovery-reload-interval=100ms", // else another 5 seconds until the first scrape
	)
	m.alertmanager.awaitReady(t)
	m.prometheus.awaitReady(t)
	return m
}

// Prometheus is where it listens: an address of the node's loopback, which pods do not reach.
func (m *Monitoring) Prometheus() string { return m.prometheus.address }

// host is a loopback address of the node for one Monitoring alone, so that all
// can have the same ports.
type host struct{ netip.Addr }

func (h host) prometheus() string   { return netip.AddrPortFrom(h.Addr, 9090).String() }
func (h host) alertmanager() string { return netip.AddrPortFrom(h.Addr, 9093).String() }
func (h host) inbox() string        { return netip.AddrPortFrom(h.Addr, 9094).String() }

var hosts atomic.Uint32

// nextHost returns 127.1.0.1, 127.1.0.2 and so on. All of 127.0.0.0/8 is loopback,
// and the clusters of this process, which count together, are nobody else's.
func nextHost() host {
	n := hosts.Add(1)
	return host{netip.AddrFrom4([4]byte{127, 1, byte(n >> 8), byte(n)})}
}

// writeConfigs writes all files that the two programs read to a directory.
func writeConfigs(dir string, c *cluster.Cluster, host host, options Options) error {
	files := map[string]string{
		"ca.crt":               string(c.Config.CAData),
		"client.crt":           string(c.Config.CertData),
		"client.key":           string(c.Config.KeyData),
		alertmanagerConfigFile: alertmanagerConfig(host),
		prometheusConfigFile:   prometheusConfig(host, options.Scrape),
	}
	for i, rules := range options.Rules {
		files[fmt.Sprintf("rules-%d.yaml", i)] = rules
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			return err
		}
	}
	return nil
}
