package heap

import (
	"errors"
	"fmt"
	"io"
	"time"
)

// The fields of the messages of profile.proto that are read.
const (
	profileSampleType = 1
	profileSample     = 2
	profileLocation   = 4
	profileFunction   = 5
	profileString     = 6
	profileTime       = 9

	typeName = 1

	sampleLocation = 1
	sampleValue    = 2

	locationID   = 1
	locationLine = 4

	lineFunction = 1
	lineNumber   = 2

	functionID   = 1
	functionName = 2
	functionFile = 4
)

// maxTypes bounds the values of a sample; a heap profile has four.
const maxTypes = 8

// errLarge is that a profile has more of something than any program.
var errLarge = errors.New("it has more samples, locations, functions or strings than any program")

// message is what is kept of a profile until all of it is known: fields refer to others that come later.
type message struct {
	types     []uint64 // strings
	samples   []sample
	locations map[uint64][]line
	functions map[uint64]function
	strings   []string
	nanos     int64
	// places and lines are how many samples and locations have together.
	places, lines int
}

type sample struct {
	locations []uint64
	values    [maxTypes]int64
	count     int
}

type line struct {
	function uint64
	number   int64
}

type function struct{ name, file uint64 }

// decode reads an unpacked profile.
func decode(r io.Reader) (*Profile, error) {
	m := message{locations: map[uint64][]line{}, functions: map[uint64]function{}}
	if err := messages(r, m.add); err != nil {
		return nil, err
	}
	return m.profile()
}

// add takes one field of the profile.
func (m *message) add(f field) error {
	var count int
	var err error
	switch f.tag {
	case profileSampleType:
		m.types = append(m.types, 0)
		err = fields(f.bytes, func(f field) error {
			if f.tag == typeName {
				m.types[len(m.types)-1] = f.number
			}
			return nil
		})
		if len(m.types) > maxTypes {
			return fmt.Errorf("its samples have more than %d values", maxTypes)
		}
	case profileSample:
		err = m.addSample(f.bytes)
		count = len(m.samples)
	case profileLocation:
		err = m.addLocation(f.bytes)
		count = len(m.locations)
	case profileFunction:
		err = m.addFunction(f.bytes)
		count = len(m.functions)
	case profileString:
		m.strings = append(m.strings, string(f.bytes))
		count = len(m.strings)
	case profileTime:
		m.nanos = int64(f.number)
	}
	if err == nil && (count > maxItems || m.places > maxPlaces || m.lines > maxLines) {
		return errLarge
	}
	return err
}

func (m *message) addSample(b []byte) error {
	var s sample
	err := fields(b, func(f field) error {
		switch f.tag {
		case sampleLocation:
			return f.numbers(func(v uint64) { s.locations = append(s.locations, v) })
		case sampleValue:
			return f.numbers(func(v uint64) {
				if s.count < maxTypes {
					s.values[s.count] = int64(v)
				}
				s.count++
			})
		}
		return nil
	})
	m.samples = append(m.samples, s)
	m.places += len(s.locations)
	return err
}

func (m *message) addLocation(b []byte) error {
	var id uint64
	var lines []line
	err := fields(b, func(f field) error {
		switch f.tag {
		case locationID:
			id = f.number
		case locationLine:
			var l line
			err := fields(f.bytes, func(f field) error {
				switch f.tag {
				case lineFunction:
					l.function = f.number
				case lineNumber:
					l.number = int64(f.number)
				}
				return nil
			})
			lines = append(lines, l)
			return err
		}
		return nil
	})
	m.locations[id] = lines
	m.lines += len(lines)
	return err
}

func (m *message) addFunction(b []byte) error {
	var id uint64
	var fn function
	err := fields(b, func(f field) error {
		switch f.tag {
		case functionID:
			id = f.number
		case functionName:
			fn.name = f.number
		case functionFile:
			fn.file = f.number
		}
		return nil
	})
	m.functions[id] = fn
	return err
}

// profile puts together what refers to each other.
func (m *message) profile() (*Profile, error) {
	in := -1
	for i, t := range m.types {
		if m.text(t) == "inuse_space" {
			in = i
		}
	}
	if in < 0 {
		return nil, errors.New("it has no inuse_space: it is a profile of something else")
	}
	p := &Profile{}
	if m.nanos > 0 {
		p.Time = time.Unix(0, m.nanos).UTC()
	}
	places := map[uint64]int32{}
	frames, total := 0, int64(0)
	for i := range m.samples {
		s := &m.samples[i]
		if s.count != len(m.types) {
			return nil, errBroken
		}
		bytes := s.values[in]
		if bytes < 0 || bytes > maxUse || total > maxUse {
			return nil, fmt.Errorf("%d bytes in use cannot be", bytes)
		}
		total += bytes
		if bytes == 0 {
			continue // it was freed
		}
		st := stack{bytes: bytes}
		for _, id := range s.locations {
			at, known := places[id]
			if !known {
				at = int32(len(p.places))
				places[id] = at
				p.places = append(p.places, m.frames(id))
			}
			st.places = append(st.places, at)
			if frames += len(p.places[at]); frames > maxFrames {
				return nil, errLarge
			}
		}
		p.stacks = append(p.stacks, st)
	}
	return p, nil
}

// frames are those of a location. One that is not there has none.
func (m *message) frames(id uint64) []Frame {
	lines := m.locations[id]
	out := make([]Frame, 0, len(lines))
	for _, l := range lines {
		fn := m.functions[l.function]
		out = append(out, Frame{Function: m.text(fn.name), File: m.text(fn.file), Line: l.number})
	}
	return out
}

// text is a string of the table; "" is one that is not there.
func (m *message) text(i uint64) string {
	if i >= uint64(len(m.strings)) {
		return ""
	}
	return m.strings[i]
}
