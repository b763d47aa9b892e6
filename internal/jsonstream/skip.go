package jsonstream

// Skip takes the next value, whatever it is, and drops it. It allocates
// nothing and does not recurse.
func (d *Decoder) Skip() error {
	if !d.pending {
		return errTaken
	}
	d.pending = false
	outer := d.depth
	for {
		opened, err := d.skipOne()
		if err != nil {
			return err
		}
		// The value was an object or array just opened, or is complete: go to
		// the next value, or out of everything that ends here.
		first := opened
		for {
			if d.depth == outer {
				return nil
			}
			end := byte(']')
			if d.inObject() {
				end = '}'
			}
			more, err := d.more(end, first)
			if err != nil {
				return err
			}
			if !more {
				first = false
				continue
			}
			break
		}
		if d.inObject() {
			if err := d.skipKey(); err != nil {
				return err
			}
		}
	}
}

// skipOne consumes one value, or the opening of an object or array.
func (d *Decoder) skipOne() (opened bool, err error) {
	c, ok := d.peek()
	if !ok {
		return false, d.ended()
	}
	switch kindOf(c) {
	case String:
		return false, d.skipText()
	case Number:
		return false, d.number(false)
	case Object, Array:
		d.pos++
		if err := d.deeper(); err != nil {
			return false, err
		}
		bit := uint64(1) << (d.depth % 64)
		if c == '{' {
			d.levels[d.depth/64] |= bit
		} else {
			d.levels[d.depth/64] &^= bit
		}
		return true, nil
	case Bool:
		if c == 't' {
			return false, d.literal("true")
		}
		return false, d.literal("false")
	case Null:
		return false, d.literal("null")
	}
	return false, d.syntax("%s where a value belongs", char(c))
}

func (d *Decoder) inObject() bool { return d.levels[d.depth/64]>>(d.depth%64)&1 == 1 }

func (d *Decoder) skipKey() error {
	if err := d.quote(); err != nil {
		return err
	}
	if err := d.skipText(); err != nil {
		return err
	}
	return d.colon()
}

// skipText is text without its value.
func (d *Decoder) skipText() error {
	d.pos++
	for {
		i := d.pos
		for i < d.end && plain[d.buf[i]] {
			i++
		}
		d.pos = i
		c, ok := d.next()
		switch {
		case !ok:
			return d.ended()
		case c == '"':
			return nil
		case c == '\\':
			if err := d.skipEscape(); err != nil {
				return err
			}
		case plain[c]: // the buffer was refilled
		default:
			d.pos--
			return d.syntax("%s inside a string", char(c))
		}
	}
}

func (d *Decoder) skipEscape() error {
	if d.pos < d.end && d.buf[d.pos] == 'u' {
		d.pos++
		_, err := d.hex()
		return err
	}
	d.scratch = d.scratch[:0]
	_, err := d.escape()
	return err
}

// literal consumes a word whose first byte has been seen.
func (d *Decoder) literal(word string) error {
	for i := range len(word) {
		c, ok := d.next()
		if !ok {
			return d.ended()
		}
		if c != word[i] {
			d.pos--
			return d.syntax("%s in the word %s", char(c), word)
		}
	}
	return nil
}

// number consumes a number: an optional minus, an integer without leading zeros, an optional
// fraction, an optional exponent. If keep is set, up to one byte more than MaxString of it is left in scratch.
func (d *Decoder) number(keep bool) error {
	d.scratch = d.scratch[:0]
	c, ok := d.look()
	if c == '-' {
		c, ok = d.accept(c, keep)
	}
	var err error
	if c == '0' && ok {
		c, ok = d.accept(c, keep)
	} else if c, ok, err = d.digits(c, ok, keep); err != nil {
		return err
	}
	if ok && c == '.' {
		c, ok = d.accept(c, keep)
		if c, ok, err = d.digits(c, ok, keep); err != nil {
			return err
		}
	}
	if ok && (c == 'e' || c == 'E') {
		c, ok = d.accept(c, keep)
		if ok && (c == '+' || c == '-') {
			c, ok = d.accept(c, keep)
		}
		if _, ok, err = d.digits(c, ok, keep); err != nil {
			return err
		}
	}
	if !ok { // a number may end with the document, but not with an error
		return d.fatal()
	}
	return nil
}

// digits consumes at least one digit, c being the next byte.
func (d *Decoder) digits(c byte, ok, keep bool) (byte, bool, error) {
	switch {
	case !ok:
		return 0, false, d.ended()
	case c < '0' || c > '9':
		return c, ok, d.syntax("%s where a digit belongs", char(c))
	}
	for ok && c >= '0' && c <= '9' {
		c, ok = d.accept(c, keep)
	}
	return c, ok, nil
}

// accept consumes c, which stands next, and returns the byte after it.
func (d *Decoder) accept(c byte, keep bool) (byte, bool) {
	d.pos++
	if keep && len(d.scratch) <= MaxString {
		d.scratch = append(d.scratch, c)
	}
	return d.look()
}

// look returns the next byte, be it space or not, without consuming it.
func (d *Decoder) look() (byte, bool) {
	if d.pos == d.end && !d.fill() {
		return 0, false
	}
	return d.buf[d.pos], true
}
