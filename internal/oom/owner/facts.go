package owner

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"stella/internal/jsonstream"
	"stella/internal/oom"
)

// Sandbox is the name of the container that holds a pod together and runs nothing of it. It is cAdvisor's word; no
// container of a pod can have it.
const Sandbox = "POD"

// maxSpec bounds a runtime's file about a container. An OCI spec has some 20 KiB, more with many mounts.
const maxSpec = 4 << 20

// facts finds what the runtime's files and the names of the kubelet's logs tell of a container or a pod. root is
// the machine's file system.
func facts(ctx context.Context, root string, p Place) oom.Container {
	c := p.Owner()
	if p.Container != "" {
		if !spec(ctx, root, &c) && !docker(ctx, root, &c) {
			logOfContainer(root, &c)
		}
	}
	if c.Pod == "" && c.PodUID != "" {
		logsOfPod(root, &c)
	}
	return c
}

// Where runtimes keep the OCI specs of what runs; * is one of containerd's namespaces.
var specs = []struct{ path, runtime string }{
	{"run/containerd/io.containerd.runtime.v2.task/*", Containerd},
	{"run/k3s/containerd/io.containerd.runtime.v2.task/*", Containerd},
	{"run/docker/containerd/daemon/io.containerd.runtime.v2.task/*", Docker},
	{"run/containers/storage/overlay-containers", CRIO},
	{"var/lib/containers/storage/overlay-containers", CRIO},
}

// spec reads the container's OCI spec, wherever it is.
func spec(ctx context.Context, root string, c *oom.Container) bool {
	for _, s := range specs {
		name := "config.json"
		if s.runtime == CRIO {
			name = "userdata/config.json"
		}
		dirs := []string{filepath.Join(root, s.path)}
		if all, ok := strings.CutSuffix(dirs[0], "/*"); ok {
			dirs = namespaces(all)
		}
		for _, dir := range dirs {
			if filepath.Base(dir) == "moby" {
				s.runtime = Docker
			}
			found := *c
			if read(ctx, filepath.Join(dir, c.ID, name), func(d *jsonstream.Decoder) error { return ociSpec(d, &found) }) {
				*c = found
				if c.Runtime == "" && !(s.runtime == CRIO && c.Pod == "") { // podman's are in the same place
					c.Runtime = s.runtime
				}
				// docker's own file has the name and the image.
				return s.runtime != Docker
			}
		}
	}
	return false
}

// maxNamespaces bounds containerd's namespaces that are looked into: k8s.io, moby, default, buildkit are all there are as a rule.
const maxNamespaces = 16

func namespaces(dir string) []string {
	f, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer f.Close()
	names, err := f.Readdirnames(maxNamespaces)
	if err != nil {
		return nil
	}
	for i, n := range names {
		names[i] = filepath.Join(dir, n)
	}
	return names
}

// read gives a file of JSON to fn, and reports whether all of it could be read.
func read(ctx context.Context, name string, fn func(*jsonstream.Decoder) error) bool {
	f, err := os.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	return jsonstream.Decode(ctx, io.LimitReader(f, maxSpec), fn) == nil
}

// ociSpec reads what containerd and CRI-O write into the annotations of a spec, and its limits.
func ociSpec(d *jsonstream.Decoder, c *oom.Container) error {
	sandbox := false
	err := d.Object(func(key string) error {
		switch key {
		case "annotations":
			return strs(d, func(key, value string) {
				switch key {
				case "io.kubernetes.cri.container-name", "io.kubernetes.container.name":
					c.Name = value
				case "io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name":
					c.Pod = value
				case "io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace":
					c.Namespace = value
				case "io.kubernetes.cri.image-name", "io.kubernetes.cri-o.ImageName":
					c.Image = value
				case "io.kubernetes.cri.container-type", "io.kubernetes.cri-o.ContainerType":
					sandbox = value == "sandbox"
				}
			})
		case "linux":
			return members(d, "resources", func() error { return resources(d, c) })
		}
		return nil
	})
	if sandbox {
		c.Name = Sandbox
	}
	return err
}

// resources reads the limit, and whether a kill is to take the whole container: the kubelet asks for that among the
// files that are to be written into the cgroup (v2).
func resources(d *jsonstream.Decoder, c *oom.Container) error {
	return lenient(d.Object(func(key string) error {
		switch key {
		case "memory":
			return members(d, "limit", func() error { return amount(d, &c.LimitBytes) })
		case "unified":
			return strs(d, func(key, value string) {
				if key == groupFile {
					whole := value == "1"
					c.GroupKill = &whole
				}
			})
		}
		return nil
	}))
}

// docker reads the two files that docker has of a container.
func docker(ctx context.Context, root string, c *oom.Container) bool {
	dir := filepath.Join(root, "var/lib/docker/containers", c.ID)
	found := *c
	ok := read(ctx, filepath.Join(dir, "config.v2.json"), func(d *jsonstream.Decoder) error { return dockerConfig(d, &found) })
	if !ok {
		return false
	}
	found.Runtime = Docker
	*c = found
	read(ctx, filepath.Join(dir, "hostconfig.json"), func(d *jsonstream.Decoder) error {
		return members(d, "Memory", func() error { return amount(d, &c.LimitBytes) })
	})
	return true
}

func dockerConfig(d *jsonstream.Decoder, c *oom.Container) error {
	name, sandbox, labelled := "", false, false
	err := d.Object(func(key string) error {
		switch key {
		case "Name":
			return text(d, &name)
		case "Config":
			return lenient(d.Object(func(key string) error {
				switch key {
				case "Image":
					return text(d, &c.Image)
				case "Labels":
					return strs(d, func(key, value string) {
						switch key {
						case "io.kubernetes.container.name":
							c.Name, labelled = value, true
						case "io.kubernetes.pod.name":
							c.Pod = value
						case "io.kubernetes.pod.namespace":
							c.Namespace = value
						case "io.kubernetes.pod.uid":
							if c.PodUID == "" { // the path has it unless a cgroup parent of one's own was asked for
								c.PodUID = value
							}
						case "io.kubernetes.docker.type":
							sandbox = value == "podsandbox"
						}
					})
				}
				return nil
			}))
		}
		return nil
	})
	switch {
	case sandbox:
		c.Name = Sandbox
	case !labelled:
		c.Name = strings.TrimPrefix(name, "/")
	}
	return err
}

// maxText bounds a name or a reference of an image. Those of Kubernetes have up to 253 bytes, references more.
const maxText = 1 << 10

// strs gives the strings of an object. Others, and longer ones than any name, are left out.
func strs(d *jsonstream.Decoder, each func(key, value string)) error {
	return lenient(d.Object(func(key string) error {
		value := ""
		err := text(d, &value)
		if value != "" {
			each(key, value)
		}
		return err
	}))
}

// members calls fn with the value of one member of an object.
func members(d *jsonstream.Decoder, name string, fn func() error) error {
	return lenient(d.Object(func(key string) error {
		if key != name {
			return nil
		}
		return fn()
	}))
}

func text(d *jsonstream.Decoder, to *string) error {
	s, err := d.String()
	if err == nil && len(s) <= maxText {
		*to = s
	}
	return lenient(err)
}

func amount(d *jsonstream.Decoder, to *int64) error {
	s, err := d.Number()
	if err != nil {
		return lenient(err)
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && n > 0 { // -1 is none
		*to = n
	}
	return nil
}

// lenient lets pass what is of another kind or too long: it was skipped.
func lenient(err error) error {
	if errors.Is(err, jsonstream.ErrKind) || errors.Is(err, jsonstream.ErrTooLong) {
		return nil
	}
	return err
}

// logOfContainer takes the names from those of the kubelet's links: POD_NAMESPACE_CONTAINER-ID.log.
func logOfContainer(root string, c *oom.Container) {
	suffix := "-" + c.ID + ".log"
	eachName(filepath.Join(root, "var/log/containers"), func(name string) bool {
		rest, ok := strings.CutSuffix(name, suffix)
		if !ok {
			return true
		}
		// None of the three can have an underscore.
		if parts := strings.Split(rest, "_"); len(parts) == 3 {
			c.Pod, c.Namespace, c.Name = parts[0], parts[1], parts[2]
		}
		return false
	})
}

// logsOfPod takes the names from that of the directory of the pod's logs: NAMESPACE_POD_UID.
func logsOfPod(root string, c *oom.Container) {
	suffix := "_" + c.PodUID
	eachName(filepath.Join(root, "var/log/pods"), func(name string) bool {
		rest, ok := strings.CutSuffix(name, suffix)
		if !ok {
			return true
		}
		if namespace, pod, ok := strings.Cut(rest, "_"); ok {
			c.Namespace, c.Pod = namespace, pod
		}
		return false
	})
}

// namesAtOnce bounds the names of a directory that are held.
const namesAtOnce = 256

// eachName gives the names in a directory until fn says false.
func eachName(dir string, fn func(string) bool) {
	f, err := os.Open(dir)
	if err != nil {
		return
	}
	defer f.Close()
	for {
		names, err := f.Readdirnames(namesAtOnce)
		for _, name := range names {
			if !fn(name) {
				return
			}
		}
		if err != nil || len(names) == 0 {
			return
		}
	}
}
