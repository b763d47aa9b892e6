package corpus_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"stella/internal/oom/corpus"
)

var update = flag.Bool("update", false, "write the table of docs/oom-formats.md anew")

const (
	document = "../../../docs/oom-formats.md"
	begin    = "<!-- begin: made by go test ./internal/oom/corpus -run TestTable -update -->\n"
	end      = "<!-- end -->\n"
)

// row compares what was found with what happened.
type row struct {
	found, right, wrong int
}

// score compares kills, as pid and cgroup, with those that happened. A tool may count a kill without knowing
// the cgroup: then it is found, and not right.
func score(want []corpus.Kill, got []booked) (r row) {
	left := slices.Clone(want)
	for _, b := range got {
		i := slices.IndexFunc(left, func(k corpus.Kill) bool { return strconv.Itoa(k.PID) == b.pid })
		if i < 0 {
			r.wrong++
			continue
		}
		r.found++
		if left[i].Cgroup != "" && left[i].Cgroup == b.container {
			r.right++
		}
		left = slices.Delete(left, i, i+1)
	}
	return r
}

func (r row) String() string {
	s := fmt.Sprintf("%d / %d", r.found, r.right)
	if r.wrong > 0 {
		s += fmt.Sprintf(", %d too many", r.wrong)
	}
	return s
}

// The table in the document is what the rules make of the corpus today.
func TestTable(t *testing.T) {
	var out strings.Builder
	out.WriteString("| log | kills / with a cgroup in the log | Stella | cAdvisor | node-problem-detector | pod status |\n|---|---|---|---|---|---|\n")
	var kills, named, told, statusKills, statuses int
	var stella, cadvisor row
	var npd int
	for _, c := range cases(t) {
		reports, _ := read(t, c, c.Log)
		var mine []booked
		for _, r := range reports {
			mine = append(mine, booked{strconv.Itoa(r.Process.PID), r.Cgroup})
		}
		with := 0
		for _, k := range c.Want.Kills {
			if k.Cgroup != "" {
				with++
			}
		}
		m := messages(t, c)
		s, a, n := score(c.Want.Kills, mine), score(c.Want.Kills, cAdvisor(m)), nodeProblemDetector(m)
		status := "–"
		if c.Pods != nil {
			count := podStatus(t, c.Pods)
			status = strconv.Itoa(count)
			statuses += count
			statusKills += len(c.Want.Kills)
			told++
		}
		fmt.Fprintf(&out, "| %s | %d / %d | %s | %s | %d | %s |\n", c.Name, len(c.Want.Kills), with, s, a, n, status)
		kills, named, npd = kills+len(c.Want.Kills), named+with, npd+n
		stella = row{stella.found + s.found, stella.right + s.right, stella.wrong + s.wrong}
		cadvisor = row{cadvisor.found + a.found, cadvisor.right + a.right, cadvisor.wrong + a.wrong}
	}
	fmt.Fprintf(&out, "| **all** | **%d / %d** | **%s** | **%s** | **%d** | **%d** in %d logs with %d kills |\n", kills, named, stella, cadvisor, npd, statuses, told, statusKills)
	if stella != (row{kills, named, 0}) {
		t.Errorf("Stella found %s; want %d / %d", stella, kills, named)
	}

	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok1 := bytes.Cut(text, []byte(begin))
	have, after, ok2 := bytes.Cut(rest, []byte(end))
	if !ok1 || !ok2 {
		t.Fatalf("%s has no place for the table", document)
	}
	if string(have) == out.String() {
		return
	}
	if !*update {
		t.Fatalf("%s is not what the corpus shows: run go test ./internal/oom/corpus -run TestTable -update", document)
	}
	made := slices.Concat(before, []byte(begin), []byte(out.String()), []byte(end), after)
	if err := os.WriteFile(document, made, 0o644); err != nil {
		t.Fatal(err)
	}
}
