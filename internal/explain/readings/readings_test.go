package readings_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"stella/internal/explain/readings"
	"stella/internal/oom"
)

const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
)

// texts are what each tool prints in a loop, twice.
var texts = []struct {
	name, text string
	o          readings.Options
	want       []string // time, usage, working set, file, limit
}{
	{"free -m with date", `Sat Nov 21 21:38:52 UTC 2026
               total        used        free      shared  buff/cache   available
Mem:           16000       12000         200         100        3800        3500
Swap:              0           0           0
Sat Nov 21 21:38:57 UTC 2026
               total        used        free      shared  buff/cache   available
Mem:           16000       12100         200         100        3700        3400
Swap:              0           0           0
`, readings.Options{Unit: mib}, []string{
		fmt.Sprintln("2026-11-21 21:38:52", 15800*mib, 12500*mib, 3800*mib, 16000*mib), fmt.Sprintln("2026-11-21 21:38:57", 15800*mib, 12600*mib, 3700*mib, 16000*mib),
	}},
	{"free -h of an old version, without times", `             total       used       free     shared    buffers     cached
Mem:           16G        15G       1.0G         0B       100M       3.0G
-/+ buffers/cache:        12G       4.0G
Mem:           16G        15G       1.0G         0B       100M       2.0G
`, readings.Options{Every: time.Second}, []string{
		fmt.Sprintln("2000-01-01 00:00:00", 15*gib, 12*gib-100*mib, 3*gib+100*mib, 16*gib), fmt.Sprintln("2000-01-01 00:00:01", 15*gib, 13*gib-100*mib, 2*gib+100*mib, 16*gib),
	}},
	{"dstat", "used  buff  cach  free\n12.5G  688k 3378M  190M\n| 13G 8192B 2232M | 0 |\n", readings.Options{Every: time.Minute}, []string{
		fmt.Sprintln("2000-01-01 00:00:00", 12800*mib+688*kib+3378*mib, 12800*mib, 688*kib+3378*mib, 12800*mib+688*kib+3378*mib+190*mib),
		fmt.Sprintln("2000-01-01 00:01:00", 13*gib+8*kib+2232*mib, 13*gib, 8*kib+2232*mib, 13*gib+8*kib+2232*mib),
	}},
	{"kubectl top pod of one namespace", `23:59:50
NAME                        CPU(cores)   MEMORY(bytes)
nginx-5d6c7cdff5-qwk4b      0m           6Mi
war-2pod-8579c8ccfc-9ftjn   5m           430Mi
00:00:05
NAME                        CPU(cores)   MEMORY(bytes)
nginx-5d6c7cdff5-qwk4b      0m           <unknown>
war-2pod-8579c8ccfc-9ftjn   5m           431Mi
`, readings.Options{Name: "war-2pod-8579c8ccfc-9ftjn", Limit: gib}, []string{
		fmt.Sprintln("2000-01-01 23:59:50", 430*mib, 430*mib, -1, gib), fmt.Sprintln("2000-01-02 00:00:05", 431*mib, 431*mib, -1, gib),
	}},
	{"kubectl top pod -A --containers, each line with its time", `2026-11-21T21:38:52Z NAMESPACE POD NAME CPU(cores) MEMORY(bytes)
2026-11-21T21:38:52Z shop web-1 app 1m 100Mi
2026-11-21T21:39:52Z shop web-1 app 1m 110Mi
`, readings.Options{Name: "shop/web-1/app"}, []string{
		fmt.Sprintln("2026-11-21 21:38:52", 100*mib, 100*mib, -1, 0), fmt.Sprintln("2026-11-21 21:39:52", 110*mib, 110*mib, -1, 0),
	}},
	{"docker stats", "\x1b[2J\x1b[H" + `CONTAINER ID   NAME      CPU %     MEM USAGE / LIMIT     MEM %     NET I/O       BLOCK I/O     PIDS
b571874ae948   web       0.13%     13.5MiB / 512MiB      2.64%     1.2kB / 0B    0B / 0B       7
b571874ae948   web       0.13%     1.5GiB / 2GiB         2.64%     1.2kB / 0B    0B / 0B       7
`, readings.Options{Every: time.Second, Name: "b571874ae948"}, []string{
		fmt.Sprintln("2000-01-01 00:00:00", 27*mib/2, 27*mib/2, -1, 512*mib), fmt.Sprintln("2000-01-01 00:00:01", 3*gib/2, 3*gib/2, -1, 2*gib),
	}},
	{"crictl stats", "CONTAINER           CPU %               MEM                 DISK                INODES\nb571 0.13 13.56MB 0B 0\nb571 100.24 3.236GB 1.622GB 21833\n",
		readings.Options{Every: time.Second}, []string{
			fmt.Sprintln("2000-01-01 00:00:00", 13560000, 13560000, -1, 0), fmt.Sprintln("2000-01-01 00:00:01", 3236000000, 3236000000, -1, 0),
		}},
	{"times and bytes", "time,bytes,limit\n2026-11-21 21:38:52,1000,5000\n2026-11-21 21:38:53,2Mi,5000\n", readings.Options{}, []string{
		fmt.Sprintln("2026-11-21 21:38:52", 1000, 1000, -1, 5000), fmt.Sprintln("2026-11-21 21:38:53", 2*mib, 2*mib, -1, 5000),
	}},
	{"seconds since 1970", "1795297132,1000\n1795297133.5;2000\n", readings.Options{}, []string{
		fmt.Sprintln("2026-11-21 21:38:52", 1000, 1000, -1, 0), fmt.Sprintln("2026-11-21 21:38:53", 2000, 2000, -1, 0),
	}},
}

func TestRead(t *testing.T) {
	for _, tt := range texts {
		t.Run(tt.name, func(t *testing.T) {
			table, err := readings.Read(t.Context(), strings.NewReader(tt.text), tt.o)
			if err != nil {
				t.Fatal(err)
			}
			for i, s := range table.Samples {
				got := fmt.Sprintln(s.Time.UTC().Format(time.DateTime), s.Usage, s.WorkingSet, s.File, s.Limit)
				if len(table.Samples) != len(tt.want) || got != tt.want[i] {
					t.Errorf("reading %d of %d is %s, want %d, this one %s", i, len(table.Samples), got, len(tt.want), tt.want[min(i, len(tt.want)-1)])
				}
				if s.Anon != -1 || s.CPU != -1 || s.PIDs != -1 {
					t.Errorf("it tells what no table has: %+v", s)
				}
			}
		})
	}
}

func TestReadSays(t *testing.T) {
	pods := "NAME CPU(cores) MEMORY(bytes)\nb 1m 1Mi\na 1m 1Mi\n"
	for _, tt := range []struct {
		name, text, want string
		o                readings.Options
	}{
		{"nothing", "\n\n", "there is nothing to read", readings.Options{}},
		{"no table", "hello\nworld\n", `there are no readings in 2 lines, the first of which is "hello"`, readings.Options{}},
		{"no time", "NAME CPU(cores) MEMORY(bytes)\na 1m 1Mi\n", "line 2: this reading has no time: say how far readings are apart, such as --every 1s", readings.Options{}},
		{"one time for two", "12:00:00\nNAME CPU(cores) MEMORY(bytes)\na 1m 1Mi\na 1m 1Mi\n", "line 4: this reading has no time", readings.Options{}},
		{"no unit", "total used free\nMem: 16000 12000 4000\n", `line 2: "16000" has no unit: say what the numbers count, such as --unit M`, readings.Options{Every: time.Second}},
		{"several", pods, "these are readings of several: b, a; name one of them", readings.Options{Every: time.Second}},
		{"another", pods, `there are no readings of "c", but of b, a`, readings.Options{Every: time.Second, Name: "c"}},
		{"back in time", "2026-11-21T12:00:00Z,1\n2026-11-20T12:00:00Z,1\n", "line 2: it is 2026-11-20 12:00:00, and was 2026-11-21 12:00:00 before", readings.Options{}},
		{"too long", strings.Repeat("x", 1<<20), "line 1 has more than 16384 bytes", readings.Options{}},
		{"too many", strings.Repeat("1\n", 100_001), "line 100001: there are more than 100000 readings", readings.Options{Every: time.Second}},
	} {
		if _, err := readings.Read(t.Context(), strings.NewReader(tt.text), tt.o); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v; want %s", tt.name, err, tt.want)
		}
	}
}

// What is left out is said.
func TestLeftOut(t *testing.T) {
	table, err := readings.Read(t.Context(), strings.NewReader("$ while true; do date +%s; cat memory.current; done\n1795297132 1000\nTerminated\n"), readings.Options{})
	if err != nil || table.LeftOut != 2 || table.FirstLine != 1 || !strings.HasPrefix(table.First, "$ while") || len(table.Samples) != 1 {
		t.Errorf("%+v, %v", table, err)
	}
}

// However many names there are, an error names a few.
func TestNamesAreBounded(t *testing.T) {
	var text strings.Builder
	text.WriteString("NAME CPU(cores) MEMORY(bytes)\n")
	for i := range 5000 {
		fmt.Fprintf(&text, "pod-%d 1m 1Mi\n", i)
	}
	_, err := readings.Read(t.Context(), strings.NewReader(text.String()), readings.Options{Every: time.Second})
	if err == nil || len(err.Error()) > 200 || !strings.Contains(err.Error(), "pod-4 and 995 more") {
		t.Errorf("%v", err)
	}
}

func FuzzRead(f *testing.F) {
	for _, tt := range texts {
		f.Add(tt.text, tt.o.Name, int64(tt.o.Every), tt.o.Unit)
	}
	f.Fuzz(func(t *testing.T, text, name string, every, unit int64) {
		o := readings.Options{Name: name, Every: time.Duration(every % int64(time.Hour)), Unit: max(unit%(1<<40), 0)}
		table, err := readings.Read(t.Context(), strings.NewReader(text), o)
		if err != nil {
			if len(err.Error()) > 2000 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		if len(table.Samples) == 0 || len(table.Samples) > strings.Count(text, "\n")+1 {
			t.Errorf("%d readings of %d lines", len(table.Samples), strings.Count(text, "\n")+1)
		}
		if !slices.IsSortedFunc(table.Samples, func(a, b oom.Sample) int { return a.Time.Compare(b.Time) }) {
			t.Error("they are not in order")
		}
		for _, s := range table.Samples {
			if s.WorkingSet < 0 || s.Usage < 0 || s.Limit < 0 || s.Limit > 1<<59 || s.Usage > 1<<59 || s.Time.IsZero() {
				t.Errorf("%+v", s)
			}
		}
	})
}
