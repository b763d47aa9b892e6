package cluster_test

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stella/internal/oom"
	"stella/internal/oom/oracle"
	"stella/test/cluster"
)

// others hold the rules of other tools against the kills that the cases of TestAgent found the agent right about.
type others struct {
	mu sync.Mutex
	// pods are as the API had them last, by namespace: each case has one of its own with one pod.
	pods  map[string]corev1.Pod
	cases []compared
}

// compared is a case that has ended.
type compared struct {
	name      string
	namespace string
	kills     []oracle.Booked
}

// followPods keeps the status of all pods, also of those that are gone.
func followPods(t *testing.T, c *cluster.Cluster) *others {
	t.Helper()
	o := &others{pods: map[string]corev1.Pod{}}
	ctx, cancel := context.WithCancel(t.Context())
	var following sync.WaitGroup
	following.Go(func() {
		for ; ctx.Err() == nil; time.Sleep(100 * time.Millisecond) { // the server ends a watch now and then
			watch, err := c.Client.CoreV1().Pods("").Watch(ctx, metav1.ListOptions{})
			if err != nil {
				continue
			}
			for event := range watch.ResultChan() {
				if pod, ok := event.Object.(*corev1.Pod); ok {
					o.mu.Lock()
					o.pods[pod.Namespace] = *pod
					o.mu.Unlock()
				}
			}
		}
	})
	t.Cleanup(func() {
		cancel()
		following.Wait()
	})
	return o
}

// add takes in the kills of a case that has ended.
func (o *others) add(t *testing.T, namespace string, kills []oom.Kill) {
	t.Helper()
	c := compared{name: strings.ReplaceAll(path.Base(t.Name()), "_", " "), namespace: namespace}
	for _, k := range kills {
		c.kills = append(c.kills, oracle.Booked{PID: strconv.Itoa(k.Process.PID), Cgroup: k.Cgroup})
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.cases = append(o.cases, c)
}

// print prints, for each case, how many kills there were and what other tools would have counted: of the kernel's own lines, and of the
// pod's status as it was last.
func (o *others) print(t *testing.T, log *kernelLog) {
	t.Helper()
	if !testing.Verbose() {
		return
	}
	log.Lock()
	lines := append([]string{}, log.lines...)
	log.Unlock()
	o.mu.Lock()
	defer o.mu.Unlock()
	fmt.Print("\n| case | kills | Stella | cAdvisor | node-problem-detector | pod status |\n|---|---|---|---|---|---|\n")
	for _, c := range o.cases {
		pods, err := json.Marshal(corev1.PodList{Items: []corev1.Pod{o.pods[c.namespace]}})
		if err != nil {
			t.Fatal(err)
		}
		shown, err := oracle.PodStatus(pods)
		if err != nil {
			t.Fatal(err)
		}
		found := oracle.Score{Found: len(c.kills), Right: len(c.kills)}
		fmt.Printf("| %s | %d | %s | %s | %d | %d |\n", c.name, len(c.kills), found, c.of(oracle.CAdvisor(lines)), c.of(oracle.NodeProblemDetector(lines)).Found, shown)
	}
	fmt.Println()
}

// of compares what a tool booked of this case's processes with what happened.
func (c *compared) of(booked []oracle.Booked) oracle.Score {
	var ours []oracle.Booked
	for _, b := range booked {
		for _, k := range c.kills {
			if b.PID == k.PID {
				ours = append(ours, b)
				break
			}
		}
	}
	return oracle.Compare(c.kills, ours)
}
