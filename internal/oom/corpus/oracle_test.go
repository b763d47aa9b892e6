package corpus_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"regexp"
	"strings"
	"testing"

	"stella/internal/oom/corpus"
)

// This file has the rules of other tools, as far as they decide what is counted, written anew after what they
// document and do. They read /dev/kmsg, so they are given the messages of the kernel in a log, one by one.

// booked is a kill as a tool counts it: which process, and of which container.
type booked struct {
	pid       string
	container string
}

// cAdvisor counts in container_oom_events_total (utils/oomparser and cmd/internal/api/oom.go of its
// repository, in July 2026): it waits for "invoked oom-killer:", and then for the first line that has all fields of
// "oom-kill:" up to uid=, with oom_memcg= among them, or "Killed process PID (COMM)"; until that comes, everything else is skipped, another
// report as well. The container is that of task_memcg=, or the first path of "Task in A killed as a result of limit
// of B"; else it is "/".
func cAdvisor(messages []string) (all []booked) {
	waiting, now := false, booked{}
	for _, m := range messages {
		if !waiting {
			if strings.Contains(m, "invoked oom-killer:") {
				waiting, now = true, booked{container: "/"}
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
				now.container = victim
			}
		}
		if m := killedParenthesis.FindStringSubmatch(m); m != nil {
			now.pid = m[1]
			all, waiting = append(all, now), false
		}
	}
	return all
}

// killedParenthesis is a process id with its name right behind it.
var killedParenthesis = regexp.MustCompile(`Killed process (\d+) \(.`)

// constraintFields finds the fields of the line "oom-kill:", each the last of its name that leaves room for those behind it.
func constraintFields(m string) (b booked, ok bool) {
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
			b.pid = value
		case ",task_memcg=":
			b.container = value
		}
	}
	return b, true
}

// npdPattern is the rule OOMKilling of node-problem-detector's config/kernel-monitor.json in words: the process id, a blank, anything, and the
// first three sizes behind each other.
var npdPattern = regexp.MustCompile(`Killed process \d+ .+ total-vm:\d+kB, anon-rss:\d+kB, file-rss:\d+kB`)

// nodeProblemDetector makes an event of the node of each line that has the pattern. It has no container.
func nodeProblemDetector(messages []string) (n int) {
	for _, m := range messages {
		if npdPattern.MatchString(m) {
			n++
		}
	}
	return n
}

// podStatus counts the containers whose state or last state has the reason OOMKilled, as whoever reads the status of
// pods does: kube-state-metrics' kube_pod_container_status_last_terminated_reason, and what is built upon it.
func podStatus(t *testing.T, list []byte) (n int) {
	t.Helper()
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
		t.Fatal(err)
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
	return n
}

// program is the name of a program, other than the kernel, before a message.
var program = regexp.MustCompile(`^(?:\w{3} [ \d]\d [\d:.]+|\d{4}-\d\d-\d\dT[\d:.+Z]+) \S+ ([\w.-]+)(?:\[\d+\])?: |^\S+ (stdout|stderr) F |: user: `)

// messages are those of the kernel in a log. Where a journal's record has several lines, it is one message.
func messages(t *testing.T, c corpus.Case) (all []string) {
	t.Helper()
	log := c.Log
	if bytes.HasPrefix(log, []byte("\x1f\x8b")) {
		z, err := gzip.NewReader(bytes.NewReader(log))
		if err != nil {
			t.Fatal(err)
		}
		if log, err = io.ReadAll(z); err != nil {
			t.Fatal(err)
		}
	}
	text := string(log)
	if strings.Contains(text, `"Output": "`) { // a console in JSON
		text = strings.ReplaceAll(text, `\r\n`, "\n")
	}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if strings.HasPrefix(line, `{"`) {
			var entry struct {
				Transport string `json:"_TRANSPORT"`
				Message   any    `json:"MESSAGE"`
			}
			if err := json.Unmarshal([]byte(line), &entry); err != nil {
				t.Fatal(err)
			}
			if entry.Transport != "kernel" {
				continue
			}
			if line, _ = entry.Message.(string); line == "" {
				var b []byte
				for _, n := range entry.Message.([]any) {
					b = append(b, byte(n.(float64)))
				}
				line = string(b)
			}
		}
		if m := program.FindStringSubmatch(line); m != nil && m[1] != "kernel" {
			continue
		}
		all = append(all, line)
	}
	return all
}

// The rules do what is known of the tools.
func TestOracles(t *testing.T) {
	const header = "a invoked oom-killer: gfp_mask=0x0"
	for name, c := range map[string]struct {
		log  []string
		want []booked
		npd  int
	}{
		"a container": {
			[]string{header, "oom-kill:constraint=C,nodemask=(null),cpuset=x,mems_allowed=0,oom_memcg=/p,task_memcg=/p/c,task=a,pid=7,uid=0",
				"Memory cgroup out of memory: Killed process 7 (a) total-vm:1kB, anon-rss:1kB, file-rss:0kB, shmem-rss:0kB"},
			[]booked{{"7", "/p/c"}}, 1,
		},
		"the node: booked on /": {
			[]string{header, "oom-kill:constraint=C,nodemask=(null),cpuset=x,mems_allowed=0,global_oom,task_memcg=/p/c,task=a,pid=7,uid=0",
				"Out of memory: Killed process 7 (a) total-vm:1kB, anon-rss:1kB, file-rss:0kB"},
			[]booked{{"7", "/"}}, 1,
		},
		"no header: not counted": {[]string{"Memory cgroup out of memory: Killed process 7 (a) total-vm:1kB, anon-rss:1kB, file-rss:0kB"}, nil, 1},
		"EL6: waits for ever": {
			[]string{header, "Killed process 7, UID 0, (a) total-vm:1kB, anon-rss:1kB, file-rss:0kB", header, "Task in /b killed as a result of limit of /", "Killed process 8 (b) total-vm:1kB, anon-rss:1kB, file-rss:0kB"},
			[]booked{{"8", "/b"}}, 1,
		},
	} {
		got := cAdvisor(c.log)
		if len(got) != len(c.want) || len(got) > 0 && got[0] != c.want[0] {
			t.Errorf("%s: cAdvisor counts %v; want %v", name, got, c.want)
		}
		if n := nodeProblemDetector(c.log); n != c.npd {
			t.Errorf("%s: node-problem-detector counts %d; want %d", name, n, c.npd)
		}
	}
}
