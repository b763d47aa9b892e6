package jsonstream

import "errors"

// keySlots is how many short keys are kept, so that the few names that a
// format uses over and over are not allocated each time: 4 KiB of headers.
const keySlots = 128

// String takes a string. It returns ErrTooLong or ErrKind where there is none
// to return; both leave the decoder usable.
func (d *Decoder) String() (string, error) {
	if err := d.take(String); err != nil {
		return "", err
	}
	b, err := d.text()
	if errors.Is(err, ErrTooLong) {
		d.overlong++
	}
	return string(b), err
}

// Text is String for files that anyone may have written: a value of another
// kind is "", and so is one that is too long, which Overlong counts.
func (d *Decoder) Text() (string, error) {
	s, err := d.String()
	if errors.Is(err, ErrKind) || errors.Is(err, ErrTooLong) {
		return "", nil
	}
	return s, err
}

// Bool takes true or false. Another kind is ErrKind.
func (d *Decoder) Bool() (bool, error) {
	if err := d.take(Bool); err != nil {
		return false, err
	}
	if d.buf[d.pos] == 't' {
		return true, d.literal("true")
	}
	return false, d.literal("false")
}

// Number takes a number, as it is written. Another kind is ErrKind, more than
// MaxString bytes ErrTooLong.
func (d *Decoder) Number() (string, error) {
	if err := d.take(Number); err != nil {
		return "", err
	}
	if err := d.number(true); err != nil {
		return "", err
	}
	if len(d.scratch) > MaxString {
		d.overlong++
		return "", ErrTooLong
	}
	return string(d.scratch), nil
}

// Object takes an object, calling member for each of its members with the
// value standing next. Members whose key is too long are skipped, and counted by Overlong.
// Another kind is ErrKind. An error of member ends it and is returned as it
// is; the decoder is then of no more use.
func (d *Decoder) Object(member func(key string) error) error {
	if err := d.open(Object); err != nil {
		return err
	}
	for first := true; ; first = false {
		more, err := d.more('}', first)
		if !more {
			return err
		}
		key, err := d.key()
		if errors.Is(err, ErrTooLong) {
			d.overlong++
			d.pending = true
		} else if err != nil {
			return err
		} else {
			d.pending = true
			if err := member(key); err != nil {
				return err
			}
		}
		if err := d.finish(); err != nil {
			return err
		}
	}
}

// Array takes an array, calling element for each of its elements with the
// value standing next. Another kind is ErrKind. An error of element ends it and is returned as it
// is; the decoder is then of no more use.
func (d *Decoder) Array(element func(i int) error) error {
	if err := d.open(Array); err != nil {
		return err
	}
	for i := 0; ; i++ {
		more, err := d.more(']', i == 0)
		if !more {
			return err
		}
		d.pending = true
		if err := element(i); err != nil {
			return err
		}
		if err := d.finish(); err != nil {
			return err
		}
	}
}

// finish skips the value of a callback that did not take it, and repeats an error that
// the callback kept to itself.
func (d *Decoder) finish() error {
	if d.pending {
		return d.Skip()
	}
	return d.fatal()
}

func (d *Decoder) open(k Kind) error {
	if err := d.take(k); err != nil {
		return err
	}
	d.pos++
	return d.deeper()
}

func (d *Decoder) deeper() error {
	if d.depth++; d.depth > MaxDepth {
		return d.syntax("more than %d levels", MaxDepth)
	}
	return nil
}

// more consumes what stands between two members, or the end, after which
// there are no more.
func (d *Decoder) more(end byte, first bool) (bool, error) {
	c, ok := d.peek()
	switch {
	case !ok:
		return false, d.ended()
	case c == end:
		d.pos++
		d.depth--
		return false, nil
	case first:
		return true, nil
	case c != ',':
		return false, d.syntax("%s where a comma or %s belongs", char(c), char(end))
	}
	d.pos++
	if c, ok = d.peek(); !ok {
		return false, d.ended()
	} else if c == end {
		return false, d.syntax("a comma before %s", char(end))
	}
	return true, nil
}

// key consumes a member's key and its colon.
func (d *Decoder) key() (string, error) {
	if err := d.quote(); err != nil {
		return "", err
	}
	b, err := d.text()
	if err != nil && !errors.Is(err, ErrTooLong) {
		return "", err
	}
	key := ""
	if err == nil {
		key = d.intern(b)
	}
	if err := d.colon(); err != nil {
		return "", err
	}
	return key, err
}

func (d *Decoder) quote() error {
	if c, ok := d.peek(); !ok {
		return d.ended()
	} else if c != '"' {
		return d.syntax("%s where a key belongs", char(c))
	}
	return nil
}

func (d *Decoder) colon() error {
	c, ok := d.peek()
	if !ok {
		return d.ended()
	}
	if c != ':' {
		return d.syntax("%s where a colon belongs", char(c))
	}
	d.pos++
	return nil
}

// intern returns b as a string, one that was made before if possible.
func (d *Decoder) intern(b []byte) string {
	if len(b) == 0 || len(b) > 32 {
		return string(b)
	}
	slot := &d.keys[(uint(b[0])*31+uint(b[len(b)-1])*7+uint(b[len(b)/2])*3+uint(len(b)))%keySlots]
	if *slot != string(b) {
		*slot = string(b)
	}
	return *slot
}
