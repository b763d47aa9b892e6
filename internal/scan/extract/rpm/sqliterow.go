package rpm

import "errors"

// column is what the head of a row says of one value.
type column struct {
	kind columnKind
	size int64 // in bytes
}

type columnKind int

const (
	numberColumn columnKind = iota // or NULL
	blobColumn
	textColumn
)

// columns reads the head of a row: its own length, then a type for each value,
// of which the first maxColumns are given.
func columns(b *blob) ([]column, error) {
	size, err := b.varint()
	if err != nil {
		return nil, err
	}
	end := int64(size)
	if end < b.pos() || end > b.size {
		return nil, errors.New("its head is longer than itself")
	}
	cols := make([]column, 0, maxColumns)
	for b.pos() < end && len(cols) < maxColumns {
		t, err := b.varint()
		if err != nil {
			return nil, err
		}
		c := typed(t)
		if c.size < 0 || c.size > b.size {
			return nil, errors.New("a value is longer than the row")
		}
		cols = append(cols, c)
	}
	if b.pos() > end {
		return nil, errors.New("its head ends within a type")
	}
	return cols, b.skip(end - b.pos())
}

// typed says what a serial type of SQLite stands for.
func typed(t uint64) column {
	switch {
	case t >= 12 && t%2 == 0:
		return column{blobColumn, int64((t - 12) / 2)}
	case t >= 13:
		return column{textColumn, int64((t - 13) / 2)}
	}
	// NULL, integers of 1, 2, 3, 4, 6 and 8 bytes, a float, the constants 0
	// and 1, and two types that are reserved.
	return column{numberColumn, [...]int64{0, 1, 2, 3, 4, 6, 8, 8, 0, 0, 0, 0}[t]}
}

// varint reads a number of SQLite: seven bits a byte, the highest first, the ninth byte
// whole. n is how many bytes it takes, 0 where p ends before it does.
func varint(p []byte) (v uint64, n int) {
	for i, c := range p {
		if i == 8 {
			return v<<8 | uint64(c), 9
		}
		v = v<<7 | uint64(c&0x7f)
		if c < 0x80 {
			return v, i + 1
		}
	}
	return 0, 0
}

// varint reads one from the blob.
func (b *blob) varint() (uint64, error) {
	var raw [9]byte
	for i := range raw {
		if err := b.full(raw[i : i+1]); err != nil {
			return 0, err
		}
		if v, n := varint(raw[:i+1]); n > 0 {
			return v, nil
		}
	}
	return 0, errShort
}
