package trace

import (
	"strings"
	"testing"

	"stella/internal/oom"
)

func TestParse(t *testing.T) {
	for line, want := range map[string]oom.Process{
		"            hog-9185    [001] ....1    37.123371: mark_victim: pid=9185 comm=hog total-vm=1024kB anon-rss=512kB file-rss:4kB shmem-rss:8kB uid=1000 pgtables=16kB oom_score_adj=-998\n": {
			PID: 9185, Comm: "hog", Total: 1024 << 10, Anon: 512 << 10, File: 4 << 10, Shmem: 8 << 10, UID: 1000, PageTables: 16 << 10, ScoreAdj: -998},
		" <...>-1 [001] ....1 37.1: mark_victim: pid=7\n": {PID: 7, UID: -1},
		": mark_victim: pid=8-1 [001] 37.1: mark_victim: pid=8 comm=a total-vm=1kB total-vm=2kB uid=3 pgtables=0kB oom_score_adj=0\n": {},
		" x-1 [001] 1.1: mark_victim: pid=9 comm=a total-vm=9kB total-vm=2kB anon-rss=1kB uid=3\n":                                    {PID: 9, Comm: "a total-vm=9kB", Total: 2 << 10, Anon: 1 << 10, UID: 3},
		" x-1 [001] 1.1: mark_victim: pid=9 comm=two words, uid=1 total-vm=2kB\n":                                                     {PID: 9, Comm: "two words, uid=1", Total: 2 << 10, UID: -1},
		" x-1 [001] 1.1: mark_victim: pid=9 comm=cut\n":                                                                               {PID: 9, Comm: "cut", UID: -1},
		" x-1 [001] 1.1: mark_victim: pid=-9\n":                                                                                       {},
		" x-1 [001] 1.1: mark_victim: pid=\n":                                                                                         {},
		"CPU:0 [LOST 12 EVENTS]\n":                                                                                                    {},
		"":                                                                                                                            {},
	} {
		got, ok := parse([]byte(line))
		if ok != (want.PID != 0) || ok && got != want {
			t.Errorf("%q: %+v %t, want %+v", line, got, ok, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(" x-1 [001] 1.1: mark_victim: pid=9 comm=a total-vm=2kB anon-rss=1kB file-rss:4kB shmem-rss:8kB uid=3 pgtables=16kB oom_score_adj=1\n")
	f.Add(": mark_victim: pid=1 comm= total-vm=99999999999999999999kB uid=-1")
	f.Fuzz(func(t *testing.T, line string) {
		p, ok := parse([]byte(line))
		if ok && (p.PID <= 0 || !strings.Contains(line, p.Comm)) {
			t.Errorf("%+v", p)
		}
	})
}
