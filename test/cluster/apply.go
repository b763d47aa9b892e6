package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"
)

const runtimeArchitecture = runtime.GOARCH

// applier knows which resource a kind is. It is filled at the first use.
type applier struct {
	sync.Mutex
	mapper *restmapper.DeferredDiscoveryRESTMapper
}

// Namespace makes a namespace for one test and deletes it when the test ends. If
// the test failed, the namespace's pods and events are logged first.
func (c *Cluster) Namespace(t testing.TB) string {
	t.Helper()
	ns, err := c.Client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("make a namespace: %v", err)
	}
	t.Cleanup(func() { c.deleteNamespace(t, ns.Name) })
	if c.options.Level != Full && c.options.Level != "" {
		// Elsewhere the controller manager makes it; without it no pod is admitted.
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
		if _, err := c.Client.CoreV1().ServiceAccounts(ns.Name).Create(t.Context(), account, metav1.CreateOptions{}); err != nil {
			t.Fatalf("make the service account of the namespace: %v", err)
		}
		return ns.Name
	}
	Eventually(t, time.Minute, func(ctx context.Context) error {
		_, err := c.Client.CoreV1().ServiceAccounts(ns.Name).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
	return ns.Name
}

// deleteNamespace deletes the pods at once, with no time to stop in, and the rest as it comes.
func (c *Cluster) deleteNamespace(t testing.TB, name string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if t.Failed() {
		c.describe(ctx, t, name)
	}
	now := int64(0)
	err := errors.Join(
		c.Client.CoreV1().Namespaces().Delete(ctx, name, metav1.DeleteOptions{}),
		c.Client.CoreV1().Pods(name).DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: &now}, metav1.ListOptions{}),
	)
	if err != nil {
		t.Errorf("delete the namespace %s: %v", name, err)
	}
}

// describe logs what a person would look at first.
func (c *Cluster) describe(ctx context.Context, t testing.TB, namespace string) {
	for _, args := range [][]string{{"get", "pods", "-o", "yaml"}, {"get", "events"}} {
		out, err := c.Kubectl(ctx, append(args, "--namespace", namespace)...).CombinedOutput()
		t.Logf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// Apply applies a YAML manifest of one or more objects on the server's side, as
// kubectl apply --server-side does. Objects without a namespace of their own that
// need one go to the one given.
func (c *Cluster) Apply(t testing.TB, namespace, manifest string) {
	t.Helper()
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(manifest), 4096)
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(object)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatalf("read the manifest: %v\n%s", err, manifest)
		}
		if len(object.Object) == 0 {
			continue
		}
		if err := c.applyOne(t.Context(), namespace, object); err != nil {
			t.Fatalf("apply %s %s: %v", object.GetKind(), object.GetName(), err)
		}
	}
}

func (c *Cluster) applyOne(ctx context.Context, namespace string, object *unstructured.Unstructured) error {
	mapping, err := c.mapping(object)
	if err != nil {
		return err
	}
	var resource dynamic.ResourceInterface = c.Dynamic.Resource(mapping.Resource)
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		if object.GetNamespace() == "" {
			object.SetNamespace(namespace)
		}
		resource = c.Dynamic.Resource(mapping.Resource).Namespace(object.GetNamespace())
	}
	_, err = resource.Apply(ctx, object.GetName(), object, metav1.ApplyOptions{FieldManager: "test", Force: true})
	return err
}

// mapping finds the resource of an object's kind, asking the server again for a
// kind that is new since.
func (c *Cluster) mapping(object *unstructured.Unstructured) (*meta.RESTMapping, error) {
	c.apply.Lock()
	defer c.apply.Unlock()
	if c.apply.mapper == nil {
		client, err := discovery.NewDiscoveryClientForConfig(c.Config)
		if err != nil {
			return nil, fmt.Errorf("make a client: %w", err)
		}
		c.apply.mapper = restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(client))
	}
	kind := object.GroupVersionKind()
	return c.apply.mapper.RESTMapping(kind.GroupKind(), kind.Version)
}

// The pauses of Eventually are a fifth of the time waited so far: what comes soon
// is seen soon, and what takes long is not asked for so often that it takes longer,
// which on an emulated machine it did.
const (
	firstPause = 10 * time.Millisecond
	lastPause  = time.Second
)

// Eventually calls f until it returns nil; after the given time the test fails
// with the last error that was not the end of the time itself. It is for what
// gives no signal: prefer a watch.
func Eventually(t testing.TB, within time.Duration, f func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	var last error
	for pause := firstPause; ; pause = min(pause*5/4, lastPause) {
		err := f(ctx)
		if err == nil {
			return
		}
		if last == nil || ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			t.Fatalf("not within %v: %v", within, last)
		case <-time.After(pause):
		}
	}
}
