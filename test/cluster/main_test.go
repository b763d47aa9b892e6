package cluster_test

import (
	"os"
	"testing"

	"stella/test/cluster"
)

func TestMain(m *testing.M) { os.Exit(cluster.Main(m)) }

// own starts a cluster for one test, which ends with it: two at once are too much
// for an emulated machine.
func own(t *testing.T, options cluster.Options) *cluster.Cluster {
	t.Helper()
	cluster.Need(t, options.Level)
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
