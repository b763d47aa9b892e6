package cluster_test

import (
	"context"
	"fmt"
	"io"
	"slices"
	"testing"

	"stella/internal/oom"
	"stella/test/cluster"
)

// application: a pod whose annotations say so is asked for its gauges, and for a heap profile at its beginning and when 80 % of its limit are used.
func (r *rows) application(t *testing.T) {
	t.Parallel()
	ns := r.Namespace(t)
	r.Apply(t, ns, fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata:
  name: feed
  annotations: {prometheus.io/scrape: "true", stella/pprof: "8080"}
spec:
  terminationGracePeriodSeconds: 1
  automountServiceAccountToken: false
  containers:
  - name: c
    image: %s
    imagePullPolicy: Never
    args: ["--listen=:8080"]
    ports: [{containerPort: 8080}]
    resources: {limits: {memory: 64Mi}}
`, r.Load(t, "stella/test/inspect/feed")))
	var usage oom.Usage
	cluster.Eventually(t, settle, func(ctx context.Context) error {
		all, err := r.agent.Usage(ctx)
		if err != nil {
			return err
		}
		at := slices.IndexFunc(all, func(u oom.Usage) bool { return u.Container.Namespace == ns && u.Container.Name == "c" })
		if at < 0 {
			return fmt.Errorf("the agent does not see the container")
		}
		usage = all[at]
		return nil
	})
	heap := func(reason string) func(context.Context) error {
		return func(ctx context.Context) error {
			heaps, err := r.agent.Heaps(ctx, usage.Cgroup)
			if err != nil {
				return err
			}
			if !slices.ContainsFunc(heaps, func(h oom.Heap) bool { return h.Reason == reason && h.Container.Pod == "feed" && h.Bytes > 0 }) {
				return fmt.Errorf("there is no profile of %s: %+v", reason, heaps)
			}
			return nil
		}
	}
	cluster.Eventually(t, settle, heap("baseline"))
	address := r.pod(t, ns).Status.PodIP + ":8080"
	const clients = 180 // of some 285 KiB each, with what the program has itself: 85 % of the limit
	for range clients {
		r.visit(t, address)
	}
	cluster.Eventually(t, settle, heap("80%"))
	cluster.Eventually(t, settle, func(ctx context.Context) error {
		gauges, err := r.agent.Gauges(ctx, usage.Cgroup)
		if err != nil || len(gauges) != 1 || gauges[0].Name != "sse_connections_active" {
			return fmt.Errorf("the gauges are %+v, %w", gauges, err)
		}
		if last := gauges[0].Points[len(gauges[0].Points)-1]; last.Value != clients {
			return fmt.Errorf("at %v there were %g clients, and there are %d", last.Time, last.Value, clients)
		}
		return nil
	})
}

// visit is a client of the pod that goes away at once.
func (r *rows) visit(t *testing.T, address string) {
	t.Helper()
	c, err := r.Dial(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET /events HTTP/1.1\r\nHost: feed\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
}
