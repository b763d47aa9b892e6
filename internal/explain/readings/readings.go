// Package readings makes samples of memory of what people print in a loop when they have no agent: free, kubectl top, docker, podman or
// crictl stats, dstat, and tables of times and bytes.
//
// Words: a reading is one line that tells how much memory one thing uses; its name is that of the pod, container or node. A heading is the line that says
// which column is what, and it can come again before each reading. A date is a line, or the beginning of one, as date(1) prints it; it is the time of the readings up to
// the next.
//
// What is no heading, date or reading is left out and counted: prompts, commands, other columns. Nothing is guessed: readings without a time need
// [Options.Every], numbers of free without a unit need [Options.Unit], and of several names one has to be chosen.
//
// Hazards:
//
//   - A table has no kinds of memory, no processor time and no kills, so that less can be told of it.
//   - 12.2G can be 12.1G a moment later without any change: people's units are coarse.
//   - Times without a day are of one day, and after midnight of the next. Times without a zone are in UTC; only what is between them counts.
package readings

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"stella/internal/lines"
	"stella/internal/oom"
)

const (
	// maxReadings bounds the readings that are kept, at some 150 bytes each: a day of one each second. Explain looks at fewer.
	maxReadings = 100_000
	// maxNames bounds the names that are remembered, and maxName the bytes of each: those of Kubernetes have 253, and there are three.
	maxNames, maxName = 1000, 1000
	// offered is how many names an error has.
	offered = 5
	// quoted is how much of a line an error has, in bytes.
	quoted = 60
)

// Options say what a text leaves open.
type Options struct {
	// Name chooses one of several; "" is the only one.
	Name string
	// Every is the time between two readings that have none of their own; 0 is not known.
	Every time.Duration
	// Unit is what a number of free counts that has no unit, in bytes; 0 is not known.
	Unit int64
	// Limit is that of what is read, in bytes, in place of what the text says; 0 leaves that.
	Limit int64
}

// Table is what was read.
type Table struct {
	// Name is whose readings these are; "" is not told.
	Name string
	// Samples are in the order of their times. What they do not tell is -1, and a limit 0.
	Samples []oom.Sample
	// LeftOut counts lines that are none of what is known here; First is the first of them, cut, FirstLine its number.
	LeftOut   int
	First     string
	FirstLine int
}

// reading is one line.
type reading struct {
	names  []string // by which it can be chosen; the last is the one that it is called by
	sample oom.Sample
}

// Read reads a text to its end. Its errors are for people, with the number of the line; what r returns and the end of ctx are among them.
func Read(ctx context.Context, r io.Reader, o Options) (Table, error) {
	in := lines.New(ctx, r)
	defer in.Close()
	t := reader{o: o, last: map[string]int{}}
	for in.Next() {
		if in.Long() {
			return Table{}, fmt.Errorf("line %d has more than %d bytes: it is no table of readings", in.Number(), lines.Max)
		}
		if err := t.line(strings.ToValidUTF8(string(in.Bytes()), "\uFFFD"), in.Number()); err != nil {
			return Table{}, fmt.Errorf("line %d: %w", in.Number(), err)
		}
	}
	if err := in.Err(); err != nil {
		return Table{}, err
	}
	return t.result()
}

// reader is the state of one Read.
type reader struct {
	o     Options
	out   Table
	kind  layout
	dates dates
	last  map[string]int // the date that the last reading of each name had, by its number
	names []string       // in the order in which they came
}

// escapes are what terminals are told: docker stats clears the screen.
var escapes = regexp.MustCompile(`\x1b\[[0-9;?]*[A-Za-z]`)

func (t *reader) line(text string, number int) error {
	text = strings.TrimSpace(escapes.ReplaceAllString(text, ""))
	text = strings.TrimSpace(strings.Trim(text, "|"))
	if text == "" {
		return nil
	}
	at, rest := t.dates.cut(text)
	if !at.IsZero() {
		if err := t.dates.set(at); err != nil {
			return err
		}
		if rest == "" {
			return nil
		}
	}
	if l, ok := heading(rest); ok {
		t.kind = l
		return nil
	}
	r, err := t.kind.read(rest, t.o.Unit)
	if err == nil && len(r.names[len(r.names)-1]) > maxName {
		err = errNoReading
	}
	if errors.Is(err, errNoReading) {
		if t.out.LeftOut++; t.out.LeftOut == 1 {
			t.out.First, t.out.FirstLine = cut(text), number
		}
		return nil
	}
	if err != nil {
		return err
	}
	return t.take(r)
}

// take keeps a reading, if it is of the name that was chosen.
func (t *reader) take(r reading) error {
	name := r.names[len(r.names)-1]
	if !slices.Contains(t.names, name) && len(t.names) < maxNames {
		t.names = append(t.names, name)
	}
	if t.o.Name != "" && !slices.Contains(r.names, t.o.Name) || t.o.Name == "" && name != t.names[0] {
		return nil
	}
	if len(t.out.Samples) == maxReadings {
		return fmt.Errorf("there are more than %d readings: give those of the last hours", maxReadings)
	}
	s := &r.sample
	switch fresh := t.dates.count > t.last[name]; {
	case fresh:
		s.Time = t.dates.now
	case t.o.Every <= 0:
		return errors.New("this reading has no time: say how far readings are apart, such as --every 1s, or print date before each")
	case len(t.out.Samples) == 0:
		s.Time = beginning
	default:
		s.Time = t.out.Samples[len(t.out.Samples)-1].Time.Add(t.o.Every)
	}
	t.last[name] = t.dates.count
	if t.o.Limit > 0 {
		s.Limit = t.o.Limit
	}
	t.out.Name = name
	t.out.Samples = append(t.out.Samples, *s)
	return nil
}

// result is what was read, or why that is nothing.
func (t *reader) result() (Table, error) {
	var first []string
	for _, name := range t.names[:min(len(t.names), offered)] {
		first = append(first, cut(name))
	}
	named := strings.Join(first, ", ")
	if len(t.names) > offered {
		named += fmt.Sprintf(" and %d more", len(t.names)-offered)
	}
	switch {
	case len(t.names) == 0 && t.out.LeftOut == 0:
		return Table{}, errors.New("there is nothing to read")
	case len(t.names) == 0:
		return Table{}, fmt.Errorf("there are no readings in %d lines, the first of which is %q; what can be read is the output of free -m, kubectl top pod, docker stats or crictl stats with its heading, or lines of TIME,BYTES",
			t.out.LeftOut, t.out.First)
	case t.o.Name == "" && len(t.names) > 1:
		return Table{}, fmt.Errorf("these are readings of several: %s; name one of them", named)
	case len(t.out.Samples) == 0:
		return Table{}, fmt.Errorf("there are no readings of %q, but of %s", cut(t.o.Name), named)
	}
	slices.SortStableFunc(t.out.Samples, func(a, b oom.Sample) int { return a.Time.Compare(b.Time) })
	return t.out, nil
}

// cut is a text of a bounded length.
func cut(text string) string {
	if len(text) > quoted {
		text = strings.ToValidUTF8(text[:quoted], "") + "…"
	}
	return text
}
