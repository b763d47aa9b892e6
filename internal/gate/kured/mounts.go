package kured

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"stella/internal/kube"
)

// hostPath is where a path of a container is on the host, by the mounts that the pod asked for. Its error is a refusal.
func (p *pod) hostPath(c *container, name string) (string, error) {
	if !plain(name) {
		return "", cannotTell(ReasonUnreadable, fmt.Errorf("%q is no absolute path without detours", name))
	}
	// What is mounted deepest hides the rest.
	var m *mount
	for i := range c.Mounts {
		if at := path.Clean(c.Mounts[i].At); below(name, at) && (m == nil || len(at) > len(path.Clean(m.At))) {
			m = &c.Mounts[i]
		}
	}
	if m == nil {
		return "", mismatch("nothing of the host is mounted there")
	}
	for _, v := range p.Spec.Volumes {
		switch {
		case v.Name != m.Volume:
			continue
		case v.Host == nil:
			return "", mismatch("the volume %s there is none of the host", v.Name)
		case path.Clean(m.At) == name:
			return "", mismatch("it is mounted alone, without its directory, so that what is made anew under its name is not seen")
		case m.SubPathFor != "" || !path.IsAbs(v.Host.Path) || slices.Contains(strings.Split(m.SubPath, "/"), ".."):
			return "", cannotTell(ReasonUnreadable, fmt.Errorf("the volume %s there is mounted in a way that is not understood (host path %q, subPath %q, subPathExpr %q)", v.Name, v.Host.Path, m.SubPath, m.SubPathFor))
		}
		rest := strings.TrimPrefix(name, path.Clean(m.At))
		return path.Join(v.Host.Path, m.SubPath, rest), nil
	}
	return "", cannotTell(ReasonUnreadable, fmt.Errorf("the volume %s there is not in the pod", m.Volume))
}

func mismatch(format string, args ...any) error {
	return blocked(ReasonMismatch, "the host's directory of the file mounted in its place", format, args...)
}

// below reports whether a path is a directory's, or the directory.
func below(name, dir string) bool {
	return dir == "/" || name == dir || strings.HasPrefix(name, dir+"/")
}

// ownPaths are the gate's files on the host.
type ownPaths struct{ raw, gated string }

// ownPaths finds them by the pod that this runs in.
func (c *checker) ownPaths(ctx context.Context) (*ownPaths, error) {
	if c.Pod == "" {
		return &ownPaths{raw: c.Raw, gated: c.Gated.Path()}, nil
	}
	p, err := kube.Get[pod](ctx, c.client, kube.Query{Resource: kube.Pods, Namespace: c.PodNamespace}, c.Pod)
	if err != nil {
		return nil, fmt.Errorf("the gate's own pod: %w", err)
	}
	if err := p.is("Pod", c.PodNamespace, c.Pod); err != nil {
		return nil, err
	}
	own := new(ownPaths)
	for _, f := range []struct {
		path string
		host *string
	}{{c.Raw, &own.raw}, {c.Gated.Path(), &own.gated}} {
		if *f.host, err = p.anyHostPath(f.path); err != nil {
			return nil, err
		}
	}
	return own, nil
}

// anyHostPath is where a path is on the host for the containers of a pod that have it from there: they have to agree, since nobody knows which of them this is.
func (p *pod) anyHostPath(name string) (string, error) {
	var found string
	last := mismatch("the pod has no container")
	for i := range p.Spec.Containers {
		host, err := p.hostPath(&p.Spec.Containers[i], name)
		switch {
		case err != nil:
			last = err
		case found != "" && found != host:
			return "", cannotTell(ReasonAmbiguous, fmt.Errorf("for the containers of the gate's own pod, %s is both %s and %s of the host", name, found, host))
		default:
			found = host
		}
	}
	var r *refusal
	if found == "" && errors.As(last, &r) {
		r.Detail = "the gate uses " + name + " in its own container, and " + r.Detail
	}
	if found == "" {
		return "", last
	}
	return found, nil
}
