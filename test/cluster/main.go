package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"testing"

	"stella/internal/testkit"
	"stella/test/cluster/internal/supervise"
)

// ready is set once this process can be asked to supervise.
var ready bool

// shared are the clusters of this run by their options, as JSON.
var shared struct {
	sync.Mutex
	clusters map[string]*started
}

// started is a cluster, or why there is none: each is tried once.
type started struct {
	sync.Once
	cluster *Cluster
	err     error
}

// Main runs the tests and then ends the clusters that they shared. TestMain
// calls it and nothing else, and exits with what it returns: a cluster that left
// something behind fails the run.
func Main(m *testing.M) int {
	Supervise()
	shared.clusters = map[string]*started{}
	code := m.Run()
	for _, s := range shared.clusters {
		if s.cluster == nil {
			continue
		}
		if err := s.cluster.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	return code
}

// Supervise turns this process into a supervising one, and does not return, if
// that is what it was started for. A program other than a test calls it first.
func Supervise() {
	if os.Args[0] == supervise.Name {
		os.Exit(supervise.Run(os.Args[1:]))
	}
	ready = true
}

// Need skips the test where this machine cannot have a cluster of a level, and
// says what is missing; see package testkit for when it fails instead.
func Need(t testing.TB, level Level) {
	t.Helper()
	if level == API {
		return
	}
	testkit.Need(t, testkit.Root, testkit.Namespaces, testkit.MemoryCgroup,
		testkit.Program("containerd"), testkit.Program("runc"), testkit.Program("nsenter"),
		testkit.Capability{Name: "cni-plugins", How: "install the Debian package containernetworking-plugins", Probe: func() error {
			_, err := supervise.NetworkPlugins()
			return err
		}})
}

// Start returns the cluster with these options that all tests of this run share.
// The first caller waits for its start; if that fails, every caller fails. Where
// this machine cannot have one the test is skipped, see [Need].
func Start(t testing.TB, options Options) *Cluster {
	t.Helper()
	Need(t, options.Level)
	key, err := json.Marshal(options)
	if err != nil {
		t.Fatalf("cluster options: %v", err)
	}
	shared.Lock()
	s := shared.clusters[string(key)]
	if s == nil {
		s = &started{}
		shared.clusters[string(key)] = s
	}
	shared.Unlock()
	s.Do(func() { s.cluster, s.err = New(context.Background(), options, os.Stderr) })
	if s.err != nil {
		t.Fatal(s.err)
	}
	return s.cluster
}
