package testkit

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"

	"stella/internal/cgroup"
)

// names are the names of all capabilities that a test may need, in order. Those
// that have no variable here are made where they are needed.
func names() []string {
	all := []string{"bpf", "cgroup-v2", "cgroup-v2-mount", "cni-plugins", "debian-kernel", "disk", "memory-cgroup", "namespaces", "own-machine", "postgresql", "root", "tracefs"}
	all = slices.AppendSeq(all, maps.Keys(programs))
	slices.Sort(all)
	return all
}

// programs are the programs that a test may need, and the Debian package that has each.
var programs = map[string]string{
	"containerd":              "containerd",
	"curl":                    "curl",
	"docker-registry":         "docker-registry",
	"kubectl":                 "kubernetes-client",
	"mkfs.ext4":               "e2fsprogs",
	"nsenter":                 "util-linux",
	"openssl":                 "openssl",
	"prometheus":              "prometheus",
	"prometheus-alertmanager": "prometheus-alertmanager",
	"qemu-system-x86_64":      "qemu-system-x86",
	"runc":                    "runc",
	"sqlite3":                 "sqlite3",
}

// Root is being user 0.
var Root = Capability{Name: "root", How: "run as root", Probe: func() error {
	if uid := os.Geteuid(); uid != 0 {
		return Missing(fmt.Sprintf("this is user %d", uid))
	}
	return nil
}}

// MemoryCgroup is that [cgroup.New] makes groups, on v1 or v2.
var MemoryCgroup = Capability{Name: "memory-cgroup", Probe: func() error {
	_, err := memoryVersion()
	return err
}}

// CgroupV2 is that the groups that [cgroup.New] makes are of v2.
var CgroupV2 = Capability{Name: "cgroup-v2", Probe: func() error {
	version, err := memoryVersion()
	if err == nil && version != 2 {
		return Missing("the memory controller is on cgroup v1; boot with cgroup_no_v1=all")
	}
	return err
}}

func memoryVersion() (int, error) {
	support, err := cgroup.Probe()
	if err != nil {
		return 0, err
	}
	if support.Verdict != cgroup.Yes {
		return 0, Missing(support.Reason)
	}
	return support.Version, nil
}

// Namespaces is that this process can make mount, network, PID and cgroup
// namespaces, and may mount.
var Namespaces = Capability{Name: "namespaces", How: "run as root, in a container as a privileged one", Probe: namespaces}

// machineMark is a parameter that the kernel of a machine of test/vm was booted with.
const machineMark = "stella.vm"

// OwnMachine is that this machine is the test's alone, with all of its memory and its kernel log: one of test/vm. The
// kernel says so, so that no variable or file that was left somewhere can.
var OwnMachine = Capability{Name: "own-machine", How: "run it in a machine of test/vm", Probe: func() error {
	const file = "/proc/cmdline"
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !slices.Contains(strings.Fields(string(text)), machineMark) {
		return Missing(fmt.Sprintf("there is no %s in %s", machineMark, file))
	}
	return err
}}

// Program is that the program is in PATH. Need refuses a program that testkit does not list.
func Program(name string) Capability {
	return Capability{Name: name, How: "install the Debian package " + programs[name], Probe: func() error {
		_, err := exec.LookPath(name)
		if errors.Is(err, exec.ErrNotFound) {
			return Missing(fmt.Sprintf("there is no program %s in PATH", name))
		}
		return err
	}}
}
