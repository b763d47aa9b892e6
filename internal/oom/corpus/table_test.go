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

	"stella/internal/oom/oracle"
)

var update = flag.Bool("update", false, "write the table of docs/oom-formats.md anew")

const (
	document = "../../../docs/oom-formats.md"
	begin    = "<!-- begin: made by go test ./internal/oom/corpus -run TestTable -update -->\n"
	end      = "<!-- end -->\n"
)

// The table in the document is what the rules make of the corpus today.
func TestTable(t *testing.T) {
	var out strings.Builder
	out.WriteString("| log | kills / with a cgroup in the log | Stella | cAdvisor | node-problem-detector | pod status |\n|---|---|---|---|---|---|\n")
	var kills, named, told, statusKills, statuses int
	var stella, cadvisor oracle.Score
	var npd int
	for _, c := range cases(t) {
		reports, _ := read(t, c, c.Log)
		var mine, happened []oracle.Booked
		for _, r := range reports {
			mine = append(mine, oracle.Booked{PID: strconv.Itoa(r.Process.PID), Cgroup: r.Cgroup})
		}
		with := 0
		for _, k := range c.Want.Kills {
			happened = append(happened, oracle.Booked{PID: strconv.Itoa(k.PID), Cgroup: k.Cgroup})
			if k.Cgroup != "" {
				with++
			}
		}
		m := messages(t, c)
		s, a, n := oracle.Compare(happened, mine), oracle.Compare(happened, oracle.CAdvisor(m)), len(oracle.NodeProblemDetector(m))
		status := "–"
		if c.Pods != nil {
			count, err := oracle.PodStatus(c.Pods)
			if err != nil {
				t.Fatal(err)
			}
			status = strconv.Itoa(count)
			statuses += count
			statusKills += len(c.Want.Kills)
			told++
		}
		fmt.Fprintf(&out, "| %s | %d / %d | %s | %s | %d | %s |\n", c.Name, len(c.Want.Kills), with, s, a, n, status)
		kills, named, npd = kills+len(c.Want.Kills), named+with, npd+n
		stella.Add(s)
		cadvisor.Add(a)
	}
	fmt.Fprintf(&out, "| **all** | **%d / %d** | **%s** | **%s** | **%d** | **%d** in %d logs with %d kills |\n", kills, named, stella, cadvisor, npd, statuses, told, statusKills)
	if stella != (oracle.Score{Found: kills, Right: named}) {
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
