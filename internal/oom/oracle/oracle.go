// Package oracle has the rules by which other tools count OOM kills, so that tests can say what those
// would have counted. It is not linked into the product.
//
// The rules are written anew after what the tools document and do, as far as it decides what is counted: what
// becomes of a count afterwards (cAdvisor's series goes with its container) is left out, in favour of the tools. They
// are given the messages of the kernel one by one, as /dev/kmsg has them, without what is in front.
//
// A tool books a kill when it counts one: of a process, and of a container as far as it knows.
package oracle

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Booked is a kill as a tool counts it.
type Booked struct {
	// PID is the process, in digits.
	PID string
	// Cgroup is that of the container, "/" for the node; empty where the tool has none.
	Cgroup string
}

// CAdvisor counts in container_oom_events_total (utils/oomparser and cmd/internal/api/oom.go of its
// repository, in July 2026): it waits for "invoked oom-killer:", and then for the first line that has all fields of
// "oom-kill:" up to uid=, with oom_memcg= among them, or "Killed process PID (COMM)"; until that comes, everything else is skipped, another
// report as well. The container is that of task_memcg=, or the first path of "Task in A killed as a result of limit
// of B"; else it is "/".
func CAdvisor(messages []string) (all []Booked) {
	waiting, now := false, Booked{}
	for _, m := range messages {
		if !waiting {
			if strings.Contains(m, "invoked oom-killer:") {
				waiting, now = true, Booked{Cgroup: "/"}
			}
			continue
		}
		if fields, ok := constraintFields(m); ok {
			now = fields
			all, waiting = append(all, now), false
			continue
		}
		if _, rest, ok := strings.Cut(m, "Task in "); ok {
			if victim, _, ok := strings.Cut(rest, " killed as a result of limit of "); ok {
				now.Cgroup = victim
			}
		}
		if m := killedParenthesis.FindStringSubmatch(m); m != nil {
			now.PID = m[1]
			all, waiting = append(all, now), false
		}
	}
	return all
}

// killedParenthesis is a process id with its name right behind it.
var killedParenthesis = regexp.MustCompile(`Killed process (\d+) \(.`)

// constraintFields finds the fields of the line "oom-kill:", each the last of its name that leaves room for those behind it.
func constraintFields(m string) (b Booked, ok bool) {
	_, rest, ok := strings.Cut(m, "oom-kill:constraint=")
	if !ok {
		return b, false
	}
	value := ""
	for _, key := range []string{",uid=", ",pid=", ",task=", ",task_memcg=", ",oom_memcg=", ",mems_allowed=", ",cpuset=", ",nodemask="} {
		i := strings.LastIndex(rest, key)
		if i < 0 {
			return b, false
		}
		rest, value = rest[:i], rest[i+len(key):]
		switch key {
		case ",pid=":
			b.PID = value
		case ",task_memcg=":
			b.Cgroup = value
		}
	}
	return b, true
}

// npdPattern is the rule OOMKilling of node-problem-detector's config/kernel-monitor.json in words: the process id, a blank, anything, and the
// first three sizes behind each other.
var npdPattern = regexp.MustCompile(`Killed process (\d+) .+ total-vm:\d+kB, anon-rss:\d+kB, file-rss:\d+kB`)

// NodeProblemDetector makes an event of the node of each line that has the pattern. It has no container.
func NodeProblemDetector(messages []string) (all []Booked) {
	for _, m := range messages {
		if fields := npdPattern.FindStringSubmatch(m); fields != nil {
			all = append(all, Booked{PID: fields[1]})
		}
	}
	return all
}

// PodStatus counts the ends of containers, in what kubectl get pods -o json prints, with the reason OOMKilled in the state or the last
// state, as whoever reads the status of pods does: kube-state-metrics' kube_pod_container_status_last_terminated_reason, and what is built upon it.
func PodStatus(list []byte) (n int, err error) {
	type state struct {
		Terminated *struct {
			Reason string `json:"reason"`
		} `json:"terminated"`
	}
	var pods struct {
		Items []struct {
			Status struct {
				Containers []struct {
					State state `json:"state"`
					Last  state `json:"lastState"`
				} `json:"containerStatuses"`
			} `json:"status"`
		} `json:"items"`
	}
	if err := json.Unmarshal(list, &pods); err != nil {
		return 0, fmt.Errorf("a list of pods: %w", err)
	}
	for _, p := range pods.Items {
		for _, c := range p.Status.Containers {
			for _, s := range []state{c.State, c.Last} {
				if s.Terminated != nil && s.Terminated.Reason == "OOMKilled" {
					n++
				}
			}
		}
	}
	return n, nil
}

// Score compares what was booked with the kills that happened.
type Score struct {
	// Found are kills that were booked, Right those of them that were booked on the victim's cgroup, and Wrong what was
	// booked too often, or never happened.
	Found, Right, Wrong int
}

// Compare holds what was booked against the kills that happened, in which an empty cgroup is one that nobody can know.
func Compare(happened, booked []Booked) (s Score) {
	left := slices.Clone(happened)
	for _, b := range booked {
		i := slices.IndexFunc(left, func(k Booked) bool { return k.PID == b.PID })
		if i < 0 {
			s.Wrong++
			continue
		}
		s.Found++
		if left[i].Cgroup != "" && left[i].Cgroup == b.Cgroup {
			s.Right++
		}
		left = slices.Delete(left, i, i+1)
	}
	return s
}

// Add adds another score.
func (s *Score) Add(o Score) {
	s.Found, s.Right, s.Wrong = s.Found+o.Found, s.Right+o.Right, s.Wrong+o.Wrong
}

// String is "found / right", and how many were too many.
func (s Score) String() string {
	text := fmt.Sprintf("%d / %d", s.Found, s.Right)
	if s.Wrong > 0 {
		text += fmt.Sprintf(", %d too many", s.Wrong)
	}
	return text
}
