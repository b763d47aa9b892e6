package lines

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func read(tb testing.TB, r io.Reader) (got []string, long []int, err error) {
	tb.Helper()
	l := New(tb.Context(), r)
	defer l.Close()
	for l.Next() {
		got = append(got, string(l.Bytes()))
		if l.Long() {
			long = append(long, l.Number())
		}
	}
	return got, long, l.Err()
}

func TestLines(t *testing.T) {
	exact := strings.Repeat("x", Max-1)
	for _, c := range []struct {
		in   string
		want []string
		long []int
	}{
		{"", nil, nil},
		{"\n", []string{""}, nil},
		{"a", []string{"a"}, nil},
		{"a\r\n\r\nb\r", []string{"a", "", "b"}, nil},
		{exact + "\ny", []string{exact, "y"}, nil},
		{"a\n" + exact + "zzz\ny\n", []string{"a", exact + "z", "y"}, []int{2}},
		{strings.Repeat(exact, 5), []string{exact + "x"}, []int{1}},
	} {
		for _, r := range []io.Reader{strings.NewReader(c.in), iotest.HalfReader(iotest.DataErrReader(strings.NewReader(c.in)))} {
			got, long, err := read(t, r)
			if err != nil || !cmp.Equal(got, c.want) || !cmp.Equal(long, c.long) {
				t.Errorf("%.20q: %.60q, long %v, %v", c.in, got, long, err)
			}
		}
	}
}

func TestErrors(t *testing.T) {
	broken := errors.New("broken")
	got, _, err := read(t, io.MultiReader(strings.NewReader("a\nhalf"), iotest.ErrReader(broken)))
	if !errors.Is(err, broken) || !cmp.Equal(got, []string{"a"}) {
		t.Error(got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	l := New(ctx, bytes.NewReader(bytes.Repeat([]byte("line\n"), 1000)))
	defer l.Close()
	if !l.Next() {
		t.Fatal(l.Err())
	}
	cancel()
	n := 0
	for l.Next() {
		n++
	}
	if !errors.Is(l.Err(), context.Canceled) || n > 64 {
		t.Errorf("%v after %d more lines", l.Err(), n)
	}
}
