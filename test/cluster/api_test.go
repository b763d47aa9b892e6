package cluster_test

import (
	"os"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"stella/test/cluster"
)

const oomKilled = `{"status": {"phase": "Running", "containerStatuses": [{"name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 3,
  "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled", "startedAt": null, "finishedAt": null}}}]}}`

// With the API server alone a test writes the status that a kubelet would.
func TestAPIAlone(t *testing.T) {
	c := cluster.Start(t, cluster.Options{Level: cluster.API})
	ns := c.Namespace(t)
	c.Apply(t, ns, `
apiVersion: v1
kind: Pod
metadata: {name: p}
spec: {containers: [{name: c, image: i}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: m}
data: {k: v}
`)
	kubectl(t, c, "", "patch", "pod", "p", "--namespace", ns, "--subresource", "status", "--type", "merge", "--patch", oomKilled)
	pod, err := c.Client.CoreV1().Pods(ns).Get(t.Context(), "p", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if end := pod.Status.ContainerStatuses[0].LastTerminationState.Terminated; end == nil || end.Reason != "OOMKilled" {
		t.Errorf("the status was not taken: %+v", pod.Status)
	}
}

// The API server is reached by the administrator's certificate alone.
func TestAPINeedsAnIdentity(t *testing.T) {
	c := cluster.Start(t, cluster.Options{Level: cluster.API})
	anonymous, err := kubernetes.NewForConfig(rest.AnonymousClientConfig(c.Config))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := anonymous.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("without a certificate: %v", err)
	}
	info, err := os.Stat(c.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); mode != 0o700 {
		t.Errorf("the directory with the keys has mode %o", mode)
	}
}
