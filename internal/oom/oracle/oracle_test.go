package oracle_test

import (
	"slices"
	"testing"

	"stella/internal/oom/oracle"
)

// The rules do what is known of the tools.
func TestRules(t *testing.T) {
	const header = "a invoked oom-killer: gfp_mask=0x0"
	for name, c := range map[string]struct {
		log      []string
		cAdvisor []oracle.Booked
		npd      []oracle.Booked
	}{
		"a container": {
			[]string{header, "oom-kill:constraint=C,nodemask=(null),cpuset=x,mems_allowed=0,oom_memcg=/p,task_memcg=/p/c,task=a,pid=7,uid=0",
				"Memory cgroup out of memory: Killed process 7 (a) total-vm:1kB, anon-rss:1kB, file-rss:0kB, shmem-rss:0kB"},
			[]oracle.Booked{{PID: "7", Cgroup: "/p/c"}}, []oracle.Booked{{PID: "7"}},
		},
		"the node: booked on /": {
			[]string{header, "oom-kill:constraint=C,nodemask=(null),cpuset=x,mems_allowed=0,global_oom,task_memcg=/p/c,task=a,pid=7,uid=0",
				"Out of memory: Killed process 7 (a) total-vm:1kB, anon-rss:1kB, file-rss:0kB"},
			[]oracle.Booked{{PID: "7", Cgroup: "/"}}, []oracle.Booked{{PID: "7"}},
		},
		"no header: not counted": {
			[]string{"Memory cgroup out of memory: Killed process 7 (a) total-vm:1kB, anon-rss:1kB, file-rss:0kB"},
			nil, []oracle.Booked{{PID: "7"}},
		},
		"EL6: waits for ever": {
			[]string{header, "Killed process 7, UID 0, (a) total-vm:1kB, anon-rss:1kB, file-rss:0kB", header, "Task in /b killed as a result of limit of /", "Killed process 8 (b) total-vm:1kB, anon-rss:1kB, file-rss:0kB"},
			[]oracle.Booked{{PID: "8", Cgroup: "/b"}}, []oracle.Booked{{PID: "8"}},
		},
	} {
		if got := oracle.CAdvisor(c.log); !slices.Equal(got, c.cAdvisor) {
			t.Errorf("%s: cAdvisor counts %v; want %v", name, got, c.cAdvisor)
		}
		if got := oracle.NodeProblemDetector(c.log); !slices.Equal(got, c.npd) {
			t.Errorf("%s: node-problem-detector counts %v; want %v", name, got, c.npd)
		}
	}
}

// A status has the last two ends of a container, and nothing of what it lived through.
func TestPodStatus(t *testing.T) {
	const pods = `{"items": [{"status": {"containerStatuses": [
		{"state": {"running": {}}, "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 0}}},
		{"state": {"terminated": {"reason": "OOMKilled"}}, "lastState": {"terminated": {"reason": "Error", "exitCode": 137}}},
		{"state": {"running": {}}}]}}]}`
	if n, err := oracle.PodStatus([]byte(pods)); n != 2 || err != nil {
		t.Errorf("%d, %v; want 2", n, err)
	}
	if _, err := oracle.PodStatus([]byte("{")); err == nil {
		t.Error("half a list is no error")
	}
}

func TestCompare(t *testing.T) {
	happened := []oracle.Booked{{"1", "/a"}, {"2", "/b"}, {"3", ""}, {"4", "/d"}}
	booked := []oracle.Booked{{"1", "/a"}, {"1", "/a"}, {"2", "/"}, {"3", ""}, {"9", "/a"}}
	got := oracle.Compare(happened, booked)
	if want := (oracle.Score{Found: 3, Right: 1, Wrong: 2}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	got.Add(oracle.Score{Found: 1, Right: 1})
	if got.String() != "4 / 2, 2 too many" {
		t.Errorf("%q", got)
	}
}
