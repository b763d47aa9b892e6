package hostile

import (
	"io"
	"math/rand/v2"
	"strings"
)

// content is a file that is made while it is read; its size is known before, as a tar header wants it.
type content struct {
	size int64
	open func() io.Reader
}

func text(s string) content {
	return content{int64(len(s)), func() io.Reader { return strings.NewReader(s) }}
}

// repeat is a unit over and over, n times.
func repeat(unit string, n int64) content {
	return content{int64(len(unit)) * n, func() io.Reader {
		whole := max(1, (64<<10)/len(unit))
		return io.LimitReader(&cycle{unit: strings.Repeat(unit, whole)}, int64(len(unit))*n)
	}}
}

type cycle struct {
	unit string
	at   int
}

func (c *cycle) Read(p []byte) (n int, _ error) {
	for n < len(p) {
		k := copy(p[n:], c.unit[c.at:])
		n += k
		c.at = (c.at + k) % len(c.unit)
	}
	return n, nil
}

// join is one content after the other.
func join(cs ...content) content {
	var all content
	for _, c := range cs {
		all.size += c.size
	}
	all.open = func() io.Reader {
		rs := make([]io.Reader, len(cs))
		for i, c := range cs {
			rs[i] = c.open()
		}
		return io.MultiReader(rs...)
	}
	return all
}

// numbered is n records.
func numbered(n int, record func(i int) string) content {
	var c content
	for i := range n {
		c.size += int64(len(record(i)))
	}
	c.open = func() io.Reader { return &records{n: n, record: record} }
	return c
}

type records struct {
	i, n   int
	record func(i int) string
	rest   string
}

func (r *records) Read(p []byte) (n int, _ error) {
	for n < len(p) {
		if r.rest == "" {
			if r.i == r.n {
				break
			}
			r.rest = r.record(r.i)
			r.i++
		}
		k := copy(p[n:], r.rest)
		r.rest = r.rest[k:]
		n += k
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// noise is n bytes that do not compress, the same in every run.
func noise(n int64) content {
	return content{n, func() io.Reader { return io.LimitReader(rand.NewChaCha8([32]byte{1}), n) }}
}

func zeros(n int64) content { return repeat("\x00", n) }
