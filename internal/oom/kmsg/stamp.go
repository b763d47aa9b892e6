package kmsg

import (
	"bytes"
	"time"
)

// clock reads the times of logs that lack something: the zone, the year.
type clock struct {
	location *time.Location
	year     int            // of the first line without a year; 0 is what now tells
	now      time.Time      // what has no year is not later than this
	month    time.Month     // of the line before
	fixed    *time.Location // that of the last line with an offset
	offset   int            // in seconds east of UTC
}

// iso reads "2022-03-15T09:22:41.553168+09:00" at the start of b: the separator T or a blank, a fraction
// behind a point or a comma, and the zone may be missing or lack its colon. comma says that there was one.
func (c *clock) iso(b []byte) (t time.Time, rest []byte, comma, ok bool) {
	if len(b) < 19 || b[4] != '-' || b[7] != '-' || b[10] != 'T' && b[10] != ' ' {
		return t, b, false, false
	}
	year, ok1 := digits(b[0:4])
	month, ok2 := digits(b[5:7])
	day, ok3 := digits(b[8:10])
	if !ok1 || !ok2 || !ok3 || month < 1 || month > 12 || day < 1 || day > 31 {
		return t, b, false, false
	}
	of, rest, ok := timeOfDay(b[11:])
	if !ok {
		return t, b, false, false
	}
	comma = len(b) > 19 && b[19] == ','
	zone, rest := c.zone(rest)
	return time.Date(year, time.Month(month), day, 0, 0, 0, 0, zone).Add(of), rest, comma, true
}

// digits reads b, which is all digits.
func digits(b []byte) (int, bool) {
	n, rest, ok := number(b)
	return int(n), ok && len(rest) == 0
}

// timeOfDay reads "09:22:41", and a fraction.
func timeOfDay(b []byte) (of time.Duration, rest []byte, ok bool) {
	if len(b) < 8 || b[2] != ':' || b[5] != ':' {
		return 0, b, false
	}
	hour, ok1 := digits(b[0:2])
	minute, ok2 := digits(b[3:5])
	second, ok3 := digits(b[6:8])
	if !ok1 || !ok2 || !ok3 || hour > 23 || minute > 59 || second > 60 {
		return 0, b, false
	}
	of = time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute + time.Duration(second)*time.Second
	rest = b[8:]
	if len(rest) > 1 && (rest[0] == '.' || rest[0] == ',') {
		fraction, after := fraction(rest[1:])
		if len(after) < len(rest)-1 {
			return of + fraction, after, true
		}
	}
	return of, rest, true
}

// fraction reads the digits behind the point of seconds.
func fraction(b []byte) (time.Duration, []byte) {
	unit, sum, i := time.Second, time.Duration(0), 0
	for ; i < len(b) && b[i] >= '0' && b[i] <= '9'; i++ {
		unit /= 10
		sum += time.Duration(b[i]-'0') * unit
	}
	return sum, b[i:]
}

// zone reads "Z", "+09:00", "+0900" or nothing.
func (c *clock) zone(b []byte) (*time.Location, []byte) {
	if len(b) == 0 {
		return c.location, b
	}
	if b[0] == 'Z' {
		return time.UTC, b[1:]
	}
	if b[0] != '+' && b[0] != '-' || len(b) < 5 {
		return c.location, b
	}
	end := 3
	if b[3] == ':' {
		end = 4
	}
	if len(b) < end+2 {
		return c.location, b
	}
	hours, ok1 := digits(b[1:3])
	minutes, ok2 := digits(b[end : end+2])
	if !ok1 || !ok2 {
		return c.location, b
	}
	offset := hours*3600 + minutes*60
	if b[0] == '-' {
		offset = -offset
	}
	if offset == 0 {
		return time.UTC, b[end+2:]
	}
	if c.fixed == nil || c.offset != offset {
		c.fixed, c.offset = time.FixedZone("", offset), offset
	}
	return c.fixed, b[end+2:]
}

// syslog reads "Mar 15 09:22:41" at the start of b, with a year before or behind the time if it has one.
func (c *clock) syslog(b []byte) (t time.Time, rest []byte, ok bool) {
	word, rest := token(b)
	month, ok := monthOf(word)
	if !ok {
		return t, b, false
	}
	word, rest = token(rest)
	day, ok := digits(word)
	if !ok || day < 1 || day > 31 {
		return t, b, false
	}
	rest = space(rest)
	year := 0
	if len(rest) > 5 && rest[4] == ' ' {
		if y, ok := digits(rest[:4]); ok {
			year, rest = y, space(rest[5:])
		}
	}
	of, rest, ok := timeOfDay(rest)
	if !ok {
		return t, b, false
	}
	if len(rest) >= 5 && rest[0] == ' ' && (len(rest) == 5 || rest[5] == ' ' || rest[5] == ']') {
		if y, ok := digits(rest[1:5]); ok && y > 1990 && y < 2100 {
			year, rest = y, rest[5:]
		}
	}
	return c.date(year, month, day, of), rest, true
}

// date completes a date without a year.
func (c *clock) date(year int, month time.Month, day int, of time.Duration) time.Time {
	on := func(year int) time.Time { return time.Date(year, month, day, 0, 0, 0, 0, c.location).Add(of) }
	switch {
	case year != 0:
		return on(year)
	case c.year == 0: // not later than a day from now, for clocks that are wrong
		if t := on(c.now.Year()); !t.After(c.now.AddDate(0, 0, 1)) {
			return t
		}
		return on(c.now.Year() - 1)
	}
	switch {
	case c.month == 0:
	case c.month-month >= halfYear:
		c.year++
	case month-c.month >= halfYear: // a line of the old year that comes late
		return on(c.year - 1)
	}
	c.month = month
	return on(c.year)
}

// halfYear is how far back a month must go to be in the next year: lines are in order, but for a little.
const halfYear = 6

// human reads what dmesg -T has in its brackets, in the words of any language: "Tue Mar 15 09:22:41 2022".
func (c *clock) human(b []byte) (time.Time, bool) {
	_, rest := token(b)
	if t, _, ok := c.syslog(space(rest)); ok {
		return t, true
	}
	if t, _, ok := c.syslog(b); ok {
		return t, true
	}
	if t, ok := c.minute(b); ok {
		return t, true
	}
	// In a language that is not known here it is a time still, but not which.
	i := bytes.IndexByte(b, ':')
	if i < 2 {
		return time.Time{}, false
	}
	_, rest, ok := timeOfDay(b[i-2:])
	_, year := digits(space(rest))
	return time.Time{}, ok && year
}

// minute reads "Mar15 09:22", which dmesg --human has for the first line of a minute.
func (c *clock) minute(b []byte) (t time.Time, ok bool) {
	i := bytes.IndexAny(b, "0123456789")
	if i < 0 || len(b) > 32 {
		return t, false
	}
	month, ok := monthOf(b[:i])
	day, rest, ok1 := number(b[i:])
	if !ok || !ok1 || day < 1 || day > 31 {
		return t, false
	}
	of, rest, ok := timeOfDay(append(space(rest)[:len(space(rest)):len(space(rest))], ":00"...))
	if !ok || len(rest) > 0 {
		return t, false
	}
	return c.date(0, month, int(day), of), true
}

// monthOf knows the name of a month, as strftime(3) abbreviates it in the languages that machines are installed in.
func monthOf(word []byte) (time.Month, bool) {
	if n, rest, ok := number(word); ok && n >= 1 && n <= 12 && (string(rest) == "월" || string(rest) == "月") {
		return time.Month(n), true
	}
	word, _ = bytes.CutSuffix(word, []byte("."))
	if len(word) < 3 || len(word) > 12 {
		return 0, false
	}
	for _, m := range months {
		if len(word) >= len(m.name) && string(word[:len(m.name)]) == m.name {
			return m.month, true
		}
	}
	return 0, false
}

// months are the beginnings of the names, each long enough to be the only one.
var months = []struct {
	name  string
	month time.Month
}{
	{"Jan", 1}, {"Feb", 2}, {"Mar", 3}, {"Apr", 4}, {"May", 5}, {"Jun", 6}, // English
	{"Jul", 7}, {"Aug", 8}, {"Sep", 9}, {"Oct", 10}, {"Nov", 11}, {"Dec", 12},
	{"Mär", 3}, {"Mai", 5}, {"Okt", 10}, {"Dez", 12}, // German
	{"janv", 1}, {"févr", 2}, {"avr", 4}, {"juin", 6}, {"juil", 7}, {"août", 8}, {"déc", 12}, // French
	{"ene", 1}, {"abr", 4}, {"ago", 8}, {"dic", 12}, // Spanish
	{"gen", 1}, {"mag", 5}, {"giu", 6}, {"lug", 7}, {"set", 9}, {"ott", 10}, // Italian
	{"fev", 2}, {"out", 10}, {"dez", 12}, // Portuguese
	{"mrt", 3}, {"mei", 5}, {"okt", 10}, // Dutch
	{"янв", 1}, {"фев", 2}, {"мар", 3}, {"апр", 4}, {"мая", 5}, {"май", 5}, // Russian
	{"июн", 6}, {"июл", 7}, {"авг", 8}, {"сен", 9}, {"окт", 10}, {"ноя", 11}, {"дек", 12},
	{"sty", 1}, {"lut", 2}, {"kwi", 4}, {"maj", 5}, {"cze", 6}, {"lip", 7}, {"sie", 8}, {"wrz", 9}, {"paź", 10}, {"lis", 11}, {"gru", 12}, // Polish
	{"jan", 1}, {"feb", 2}, {"mar", 3}, {"apr", 4}, {"mai", 5}, {"may", 5}, {"jun", 6}, // several
	{"jul", 7}, {"aug", 8}, {"sep", 9}, {"oct", 10}, {"nov", 11}, {"dec", 12},
}
