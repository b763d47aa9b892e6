// Package supervise runs one test cluster in two processes, both of them the test
// binary itself under another name.
//
// The keeper stays outside: it makes the cage, starts the node in it, and when
// its own standard input ends, because the test is done or dead, it kills what is
// in the cage and removes it. The node is inside: it has the namespaces, is the
// parent of every daemon, and ends them when its standard input, the keeper's
// end, is closed. So whichever of the three is killed, the next one notices; when
// keeper and node die together, the next keeper sweeps.
//
// At [API] there is no cage to be in: etcd and the API server run as any user,
// as children of a node that has no namespaces of its own.
package supervise

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Level is how much of a cluster runs.
type Level string

// The levels, each with what the one before it has.
const (
	API  Level = "api"  // etcd and the API server
	Node Level = "node" // containerd and a kubelet: pods that name their node run
	Full Level = "full" // controller manager and scheduler
)

// NodeName is the name of the one node.
const NodeName = "node"

// Config is all that the two processes are told.
type Config struct {
	Level Level
	// Programs is the directory with the Kubernetes programs.
	Programs string
	// Base is the directory that the cluster's own is made in.
	Base string
	// PauseImage is an image archive with PauseRef, for pod sandboxes.
	PauseImage string
	PauseRef   string
	// Port is the API server's on loopback, at API.
	Port int
	// Kubelet is laid over the kubelet's configuration, top-level key by key.
	Kubelet map[string]any
}

// Report is what a process says, once, when it is up or cannot be.
type Report struct {
	// Error is why there is no cluster; all else is empty then.
	Error string `json:",omitempty"`
	// Dir is the cluster's directory; see the file names below.
	Dir string
	// NodePID is a process in the node's namespaces.
	NodePID int
}

// Files of a cluster's directory.
const (
	configFile = "config.json"
	// AdminKubeconfig works on this machine, outside the node.
	AdminKubeconfig = "admin.kubeconfig"
	// insideKubeconfig is the administrator's, for use inside the node.
	insideKubeconfig = "inside.kubeconfig"
	// DialSocket carries connections into the node's network, see dial.go.
	DialSocket = "dial.sock"
	// controlSocket takes changes of a running node, see control.go.
	controlSocket = "control.sock"
	// Logs is a directory with a file for each daemon.
	Logs = "logs"
	// containerdSocket is inside the node, where cAdvisor expects it.
	containerdSocket = "/run/containerd/containerd.sock"
)

// say writes a report as one line.
func say(w io.Writer, r Report) error {
	if err := json.NewEncoder(w).Encode(r); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

func (c Config) write(dir string) error {
	data, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("write the cluster's configuration: %w", err)
	}
	return os.WriteFile(filepath.Join(dir, configFile), data, 0o600)
}

func readConfig(dir string) (Config, error) {
	var c Config
	data, err := os.ReadFile(filepath.Join(dir, configFile))
	if err != nil {
		return c, fmt.Errorf("read the cluster's configuration: %w", err)
	}
	return c, json.Unmarshal(data, &c)
}
