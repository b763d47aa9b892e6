package cluster_test

import (
	"context"
	"crypto/rand"
	"os"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"stella/internal/client"
	"stella/test/cluster"
)

const (
	agentManifest  = "../../deploy/kubernetes/agent.yaml"
	agentNamespace = "stella"
)

// deployAgent applies the manifest as people do, and returns a client of the agent and the token of its metrics.
func deployAgent(t *testing.T, c *cluster.Cluster) (agent *client.Agent, token string) {
	t.Helper()
	image := c.Load(t, "stella/cmd/stella-agent")
	text, err := os.ReadFile(agentManifest)
	if err != nil {
		t.Fatal(err)
	}
	before, daemonSet, ok := cutDaemonSet(string(text))
	if !ok {
		t.Fatalf("%s does not end with a DaemonSet", agentManifest)
	}
	token = rand.Text() + rand.Text()
	c.Apply(t, "", before)
	kubectl(t, c, "", "--namespace", agentNamespace, "create", "secret", "generic", "stella-agent", "--from-literal=token="+token)
	c.Apply(t, "", withImage(t, daemonSet, image))
	agentReady(t, c)
	agent, err = client.NewAgent(client.Options{Address: "unix://" + c.Path("/run/stella/agent.sock")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(agent.Close)
	return agent, token
}

func cutDaemonSet(manifest string) (before, daemonSet string, ok bool) {
	at := strings.LastIndex(manifest, "\n---\n")
	if at < 0 {
		return "", "", false
	}
	before, daemonSet = manifest[:at], manifest[at:]
	return before, daemonSet, strings.Contains(daemonSet, "\nkind: DaemonSet\n")
}

// withImage is the DaemonSet with the test's image.
func withImage(t *testing.T, daemonSet, image string) string {
	t.Helper()
	var set appsv1.DaemonSet
	if err := yaml.UnmarshalStrict([]byte(daemonSet), &set); err != nil {
		t.Fatalf("%s: %v", agentManifest, err)
	}
	container := &set.Spec.Template.Spec.Containers[0]
	if container.Image != "stella-agent:VERSION" {
		t.Errorf("%s: the image is %s", agentManifest, container.Image)
	}
	container.Image, container.ImagePullPolicy = image, corev1.PullNever
	text, err := yaml.Marshal(&set)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func agentReady(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			for _, args := range [][]string{{"describe", "pods"}, {"get", "events"}, {"logs", "daemonset/stella-agent"}} {
				out, err := c.Kubectl(context.Background(), append(args, "--namespace", agentNamespace)...).CombinedOutput()
				t.Logf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
			}
		}
	})
	kubectl(t, c, "", "--namespace", agentNamespace, "rollout", "status", "daemonset/stella-agent", "--timeout", settle.String())
}
