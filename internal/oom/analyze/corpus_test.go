package analyze_test

import (
	"bytes"
	"testing"
	"time"

	"stella/internal/oom/analyze"
	"stella/internal/oom/corpus"
)

// Of each log of the corpus, and of all of them together, those kills are found that it tells of.
func TestCorpus(t *testing.T) {
	cases, err := corpus.Cases()
	if err != nil {
		t.Fatal(err)
	}
	all, want := analyze.New(analyze.Options{}), 0
	for _, c := range cases {
		location, err := c.Want.Location()
		if err != nil {
			t.Fatal(err)
		}
		one := analyze.New(analyze.Options{Location: location, Year: c.Want.Year, PageSize: c.Want.PageSize})
		for _, a := range []*analyze.Analysis{one, all} {
			if err := a.Reader(t.Context(), c.File, bytes.NewReader(c.Log), time.Time{}); err != nil {
				t.Fatal(err)
			}
			if c.Pods != nil {
				if err := a.Reader(t.Context(), c.Name+".json", bytes.NewReader(c.Pods), time.Time{}); err != nil {
					t.Fatal(err)
				}
			}
		}
		if got := processes(one.Result()); got != len(c.Want.Kills) {
			t.Errorf("%s: %d kills of processes; want %d", c.Name, got, len(c.Want.Kills))
		}
		want += len(c.Want.Kills)
	}
	if got := processes(all.Result()); got != want {
		t.Errorf("all logs together: %d kills of processes; want %d", got, want)
	}
}

// processes counts the kills of which the process is known.
func processes(r analyze.Result) (n int) {
	for _, k := range r.Kills {
		if k.Process.PID != 0 {
			n++
		}
	}
	return n
}
