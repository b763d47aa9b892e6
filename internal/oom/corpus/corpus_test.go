package corpus_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"stella/internal/oom"
	"stella/internal/oom/corpus"
	"stella/internal/oom/kmsg"
)

func cases(t *testing.T) []corpus.Case {
	t.Helper()
	all, err := corpus.Cases()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 45 {
		t.Fatalf("only %d logs", len(all))
	}
	return all
}

// read gives a log to the parser.
func read(t *testing.T, c corpus.Case, log []byte) ([]oom.Report, kmsg.Summary) {
	t.Helper()
	location, err := c.Want.Location()
	if err != nil {
		t.Fatal(err)
	}
	o := kmsg.FileOptions{Location: location, Year: c.Want.Year, PageSize: c.Want.PageSize}
	if c.Want.PageSizeFromLog {
		o.PageSize = 0
	}
	var all []oom.Report
	sum, err := kmsg.Files(t.Context(), bytes.NewReader(log), o, func(r oom.Report) error {
		all = append(all, r)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all, sum
}

// Each log tells what is written beside it, also compressed, in two pieces that are compressed each by itself, and with the ends
// of lines of Windows.
func TestCorpus(t *testing.T) {
	for _, c := range cases(t) {
		t.Run(c.Name, func(t *testing.T) {
			t.Log(c.Want.About)
			got, sum := read(t, c, c.Log)
			compare(t, c.Want, got)
			if sum.Unfinished != int64(c.Want.Unfinished) {
				t.Errorf("%d headers without a kill; want %d", sum.Unfinished, c.Want.Unfinished)
			}
			if strings.HasSuffix(c.File, ".gz") {
				return
			}
			half := len(c.Log) / 2
			for name, log := range map[string][]byte{
				"gzip":        pack(t, c.Log),
				"gzip, twice": append(pack(t, c.Log[:half]), pack(t, c.Log[half:])...),
				"CRLF":        bytes.ReplaceAll(c.Log, []byte("\n"), []byte("\r\n")),
			} {
				again, _ := read(t, c, log)
				if diff := cmp.Diff(got, again); diff != "" {
					t.Errorf("%s: - plain + this:\n%s", name, diff)
				}
			}
		})
	}
}

func pack(t *testing.T, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// compare checks reports against what a log tells.
func compare(t *testing.T, w corpus.Want, got []oom.Report) {
	t.Helper()
	if len(got) != len(w.Kills) {
		t.Fatalf("%d kills; want %d: %+v", len(got), len(w.Kills), got)
	}
	page := w.PageSize
	if page == 0 {
		page = 4096
	}
	for i := range got {
		want, have := expected(t, &w.Kills[i], &got[i], page), describe(&got[i])
		if diff := cmp.Diff(want, have); diff != "" {
			t.Errorf("kill %d of %d: - want + got\n%s", i+1, len(got), diff)
		}
	}
}

// describe is a report as comparable texts.
func describe(r *oom.Report) map[string]string {
	m := map[string]string{
		"pid": strconv.Itoa(r.Process.PID), "comm": strings.ToValidUTF8(r.Process.Comm, "\ufffd"), "uid": strconv.Itoa(r.Process.UID),
		"node": r.Node, "invoker": r.Invoker, "cgroup": r.Cgroup,
		"boot": r.Monotonic.String(), "time": "",
		"scope": string(r.Limit.Scope), "limit": r.Limit.Cgroup, "bytes": fmt.Sprint(r.Limit.Bytes), "usage": fmt.Sprint(r.Limit.Usage), "failures": fmt.Sprint(r.Limit.Failures),
		"total": fmt.Sprint(r.Process.Total), "anon": fmt.Sprint(r.Process.Anon), "file": fmt.Sprint(r.Process.File), "shmem": fmt.Sprint(r.Process.Shmem),
		"page tables": fmt.Sprint(r.Process.PageTables), "score adj": strconv.Itoa(r.Process.ScoreAdj),
		"group": strconv.Itoa(r.Group), "repeated": strconv.Itoa(r.Repeated),
		"tasks": strconv.Itoa(len(r.Tasks) + r.TasksLeftOut), "largest": "",
	}
	if !r.Time.IsZero() {
		m["time"] = r.Time.UTC().Format(time.RFC3339Nano)
	}
	if len(r.Tasks) > 0 {
		m["largest"] = fmt.Sprintf("%d %s %d", r.Tasks[0].PID, strings.ToValidUTF8(r.Tasks[0].Comm, "\ufffd"), r.Tasks[0].Resident())
	}
	for kind, n := range memory(r.Memory) {
		m["memory "+kind] = fmt.Sprint(n)
	}
	return m
}

func memory(m oom.Memory) map[string]int64 {
	return map[string]int64{
		"anon": m.Anon, "file": m.File, "shmem": m.Shmem, "kernel": m.Kernel, "slab": m.Slab, "sock": m.Sock, "page_tables": m.PageTables, "kernel_stack": m.Stack, "swap": m.Swap,
	}
}

// expected is what the log tells in the same texts. What it does not tell in one way alone is taken as it was read.
func expected(t *testing.T, k *corpus.Kill, got *oom.Report, page int64) map[string]string {
	t.Helper()
	m := describe(got)
	m["pid"], m["comm"], m["node"], m["cgroup"], m["limit"] = strconv.Itoa(k.PID), k.Comm, k.Node, k.Cgroup, k.Limit.Cgroup
	m["failures"], m["group"], m["repeated"] = fmt.Sprint(k.Limit.Failures), strconv.Itoa(k.Group), strconv.Itoa(k.Repeated)
	m["tasks"] = strconv.Itoa(k.Tasks)
	for name, a := range map[string]corpus.Amount{"total": k.Total, "anon": k.Anon, "file": k.File, "shmem": k.Shmem} {
		m[name] = fmt.Sprint(a.Bytes(page))
	}
	for name, a := range map[string]*corpus.Amount{"page tables": k.PageTables, "bytes": k.Limit.Bytes, "usage": k.Limit.Usage} {
		if a != nil {
			m[name] = fmt.Sprint(a.Bytes(page))
		}
	}
	for kind, a := range k.Memory {
		m["memory "+kind] = fmt.Sprint(a.Bytes(page))
	}
	for name, p := range map[string]*int{"uid": k.UID, "score adj": k.ScoreAdj} {
		if p != nil {
			m[name] = strconv.Itoa(*p)
		}
	}
	if k.Invoker != nil {
		m["invoker"] = *k.Invoker
	}
	if k.Limit.Scope != "" {
		m["scope"] = k.Limit.Scope
	}
	if k.Limit.Bytes == nil && k.Limit.Scope != string(oom.ScopeCpuset) && k.Limit.Scope != "" {
		m["bytes"] = "0"
	}
	if k.Largest != nil {
		m["largest"] = fmt.Sprintf("%d %s %d", k.Largest.PID, k.Largest.Comm, k.Largest.Resident.Bytes(page))
	}
	m["boot"], m["time"] = "0s", ""
	if k.Boot != "" {
		d, err := time.ParseDuration(k.Boot + "s")
		if err != nil {
			t.Fatal(err)
		}
		m["boot"] = d.String()
	}
	if k.Time != "" {
		at, err := time.Parse(time.RFC3339Nano, k.Time)
		if err != nil {
			t.Fatal(err)
		}
		m["time"] = at.UTC().Format(time.RFC3339Nano)
	}
	return m
}

// What is measured with is read right.
func TestLong(t *testing.T) {
	var log bytes.Buffer
	kills, err := corpus.Long(&log, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	got, _ := read(t, corpus.Case{}, log.Bytes())
	if len(got) != kills || kills < 3 {
		t.Errorf("%d kills, want %d", len(got), kills)
	}
}
