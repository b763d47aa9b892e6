package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"stella/internal/bytesize"
	"stella/internal/oom"
)

// The words of kills. What comes from a kernel log is hostile: it becomes printable
// where rows, fields and lines are written.

// shortID is as much of a container's ID as crictl shows.
const shortID = 13

// victimText is who was killed.
func victimText(k *oom.Kill) string {
	switch {
	case k.Process.PID != 0:
		return fmt.Sprintf("%s[%d]", k.Process.Comm, k.Process.PID)
	case k.Count > 1:
		return countText(k.Count) + " unknown"
	}
	return "unknown"
}

// placeText is where the victim ran.
func placeText(k *oom.Kill) string {
	switch where := whereText(&k.Container, k.Cgroup); {
	case where != "":
		return where
	case k.Unattributed():
		return "unattributed"
	}
	return "unknown"
}

// whereText is namespace, pod and container, as far as they are known, else the unit or the cgroup.
func whereText(c *oom.Container, cgroup string) string {
	if podText(c) == "" {
		return cmp.Or(containerText(c), cgroup)
	}
	parts := []string{c.Namespace, podText(c), containerText(c)}
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), "/")
}

// containerText is a container's name, else its short ID, else the unit that is in its place; empty for none.
func containerText(c *oom.Container) string {
	switch {
	case c.Name != "":
		return c.Name
	case c.ID != "":
		return c.ID[:min(len(c.ID), shortID)]
	}
	return c.Unit
}

// podText is a pod's name, else its UID; empty where it is no pod.
func podText(c *oom.Container) string {
	if c.Pod == "" {
		return c.PodUID
	}
	return c.Pod
}

// limitOf is a limit and whose it is, in a few words.
func limitOf(l *oom.Limit) string {
	if l.Bytes == 0 {
		return string(l.Scope)
	}
	return fmt.Sprintf("%s (%s)", bytesize.Text(l.Bytes), l.Scope)
}

// hiddenText says whether no restart shows the kill, which is so where the container's
// first process lived on; empty for what is no container.
func hiddenText(k *oom.Kill) string {
	switch {
	case k.MainSurvived != nil:
		return yesNo(*k.MainSurvived)
	case k.Container.ID == "" && k.Container.PodUID == "":
		return ""
	}
	return "?"
}

// witnessWords are the witnesses for people.
var witnessWords = map[oom.Witness]string{
	oom.WitnessLog:     "kernel log",
	oom.WitnessCounter: "cgroup's counter",
	oom.WitnessNode:    "node's counter",
	oom.WitnessTrace:   "tracepoint",
	oom.WitnessRuntime: "container runtime",
	oom.WitnessKubelet: "kubelet",
	oom.WitnessStatus:  "pod status",
	oom.WitnessSystemd: "systemd",
}

func witnessText(w oom.Witness) string {
	if text := witnessWords[w]; text != "" {
		return text
	}
	return string(w)
}

func witnessesText(witnesses []oom.Witness) string {
	words := make([]string, len(witnesses))
	for i, w := range witnesses {
		words[i] = witnessText(w)
	}
	return strings.Join(words, ", ")
}
