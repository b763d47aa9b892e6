package cgroup

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Probe finds out by trying whether this process can make memory cgroups. The
// error is non-nil exactly when the verdict is [Unknown].
func Probe() (Support, error) { return probe("/proc") }

// probe is Probe with the proc file system at procRoot.
func probe(procRoot string) (Support, error) {
	unknown := func(err error) (Support, error) {
		return Support{Reason: err.Error()}, fmt.Errorf("probe memory cgroups: %w", err)
	}
	places, err := ownPlaces(procRoot)
	if err != nil {
		return unknown(err)
	}
	// A machine has the memory controller on one side only, but in hybrid mode
	// v2 is mounted without it: v1 goes first because its mount names it.
	no := Support{Verdict: No, Reason: "no memory controller is mounted; boot with cgroup_enable=memory and mount cgroup2 at /sys/fs/cgroup"}
	for _, version := range []int{1, 2} {
		for _, p := range places {
			if p.version != version {
				continue
			}
			s := tryHierarchy(p.hierarchy, p.own)
			if s.Verdict == Yes {
				return s, nil
			}
			if s.Version != 0 {
				no = s
			}
		}
	}
	return no, nil
}

// place is a hierarchy and the directory in it that this process belongs to.
type place struct {
	hierarchy
	own string
}

// ownPlaces are the places of this process in the hierarchies that can carry the memory controller.
func ownPlaces(procRoot string) ([]place, error) {
	mounts, err := parseFile(filepath.Join(procRoot, "self/mountinfo"), parseMounts)
	if err != nil {
		return nil, err
	}
	type membership struct{ v1, v2 string }
	own, err := parseFile(filepath.Join(procRoot, "self/cgroup"), func(r io.Reader) (membership, error) {
		v1, v2, err := parseMembership(r)
		return membership{v1, v2}, err
	})
	if err != nil {
		return nil, err
	}
	places := make([]place, len(mounts))
	for i, h := range mounts {
		cgroup := own.v1
		if h.version == 2 {
			cgroup = own.v2
		}
		places[i] = place{h, h.directory(cgroup)}
	}
	return places, nil
}

// tryHierarchy tries the places of one hierarchy where groups could be made.
func tryHierarchy(h hierarchy, own string) Support {
	var candidates []string
	if h.version == 1 {
		candidates = []string{own, h.point}
	} else {
		if !hasController(h.point, "cgroup.controllers") {
			return Support{} // hybrid: this hierarchy has no memory controller
		}
		candidates = []string{own, h.point}
		if own != h.point {
			candidates = []string{filepath.Dir(own), own, h.point}
		}
	}
	var reasons []string
	seen := map[string]bool{}
	for _, dir := range candidates {
		if seen[dir] {
			continue
		}
		seen[dir] = true
		err := tryParent(h.version, dir)
		if err == nil {
			return Support{
				Verdict: Yes, Version: h.version, Parent: dir,
				Reason: fmt.Sprintf("a memory cgroup (v%d) could be made below %s", h.version, dir),
			}
		}
		reasons = append(reasons, err.Error())
	}
	advice := "run as root with the cgroup file system writable"
	if h.version == 2 {
		advice += ", or as a systemd service with Delegate=memory and DelegateSubgroup=main"
	}
	return Support{Verdict: No, Version: h.version, Reason: strings.Join(reasons, "; ") + "; " + advice}
}

// tryParent makes and removes a trial group below dir.
func tryParent(version int, dir string) error {
	if version == 2 && !hasController(dir, "cgroup.subtree_control") {
		if !hasController(dir, "cgroup.controllers") {
			return fmt.Errorf("%s has no memory controller", dir)
		}
		err := write(dir, "cgroup.subtree_control", "+memory")
		if errors.Is(err, syscall.EBUSY) {
			return fmt.Errorf("%s has processes itself, so it cannot hand the memory controller to children (%w): in a container, first move them all into a child cgroup", dir, err)
		}
		if err != nil {
			return fmt.Errorf("hand the memory controller to children: %w", err)
		}
	}
	trial, err := os.MkdirTemp(dir, "stella-probe-*")
	if err != nil {
		return err
	}
	_, statErr := os.Stat(filepath.Join(trial, limitFile(version)))
	return errors.Join(statErr, os.Remove(trial))
}

func hasController(dir, file string) bool {
	text, err := os.ReadFile(filepath.Join(dir, file))
	return err == nil && hasWord(strings.TrimSpace(string(text)), " ", "memory")
}

func limitFile(version int) string {
	if version == 1 {
		return "memory.limit_in_bytes"
	}
	return "memory.max"
}

func parseFile[T any](name string, parse func(io.Reader) (T, error)) (T, error) {
	f, err := os.Open(name)
	if err != nil {
		var zero T
		return zero, err
	}
	defer f.Close()
	return parse(f)
}

// write writes a control file. It never creates one: a missing control file
// means that the kernel does not have it.
func write(dir, file, value string) error {
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}
