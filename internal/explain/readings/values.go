package readings

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// errNoUnit is of a number that says nothing of what it counts.
var errNoUnit = errors.New("no unit")

// amount is a number with a unit: 190M and 12Gi of free, 367Mi of kubectl, 13.56MB of crictl, 8192B of dstat.
var amount = regexp.MustCompile(`^(\d{1,18}(?:\.\d{1,6})?)([kKMGTP]?)(i?)(B?)$`)

// exponents are the powers of 1000 or 1024.
var exponents = map[string]float64{"": 0, "k": 1, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5}

// maxBytes is beyond any memory: 64 PiB.
const maxBytes = 1 << 56

// size reads an amount of memory in bytes. A unit with B and without i is of 1000, as docker and crictl have it, others are of 1024. A number
// without any counts unit bytes, and is errNoUnit where that is 0; 0 is 0.
func size(text string, unit int64) (int64, error) {
	m := amount.FindStringSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf("%q is no amount of memory", cut(text))
	}
	n, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		return 0, err
	}
	switch base := 1024.0; {
	case m[2] == "" && m[4] == "" && m[3] == "":
		if unit == 0 && n != 0 {
			return 0, errNoUnit
		}
		n *= float64(unit)
	default:
		if m[4] == "B" && m[3] == "" {
			base = 1000
		}
		n *= math.Pow(base, exponents[m[2]])
	}
	if n >= maxBytes {
		return 0, fmt.Errorf("%q is more than any memory", cut(text))
	}
	return int64(n), nil
}

// beginning is when a table without times begins. Only what is between its times counts.
var beginning = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

// dates are the times that a text tells.
type dates struct {
	now   time.Time
	count int // of the dates so far
}

// set takes in the next date. One of a day alone before the last one is of the next day.
func (d *dates) set(at time.Time) error {
	if at.Year() == beginning.Year() && d.count > 0 {
		at = at.AddDate(0, 0, int(d.now.Sub(beginning)/day))
		if at.Before(d.now.Add(-day / 2)) {
			at = at.AddDate(0, 0, 1)
		}
	}
	if d.count > 0 && at.Before(d.now) {
		return fmt.Errorf("it is %s, and was %s before: readings come in the order of time", at.Format(time.DateTime), d.now.Format(time.DateTime))
	}
	d.now, d.count = at, d.count+1
	return nil
}

// dateLayouts are what date(1) prints, by how many words they have, the longest first.
var dateLayouts = []struct {
	words  int
	layout string
}{
	{7, "Mon 02 Jan 2006 03:04:05 PM MST"}, {7, "Mon _2 Jan 2006 03:04:05 PM MST"},
	{6, "Mon _2 Jan 2006 15:04:05 MST"}, {6, "Mon Jan _2 15:04:05 MST 2006"}, {6, "Mon Jan 2 15:04:05 MST 2006"},
	{2, time.DateTime}, {2, "2006/01/02 15:04:05"},
	{1, time.RFC3339Nano}, {1, "2006-01-02T15:04:05"}, {1, "2006-01-02T15:04:05-0700"},
	{1, time.TimeOnly},
}

// seconds is a time as date +%s has it, since 2001 and with nine or more digits: no amount in the units of people.
var seconds = regexp.MustCompile(`^1\d{9}(\.\d{1,9})?$`)

// cut takes a date from the beginning of a line; zero is that there is none.
func (*dates) cut(text string) (at time.Time, rest string) {
	words := fields(text)
	for _, l := range dateLayouts {
		if len(words) < l.words {
			continue
		}
		first := words[:l.words]
		end := first[l.words-1].end
		var joined []string
		for _, w := range first {
			joined = append(joined, strings.Trim(text[w.begin:w.end], "[]"))
		}
		t, err := time.Parse(l.layout, strings.Join(joined, " "))
		if err != nil || t.Year() > 9999 {
			continue
		}
		if l.layout == time.TimeOnly {
			t = beginning.Add(t.Sub(time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC)))
		}
		return t, strings.TrimLeft(text[end:], " ,;\t")
	}
	if len(words) > 0 {
		if word := text[words[0].begin:words[0].end]; seconds.MatchString(word) {
			n, _ := strconv.ParseFloat(word, 64) // digits only
			return time.UnixMilli(int64(n * 1000)).UTC(), strings.TrimLeft(text[words[0].end:], " ,;\t")
		}
	}
	return time.Time{}, text
}

// field is a word of a line; commas and semicolons separate, too.
type field struct{ begin, end int }

// maxFields is how many words of a line can be a date.
const maxFields = 7

func fields(text string) (out []field) {
	begin := -1
	for i := 0; i <= len(text) && len(out) < maxFields; i++ {
		apart := i == len(text) || strings.IndexByte(" ,;\t", text[i]) >= 0
		switch {
		case apart && begin >= 0:
			out, begin = append(out, field{begin, i}), -1
		case !apart && begin < 0:
			begin = i
		}
	}
	return out
}
