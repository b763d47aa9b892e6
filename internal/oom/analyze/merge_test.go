package analyze_test

import (
	"strings"
	"testing"
	"time"

	"stella/internal/oom/analyze"
)

// One machine's log, as five programs keep it: 07:00:01.5 UTC, 100.000001 s after boot.
const (
	line     = "Memory cgroup out of memory: Killed process 7 (a b) total-vm:100kB, anon-rss:50kB, file-rss:4kB, shmem-rss:0kB, UID:0 pgtables:40kB oom_score_adj:0\n"
	dmesg    = "[  100.000001] " + line
	ctime    = "[Wed May  1 07:00:02 2024] " + line
	syslog   = "May  1 16:00:01 n.example.com kernel: [  100.000001] " + line
	noBoot   = "May  1 16:00:01 n kernel: " + line
	rfc3339  = "2024-05-01T07:00:01.500000+00:00 n kernel: " + line
	journal  = `{"__REALTIME_TIMESTAMP":"1714546801500000","_TRANSPORT":"kernel","_HOSTNAME":"n","_SOURCE_MONOTONIC_TIMESTAMP":"100000001","MESSAGE":"Memory cgroup out of memory: Killed process 7 (a b) total-vm:100kB, anon-rss:50kB, file-rss:4kB, shmem-rss:0kB, UID:0 pgtables:40kB oom_score_adj:0"}` + "\n"
	cutShort = "[  100.000001] Memory cgroup out of memory: Killed process 7 (a b) total-vm:100kB, an"
)

// However many logs have it, and in whatever zone, a kill is one; what is not the same stays apart.
func TestOnce(t *testing.T) {
	other := func(log string, change ...string) string { return strings.NewReplacer(change...).Replace(log) }
	for name, c := range map[string]struct {
		logs []string
		want int
	}{
		"all forms":                          {[]string{dmesg, ctime, syslog, noBoot, rfc3339, journal}, 1},
		"in the other order":                 {[]string{journal, rfc3339, noBoot, syslog, ctime, dmesg}, 1},
		"a line that was cut":                {[]string{cutShort, journal}, 1},
		"the same log twice in one file":     {[]string{dmesg + dmesg}, 1},
		"another process":                    {[]string{dmesg, other(dmesg, "process 7", "process 8")}, 2},
		"another size":                       {[]string{dmesg, other(dmesg, "anon-rss:50kB", "anon-rss:51kB")}, 2},
		"another name":                       {[]string{dmesg, other(dmesg, "(a b)", "(a c)")}, 2},
		"another time since boot":            {[]string{dmesg, other(dmesg, "100.000001", "900.000001")}, 2},
		"another node":                       {[]string{rfc3339, other(rfc3339, " n kernel", " m kernel")}, 2},
		"a node whose name only begins so":   {[]string{rfc3339, other(rfc3339, " n kernel", " nn kernel")}, 2},
		"another day":                        {[]string{rfc3339, other(rfc3339, "2024-05-01", "2024-05-03")}, 2},
		"the pid is used again, in one file": {[]string{rfc3339 + other(rfc3339, "T07", "T09")}, 2},
		"the pid is used again, in two logs": {[]string{rfc3339 + other(rfc3339, "T07", "T09"), noBoot + other(noBoot, "16:", "18:")}, 2},
	} {
		r := text(t, analyze.Options{Year: 2024}, c.logs...)
		if len(r.Kills) != c.want {
			t.Errorf("%s: %d kills; want %d: %+v", name, len(r.Kills), c.want, briefs(r))
		}
		var ids []string
		for _, k := range r.Kills {
			ids = append(ids, k.ID)
		}
		if len(ids) == 2 && ids[0] == ids[1] {
			t.Errorf("%s: both have the id %s", name, ids[0])
		}
	}
}

// The best of all sources is kept: the time with a fraction, the node, the cgroup.
func TestBest(t *testing.T) {
	logs := []string{dmesg, noBoot, journal}
	want := time.Date(2024, 5, 1, 7, 0, 1, 500_000_000, time.UTC)
	for range 3 {
		logs = append(logs[1:], logs[0])
		r := text(t, analyze.Options{Year: 2024, Location: time.FixedZone("", 9*3600)}, logs...)
		if len(r.Kills) != 1 || !r.Kills[0].Time.Equal(want) || r.Kills[0].Container.Node != "n" || r.Kills[0].ID == "" {
			t.Errorf("%+v", r.Kills)
		}
	}
}

// A log that says of itself in which year and zone it is needs no options for that, and other logs are left alone.
func TestMoved(t *testing.T) {
	notice := `May  1 16:00:01 n containerd: time="2021-05-01T16:00:01.7+09:00" level=info msg="TaskOOM event container_id:\"` + one + `\""` + "\n"
	r := text(t, analyze.Options{Year: 2024}, noBoot+notice, strings.Replace(noBoot, "process 7", "process 8", 1))
	if len(r.Kills) != 2 || r.Kills[0].Time.Format(time.RFC3339) != "2021-05-01T07:00:01Z" || r.Kills[1].Time.Format(time.RFC3339) != "2024-05-01T16:00:01Z" {
		t.Errorf("%+v", briefs(r))
	}
	if len(r.Sources) != 2 || r.Sources[0].Moved == 0 || r.Sources[1].Moved != 0 {
		t.Errorf("%+v", r.Sources)
	}
}
