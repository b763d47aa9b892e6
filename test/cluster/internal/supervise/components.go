package supervise

import (
	"bufio"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"

	"stella/internal/testkit"
	"stella/test/cluster/internal/cage"
)

// apiInside is the API server's address inside a node: what the environment of
// every pod says, because the Service "kubernetes" has it.
var apiInside = net.JoinHostPort(cage.ServiceIP, "443")

// The API server finds etcd at a Unix socket in the directory that both run in:
// no port, and nobody else's.
const (
	etcdClient = "unix://etcd:2379"
	etcdPeer   = "unix://etcd:2380"
)

// startProgram starts one of the Kubernetes programs.
func (n *node) startProgram(name string, flags ...string) error {
	return n.start(name, filepath.Join(n.Programs, name), flags...)
}

func (n *node) startEtcd() error {
	return n.startProgram("etcd", "--data-dir=etcd", "--listen-client-url="+etcdClient, "--listen-peer-url="+etcdPeer)
}

func (n *node) startAPIServer() error {
	address := []string{"--bind-address=0.0.0.0", "--secure-port=443", "--advertise-address=" + cage.NodeIP}
	if n.Level == API {
		// The keeper holds the port, see reservePort. Nobody can reach pods here, so no endpoints.
		address = []string{"--bind-address=127.0.0.1", "--secure-port=" + strconv.Itoa(n.Port), "--permit-port-sharing", "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none"}
	}
	return n.startProgram("kube-apiserver", append(address,
		"--etcd-servers="+etcdClient,
		"--cert-dir=apiserver",
		"--client-ca-file=ca.crt", "--tls-cert-file=apiserver.crt", "--tls-private-key-file=apiserver.key",
		"--kubelet-certificate-authority=ca.crt", "--kubelet-client-certificate=admin.crt", "--kubelet-client-key=admin.key",
		"--kubelet-preferred-address-types=InternalIP",
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file=sa.pub", "--service-account-signing-key-file=sa.key",
		"--service-cluster-ip-range="+cage.ServiceCIDR,
		"--authorization-mode=Node,RBAC",
		"--allow-privileged=true",
	)...)
}

func (n *node) startControllers() error {
	return n.startProgram("kube-controller-manager",
		"--kubeconfig=controllers.kubeconfig", "--authentication-kubeconfig=controllers.kubeconfig", "--authorization-kubeconfig=controllers.kubeconfig",
		"--cert-dir=controllers", "--bind-address=127.0.0.1", "--leader-elect=false",
		"--service-account-private-key-file=sa.key", "--root-ca-file=ca.crt", "--use-service-account-credentials",
		// Its thirty controllers each ask for credentials, one after the other: at the
		// default of 20 requests a second that was half of a cluster's start.
		"--kube-api-qps=1000", "--kube-api-burst=1000",
	)
}

func (n *node) startScheduler() error {
	return n.startProgram("kube-scheduler",
		"--kubeconfig=scheduler.kubeconfig", "--authentication-kubeconfig=scheduler.kubeconfig", "--authorization-kubeconfig=scheduler.kubeconfig",
		"--cert-dir=scheduler", "--bind-address=127.0.0.1", "--leader-elect=false",
	)
}

// cniBin are the directories that distributions put the CNI plugins in.
var cniBin = []string{"/usr/lib/cni", "/opt/cni/bin"}

// NetworkPlugins finds the directory of the CNI plugins.
func NetworkPlugins() (string, error) {
	for _, dir := range cniBin {
		if _, err := os.Stat(filepath.Join(dir, "bridge")); err == nil {
			return dir, nil
		}
	}
	return "", testkit.Missing("no CNI plugin bridge in " + strings.Join(cniBin, " or "))
}

func (n *node) startContainerd() error {
	plugins, err := NetworkPlugins()
	if err != nil {
		return err
	}
	runc, err := exec.LookPath("runc")
	if err != nil {
		return fmt.Errorf("find runc: %w", err)
	}
	limited, err := mayNotLowerScores()
	if err != nil {
		return err
	}
	networks := filepath.Join(n.dir, "cni")
	if err := os.Mkdir(networks, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(networks, "pods.conflist"), []byte(cniConfig), 0o600); err != nil {
		return err
	}
	config := filepath.Join(n.dir, "containerd.toml")
	if err := os.WriteFile(config, fmt.Appendf(nil, containerdConfig, n.PauseRef, limited, plugins, networks, runc), 0o600); err != nil {
		return err
	}
	return n.start("containerd", "containerd", "--config", config)
}

// mayNotLowerScores says whether this process, though root, is without
// CAP_SYS_RESOURCE. Then no container can have a lower oom_score_adj than its
// parent, and containerd must be told not to try.
func mayNotLowerScores() (bool, error) {
	const capSysResource = 24 // linux/capability.h
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return false, fmt.Errorf("read the capabilities of this process: %w", err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if mask, ok := strings.CutPrefix(lines.Text(), "CapEff:"); ok {
			bits, err := strconv.ParseUint(strings.TrimSpace(mask), 16, 64)
			return bits&(1<<capSysResource) == 0, err
		}
	}
	return false, fmt.Errorf("%s: no line CapEff", f.Name())
}

func (n *node) startKubelet() error {
	config := map[string]any{
		"apiVersion": "kubelet.config.k8s.io/v1beta1",
		"kind":       "KubeletConfiguration",
		// The cage is the root of every hierarchy here, see package cage.
		"cgroupRoot":               "/",
		"cgroupDriver":             "cgroupfs",
		"failCgroupV1":             false,
		"failSwapOn":               false,
		"containerRuntimeEndpoint": "unix://" + containerdSocket,
		"authentication": map[string]any{
			"anonymous": map[string]any{"enabled": false},
			"webhook":   map[string]any{"enabled": true},
			"x509":      map[string]any{"clientCAFile": filepath.Join(n.dir, "ca.crt")},
		},
		"authorization":     map[string]any{"mode": "Webhook"},
		"tlsCertFile":       filepath.Join(n.dir, "kubelet.crt"),
		"tlsPrivateKeyFile": filepath.Join(n.dir, "kubelet.key"),
		"resolvConf":        "",
		"volumePluginDir":   filepath.Join(n.dir, "volume-plugins"),
		// The node shares the machine's disk and memory: what others leave free is not its business.
		"evictionHard": map[string]any{
			"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%",
			"nodefs.inodesFree": "0%", "imagefs.inodesFree": "0%",
		},
		"imageGCHighThresholdPercent": 100,
	}
	maps.Copy(config, n.Kubelet)
	data, err := yaml.Marshal(config)
	if err != nil {
		return fmt.Errorf("write the kubelet's configuration: %w", err)
	}
	if err := os.WriteFile(filepath.Join(n.dir, "kubelet.yaml"), data, 0o600); err != nil {
		return err
	}
	return n.startProgram("kubelet", "--config=kubelet.yaml", "--kubeconfig=kubelet.kubeconfig", "--hostname-override="+NodeName, "--node-ip="+cage.NodeIP)
}

// containerdConfig keeps to the paths that a node has elsewhere, all of them
// private here, see cage.Furnish. In order: the sandbox image, whether scores
// may not be lowered, the directories of CNI plugins and networks, runc.
const containerdConfig = `version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.internal.v1.tracing"]

[grpc]
address = "` + containerdSocket + `"

[plugins."io.containerd.internal.v1.opt"]
path = "/var/lib/containerd-opt"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = %q
restrict_oom_score_adj = %t
disable_apparmor = true
disable_tcp_service = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = %q
conf_dir = %q

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
default_runtime_name = "runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
BinaryName = %q
SystemdCgroup = false
`

// cniConfig gives pods addresses on a bridge whose own address is their gateway.
const cniConfig = `{
  "cniVersion": "0.4.0",
  "name": "pods",
  "plugins": [{
    "type": "bridge",
    "bridge": "cni0",
    "isGateway": true,
    "hairpinMode": true,
    "ipam": {
      "type": "host-local",
      "ranges": [[{"subnet": "` + cage.PodCIDR + `"}]],
      "routes": [{"dst": "0.0.0.0/0"}]
    }
  }]
}
`
