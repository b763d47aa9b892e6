package cluster_test

import (
	"os"
	"testing"

	"stella/internal/testkit"
	"stella/test/cluster"
)

func TestMain(m *testing.M) { os.Exit(cluster.Main(m)) }

// start starts, or shares, a cluster with a node, where this machine can.
func start(t *testing.T, options cluster.Options) *cluster.Cluster {
	t.Helper()
	needNode(t)
	return cluster.Start(t, options)
}

// own starts a cluster for one test, which ends with it: two at once are too much
// for an emulated machine.
func own(t *testing.T, options cluster.Options) *cluster.Cluster {
	t.Helper()
	needNode(t)
	c, err := cluster.New(t.Context(), options, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// needNode is what a node takes that is not built from source.
func needNode(t *testing.T) {
	t.Helper()
	testkit.Need(t, testkit.Root, testkit.Namespaces, testkit.MemoryCgroup,
		testkit.Program("containerd"), testkit.Program("runc"), testkit.Program("nsenter"))
}
