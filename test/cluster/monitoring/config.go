package monitoring

import (
	"fmt"

	"stella/test/cluster"
	"stella/test/cluster/internal/cage"
)

// Names of files in the directory of a Monitoring. Paths in a configuration are
// relative to where it is.
const (
	prometheusConfigFile   = "prometheus.yaml"
	alertmanagerConfigFile = "alertmanager.yaml"
)

// prometheusConfig scrapes what kube-prometheus scrapes, with its labels and its
// two settings for the kubelet: labels of the metrics win over the target's, and
// samples have the time of the scrape. With cAdvisor's own times Prometheus would
// go on showing a container for five minutes after its end.
func prometheusConfig(host host, scrape string) string {
	return fmt.Sprintf(`global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
rule_files: [rules-*.yaml]
alerting:
  alertmanagers:
  - static_configs: [{targets: [%[1]q]}]
scrape_configs:
- job_name: kubelet
  scheme: https
  tls_config: {ca_file: ca.crt, cert_file: client.crt, key_file: client.key}
  honor_labels: true
  honor_timestamps: false
  static_configs:
  - {targets: ["%[2]s:10250"], labels: {__metrics_path__: /metrics, metrics_path: /metrics, node: %[3]s}}
  - {targets: ["%[2]s:10250"], labels: {__metrics_path__: /metrics/cadvisor, metrics_path: /metrics/cadvisor, node: %[3]s}}
  - {targets: ["%[2]s:10250"], labels: {__metrics_path__: /metrics/resource, metrics_path: /metrics/resource, node: %[3]s}}
  - {targets: ["%[2]s:10250"], labels: {__metrics_path__: /metrics/probes, metrics_path: /metrics/probes, node: %[3]s}}
- job_name: apiserver
  scheme: https
  tls_config: {ca_file: ca.crt, cert_file: client.crt, key_file: client.key}
  static_configs: [{targets: ["%[2]s:443"]}]
%[4]s
`, host.alertmanager(), cage.NodeIP, cluster.NodeName, scrape)
}

// alertmanagerConfig notifies of each alert by itself and at once, when it fires
// and when it is resolved, and does not repeat itself while a test runs.
func alertmanagerConfig(host host) string {
	return fmt.Sprintf(`route: {receiver: test, group_by: ["..."], group_wait: 0s, group_interval: 1s, repeat_interval: 24h}
receivers:
- name: test
  webhook_configs: [{url: "http://%s/", send_resolved: true}]
`, host.inbox())
}
