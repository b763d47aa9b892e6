package readings

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"stella/internal/oom"
)

// errNoReading is of a line that does not look like one.
var errNoReading = errors.New("no reading")

// unknown is what a sample does not tell.
const unknown = -1

// layout says which columns there are. Its zero value is that no heading was seen.
type layout struct {
	tool    tool
	columns []string
}

// tool is what printed a heading.
type tool int

const (
	csv   tool = iota // or nothing is known yet
	free              // free(1): the line Mem
	dstat             // dstat -m, and what looks like it: used, buff, cach, free
	top               // kubectl top
	stats             // docker, podman and crictl stats
)

// oneWord joins what has spaces in the headings of container tools, so that columns are words.
var oneWord = strings.NewReplacer("CONTAINER ID", "CONTAINER", "CPU %", "CPU%", "MEM USAGE / LIMIT", "MEM", "MEM %", "MEM%", "NET I/O", "NET", "BLOCK I/O", "BLOCK")

// timed is the heading of a table of times and bytes.
var timed = regexp.MustCompile(`(?i)^"?(time|date|timestamp)[a-z_ ]*"?[,;\t]`)

// heading recognises a heading.
func heading(text string) (layout, bool) {
	words := strings.Fields(strings.ReplaceAll(text, "|", " "))
	lower := strings.Fields(strings.ToLower(strings.Join(words, " ")))
	has := func(names ...string) bool {
		return !slices.ContainsFunc(names, func(n string) bool { return !slices.Contains(lower, n) })
	}
	switch {
	case has("total", "used", "free"):
		return layout{free, lower}, true
	case has("used", "free") && (has("cach") || has("cache")):
		return layout{dstat, lower}, true
	case slices.Contains(words, "MEMORY(bytes)"):
		return layout{top, words}, true
	case timed.MatchString(text):
		return layout{}, true
	}
	words = strings.Fields(oneWord.Replace(strings.Join(words, " ")))
	if at := slices.Index(words, "MEM"); at > 0 && (slices.Contains(words, "CONTAINER") || slices.Contains(words, "ID") || slices.Contains(words, "NAME")) {
		return layout{stats, words}, true
	}
	return layout{}, false
}

// read reads one line. It is errNoReading where the line is something else.
func (l *layout) read(text string, unit int64) (reading, error) {
	switch l.tool {
	case free:
		return l.free(text, unit)
	case dstat:
		return l.dstat(text, unit)
	case top:
		return l.top(text)
	case stats:
		return l.stats(text)
	default:
		return readCSV(text)
	}
}

// blank is a sample that tells nothing but what is used, in bytes.
func blank(usage, workingSet int64) oom.Sample {
	return oom.Sample{
		Usage: usage, WorkingSet: workingSet, Anon: unknown, File: unknown, Shmem: unknown, Kernel: unknown, Sock: unknown, Swap: unknown,
		PIDs: unknown, CPU: unknown, PressureSome: unknown, PressureFull: unknown,
	}
}

// free reads the line of memory that free(1) prints. What cannot be taken back is the total less what is available; where that column is not there it is
// what is used, which in old versions has the buffers and the cache in it.
func (l *layout) free(text string, unit int64) (reading, error) {
	row, ok := strings.CutPrefix(text, "Mem:")
	if !ok {
		return reading{}, errNoReading
	}
	of, err := amounts(l.columns, strings.Fields(row), unit)
	if err != nil {
		return reading{}, err
	}
	buffers, separate := of["buffers"]
	cache, ok := of["buff/cache"]
	if !ok {
		cache = of["cache"] + of["cached"] + buffers
	}
	need := of["used"]
	if available, ok := of["available"]; ok {
		need = of["total"] - available
	} else if separate {
		need -= cache
	}
	s := blank(max(of["total"]-of["free"], 0), max(need, 0))
	s.File, s.Limit = cache, of["total"]
	return reading{names: []string{"Mem"}, sample: s}, nil
}

// dstat reads what is used, of buffers, cached and free; their sum is all that there is.
func (l *layout) dstat(text string, unit int64) (reading, error) {
	row := strings.Fields(strings.ReplaceAll(text, "|", " "))
	if len(row) != len(l.columns) || row[0][0] < '0' || row[0][0] > '9' {
		return reading{}, errNoReading
	}
	of, err := amounts(l.columns, row, unit)
	if err != nil {
		return reading{}, err
	}
	cache := of["buff"] + of["buf"] + of["cach"] + of["cache"]
	s := blank(of["used"]+cache, of["used"])
	s.File, s.Limit = cache, of["used"]+cache+of["free"]
	return reading{names: []string{"Mem"}, sample: s}, nil
}

// amounts are the numbers of a line by their columns.
func amounts(columns, row []string, unit int64) (map[string]int64, error) {
	if len(row) < len(columns) {
		return nil, errNoReading
	}
	of := map[string]int64{}
	for i, name := range columns {
		n, err := size(row[i], unit)
		if errors.Is(err, errNoUnit) {
			return nil, fmt.Errorf("%q has no unit: say what the numbers count, such as --unit M for free -m, --unit K for free", cut(row[i]))
		}
		if err != nil {
			return nil, errNoReading
		}
		of[name] = n
	}
	return of, nil
}

// top reads a line of kubectl top: the words before the use of processors are its name.
func (l *layout) top(text string) (reading, error) {
	row := strings.Fields(text)
	memory, cpu := slices.Index(l.columns, "MEMORY(bytes)"), slices.Index(l.columns, "CPU(cores)")
	if len(row) != len(l.columns) || cpu < 1 {
		return reading{}, errNoReading
	}
	n, err := size(row[memory], 0)
	if err != nil {
		return reading{}, errNoReading // <unknown>
	}
	names := slices.Clone(row[:cpu])
	return reading{names: append(names, strings.Join(row[:cpu], "/")), sample: blank(n, n)}, nil
}

// stats reads a line of docker, podman or crictl stats: ID, perhaps a name, CPU, memory and perhaps its limit.
func (l *layout) stats(text string) (reading, error) {
	row := strings.Fields(strings.ReplaceAll(text, " / ", "/"))
	memory := slices.Index(l.columns, "MEM")
	if len(row) <= memory {
		return reading{}, errNoReading
	}
	used, most, limited := strings.Cut(row[memory], "/")
	n, err := size(used, 0)
	if err != nil {
		return reading{}, errNoReading
	}
	s := blank(n, n)
	if limited {
		if s.Limit, err = size(most, 0); err != nil {
			return reading{}, errNoReading
		}
	}
	cpu := max(slices.Index(l.columns, "CPU%"), 1)
	return reading{names: slices.Clone(row[:min(cpu, memory)]), sample: s}, nil
}

// readCSV reads what comes after a time: bytes, and perhaps a limit.
func readCSV(text string) (reading, error) {
	fields := strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ';' || r == '\t' || r == ' ' })
	if len(fields) < 1 || len(fields) > 2 {
		return reading{}, errNoReading
	}
	n, err := size(fields[0], 1)
	if err != nil {
		return reading{}, errNoReading
	}
	s := blank(n, n)
	if len(fields) == 2 {
		if s.Limit, err = size(fields[1], 1); err != nil {
			return reading{}, errNoReading
		}
	}
	return reading{names: []string{""}, sample: s}, nil
}
