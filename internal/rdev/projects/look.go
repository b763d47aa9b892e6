package projects

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"stella/internal/kube"
	"stella/internal/rdev"
)

// batch is how many entries of a directory are read at once.
const batch = 256

// maxEntries bounds how many entries of a root are looked at, whatever they are, so that a look ends.
const maxEntries = 100_000

// directories tells of the projects of this machine.
func (p *Projects) directories(ctx context.Context, add func(rdev.Project) error) error {
	for _, name := range slices.Sorted(maps.Keys(p.options.Places)) {
		project := rdev.Project{Name: name, Kind: rdev.Local, Directory: p.options.Places[name], Ready: true}
		if info, err := os.Stat(project.Directory); err != nil || !info.IsDir() {
			project.Ready, project.Reason = false, "its directory is not there"
		}
		if err := add(project); err != nil {
			return err
		}
	}
	for _, root := range p.roots {
		if err := below(ctx, root, add); err != nil {
			return err
		}
	}
	return nil
}

// below tells of the projects in a root. A link counts if it stays in the root.
func below(ctx context.Context, root *os.Root, add func(rdev.Project) error) error {
	dir, err := root.Open(".")
	if err != nil {
		return fmt.Errorf("look for projects in %s: %w", root.Name(), err)
	}
	defer dir.Close()
	for seen := 0; ; {
		entries, err := dir.ReadDir(batch)
		for _, e := range entries {
			name := e.Name()
			if CheckName(name) != nil {
				continue
			}
			if info, err := root.Stat(name); err != nil || !info.IsDir() {
				continue
			}
			if err := add(rdev.Project{Name: name, Kind: rdev.Local, Directory: filepath.Join(root.Name(), name), Ready: true}); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			return fmt.Errorf("look for projects in %s: %w", root.Name(), err)
		}
		if seen += len(entries); seen > maxEntries {
			return errFull
		}
	}
}

// defaultContainer is the annotation that names the container kubectl takes of a pod.
const defaultContainer = "kubectl.kubernetes.io/default-container"

// pods tells of the projects of the cluster.
func (p *Projects) pods(ctx context.Context, add func(rdev.Project) error) error {
	q := kube.Query{Resource: kube.Pods, Namespace: p.options.Namespace, Labels: p.options.Labels}
	return kube.List(ctx, p.options.Kube, q, func(pod *kube.Pod) error {
		if CheckName(pod.Metadata.Name) != nil {
			return nil // no API server has such a name
		}
		return add(ofPod(pod, p.options.Container))
	})
}

// ofPod is the project that a pod is.
func ofPod(pod *kube.Pod, container string) rdev.Project {
	project := rdev.Project{
		Name: pod.Metadata.Name, Kind: rdev.Pod, Namespace: pod.Metadata.Namespace, PodName: pod.Metadata.Name,
		Container: container,
	}
	if container == "" {
		project.Container = pod.Metadata.Annotations[defaultContainer]
	}
	if project.Container == "" && len(pod.Spec.Containers) > 0 {
		project.Container = pod.Spec.Containers[0].Name
	}
	project.Reason = notReady(pod, project.Container)
	project.Ready = project.Reason == ""
	return project
}

// notReady says why no command can run in a container now, or "".
func notReady(pod *kube.Pod, container string) string {
	for _, c := range pod.Status.Containers {
		if c.Name != container {
			continue
		}
		switch s := c.State; {
		case s.Running != nil:
			return ""
		case s.Waiting != nil:
			return fmt.Sprintf("container %s waits: %s", container, s.Waiting.Reason)
		case s.Terminated != nil:
			return fmt.Sprintf("container %s has ended: %s, exit code %d", container, s.Terminated.Reason, s.Terminated.ExitCode)
		}
		return fmt.Sprintf("container %s does not run", container)
	}
	for _, c := range pod.Spec.Containers {
		if c.Name == container {
			return fmt.Sprintf("container %s has not been started; the pod is %s", container, pod.Status.Phase)
		}
	}
	return fmt.Sprintf("the pod has no container %q", container)
}
