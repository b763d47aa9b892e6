package checks

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"stella/internal/bytesize"
	"stella/internal/doctor"
	"stella/internal/scanner"
)

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile("../../../" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// section is the part of docs/doctor.md about one check, in one line.
func section(t *testing.T, id string) string {
	t.Helper()
	_, rest, found := strings.Cut(read(t, "docs/doctor.md"), "\n## "+id+"\n")
	if !found {
		t.Fatalf("docs/doctor.md has no section %s", id)
	}
	rest, _, _ = strings.Cut(rest, "\n## ")
	return strings.Join(strings.Fields(rest), " ")
}

// The document has every check, and its thresholds are those of the code.
func TestDocument(t *testing.T) {
	percent := func(f float64) string { return fmt.Sprintf("%.0f %%", 100*f) }
	long := func(d time.Duration) string { return scanner.Duration(d).String() }
	for id, words := range map[string][]string{
		MemoryUsage:  {"`fail`: a worker uses " + percent(fullShare), "`warn`: a worker uses " + percent(highShare), "in the last " + long(recent)},
		WorkerHealth: {"not got further for " + long(stuckAfter), "in the last " + long(recent)},
		Queue: {
			"`fail`: the oldest scan of a pool has waited for " + long(longWait), "or for " + long(slowWait),
			"`warn`: the oldest scan of a pool has waited for " + long(slowWait),
		},
		Disk: {
			"`fail`: less than " + percent(fullDiskShare) + " and less than " + bytesize.Text(fullBytes),
			"`warn`: less than " + percent(lowShare) + " and less than " + bytesize.Text(lowBytes),
		},
	} {
		text := section(t, id)
		for _, w := range words {
			if !strings.Contains(text, w) {
				t.Errorf("the section %s does not say %q", id, w)
			}
		}
	}
	for _, c := range All(fine(), nil) {
		section(t, c.ID)
	}
	for _, s := range doctor.States {
		if !strings.Contains(read(t, "docs/doctor.md"), "| `"+string(s)+"` |") {
			t.Errorf("the document does not explain the state %q", s)
		}
	}
}

var (
	inDocument = regexp.MustCompile("(?m)`(stella [^`]+)`|^(stella .*?)(?: +#.*)?$")
	words      = regexp.MustCompile(`^[a-z-]+$`)
	flag       = regexp.MustCompile(`--[a-z-]+`)
	keys       = regexp.MustCompile(`config (?:set|get) (\S+)`)
)

// commands are those in the document, and those that findings give where everything is wrong.
func commands(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, m := range inDocument.FindAllStringSubmatch(read(t, "docs/doctor.md"), -1) {
		all = append(all, m[1]+m[2])
	}
	s := fine()
	s.plan.Settings.StreamingThreshold = gib
	s.incidents = []scanner.WorkerKill{{ID: "job-1", At: time.Now(), Image: "x", Pool: "default", Limit: 64 * mib}, {ID: "job-2", At: time.Now(), Image: "x", Pool: "big", Limit: 128 * mib}}
	s.quarantines = []scanner.Quarantine{{Limit: gib, Incident: "job-1"}}
	s.workers[0].Memory = 64 * mib
	s.workers[1].Moved = time.Now().Add(-time.Hour)
	s.workers[0].LastExit = &scanner.Exit{At: time.Now(), Reason: scanner.RestartCrash}
	s.workers[0].Wanted = gib
	s.queue.Pools = []scanner.QueuePool{{Pool: "default", Pending: 1, Oldest: 9000}, {Pool: "big", Pending: 1, Oldest: 9000}, {Pool: "gone", Pending: 1, Oldest: 9000}}
	full := disk{s, []Directory{{"data", "/data"}}, func(string) (space, error) { return space{bytes: gib}, nil }}
	for _, f := range []doctor.Finding{
		find(t, s, nil, MemoryUsage), find(t, s, nil, WorkerHealth), find(t, s, nil, Queue), finish(Disk, full.run)(t.Context()),
		find(t, &facts{err: os.ErrClosed}, nil, Queue), find(t, &facts{}, nil, WorkerHealth),
	} {
		all = append(append(all, f.Fix...), f.Verify)
	}
	return all
}

// Every command that we tell people to type exists, with its flags and its settings.
func TestCommandsExist(t *testing.T) {
	reference := read(t, "docs/cli.md")
	seen := 0
	for _, c := range commands(t) {
		if strings.HasPrefix(c, "df ") {
			continue
		}
		seen++
		name, help := "", ""
		for _, w := range strings.Fields(c) {
			_, section, found := strings.Cut(reference, "\n## "+strings.TrimSpace(name+" "+w)+"\n")
			if !words.MatchString(w) || !found {
				break
			}
			name = strings.TrimSpace(name + " " + w)
			help, _, _ = strings.Cut(section, "\n## ")
		}
		if name == "" || strings.Contains(help, name+" COMMAND") {
			t.Errorf("%s: docs/cli.md knows %q, which is no command", c, name)
		}
		for _, f := range flag.FindAllString(c, -1) {
			if !strings.Contains(help, f) {
				t.Errorf("%s: %s has no flag %s", c, name, f)
			}
		}
		if m := keys.FindStringSubmatch(c); m != nil {
			s := scanner.DefaultSettings()
			if set := strings.Fields(c); set[3] == "set" {
				if err := s.Set(m[1], set[5]); err != nil {
					t.Errorf("%s: %v", c, err)
				}
			} else if _, err := s.Describe(m[1]); err != nil {
				t.Errorf("%s: %v", c, err)
			}
		}
	}
	if seen < 30 {
		t.Errorf("only %d commands were found", seen)
	}
}
