package jsonstream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// value reads the next value into what encoding/json would make of it.
func value(d *Decoder) (any, error) {
	switch d.Kind() {
	case String:
		return d.String()
	case Number:
		s, err := d.Number()
		return json.Number(s), err
	case Bool:
		return d.Bool()
	case Object:
		m := map[string]any{}
		err := d.Object(func(key string) (err error) { m[key], err = value(d); return err })
		return m, err
	case Array:
		a := []any{}
		err := d.Array(func(int) error { v, err := value(d); a = append(a, v); return err })
		return a, err
	}
	return nil, d.Skip()
}

func parse(r io.Reader) (any, error) {
	d := New(r)
	v, err := value(d)
	if err != nil {
		return nil, err
	}
	return v, d.End()
}

func skip(r io.Reader) error {
	d := New(r)
	if err := d.Skip(); err != nil {
		return err
	}
	return d.End()
}

// oracle is the answer of encoding/json.
func oracle(data []byte) (v any, err error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("more after the document")
	}
	return v, nil
}

// compare checks everything we say of data against encoding/json.
func compare(t *testing.T, data []byte) {
	t.Helper()
	if bytes.HasPrefix(data, []byte("\xEF\xBB\xBF")) {
		data = data[3:] // the documented difference
	}
	want, wantErr := oracle(data)
	for name, r := range []io.Reader{
		bytes.NewReader(data),
		iotest.OneByteReader(bytes.NewReader(data)),
		io.MultiReader(strings.NewReader("\xEF\xBB\xBF"), bytes.NewReader(data)),
	} {
		got, err := parse(r)
		if errors.Is(err, ErrTooLong) {
			return
		}
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("reader %d: %.200q: got error %v, encoding/json says %v", name, data, err, wantErr)
		}
		if err == nil && !reflect.DeepEqual(got, want) { // cmp.Equal takes time exponential in the depth
			t.Fatalf("reader %d: %.200q: %s", name, data, cmp.Diff(want, got))
		}
	}
	if err := skip(iotest.DataErrReader(bytes.NewReader(data))); (err == nil) != (wantErr == nil) {
		t.Fatalf("skip of %.200q: got error %v, encoding/json says %v", data, err, wantErr)
	}
}

var corpus = []string{
	``, ` `, `null`, `true`, `false`, `tru`, `nul`, `truex`, `"a"`, `"a`, `"\`, `"\u12`, `"\x"`, "\"\x01\"", "\"\xff\xfe\"",
	`"\ud83d\ude00"`, `"\ud83d"`, `"\ud83d\u0041"`, `"\ud83d\ud83d\ude00"`, `"\ude00\ud83d"`, `"\ud83dx"`, `"\ud83d\n"`, `"\ud83d\uzzzz"`,
	`"\"\\\/\b\f\n\r\t\u00e9"`, `0`, `-0`, `01`, `-`, `1.`, `.5`, `1.5e`, `1.5e+`, `1.5E-07`, `+1`, `1e5x`, `1 2`, `-x`, `0x1`,
	`[]`, `[1,2]`, `[1,]`, `[,1]`, `[1 2]`, `[`, `[1`, `[[],[[]],{}]`, `]`, `[}`, `{]`,
	`{}`, `{"a":1}`, `{"a":1,}`, `{,}`, `{"a"}`, `{"a" 1}`, `{a:1}`, `{1:2}`, `{"a":1 "b":2}`, `{"a":{"b":[{"c":null}]},"a":2}`,
	`{"k":"v"} x`, "\xEF\xBB\xBF{}", "\xEF\xBB", " \xEF\xBB\xBF{}", "\t\r\n{ \"a\" : [ 1 , -2.5e+10 , \"\u2028\" ] }\n", `{"":""}`,
}

func TestAgreesWithEncodingJSON(t *testing.T) {
	for _, s := range corpus {
		compare(t, []byte(s))
		for i := range s { // cut everywhere
			compare(t, []byte(s[:i]))
		}
	}
	deep := func(n int) []byte {
		return []byte(strings.Repeat(`{"a":[`, n/2) + strings.Repeat(`]}`, n/2))
	}
	compare(t, deep(MaxDepth))
	compare(t, deep(MaxDepth+2))
}

// Strings, escapes and numbers that cross the end of the buffer at every place.
func TestAcrossTheBuffer(t *testing.T) {
	for pad := bufferSize - 40; pad <= bufferSize; pad++ {
		compare(t, []byte(strings.Repeat(" ", pad)+`{"k\u00e9y":["\ud83d\ude00\ud83d",-12.5e3,true,"`+"\xe2\x82\xac\xe2"+`"]}`))
	}
}

func FuzzAgreesWithEncodingJSON(f *testing.F) {
	for _, s := range corpus {
		f.Add([]byte(s))
	}
	f.Fuzz(compare)
}

func TestSkipsWhatIsNotTaken(t *testing.T) {
	const doc = `{"a":{"x":[1,{"y":"z"}]},"b":"take me","c":[1,[2],3],"d":{"n":"nested","rest":[{}]},"e":7}`
	var got []string
	d := New(strings.NewReader(doc))
	err := d.Object(func(key string) error {
		switch key {
		case "b":
			s, err := d.String()
			got = append(got, s)
			return err
		case "c":
			return d.Array(func(i int) error {
				if i == 2 {
					n, err := d.Number()
					got = append(got, n)
					return err
				}
				return nil
			})
		case "d":
			return d.Object(func(key string) error {
				if key == "n" {
					s, err := d.Text()
					got = append(got, s)
					return err
				}
				return nil
			})
		}
		return nil
	})
	if err != nil || d.End() != nil {
		t.Fatal(err, d.End())
	}
	if want := []string{"take me", "3", "nested"}; !cmp.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
}

func TestSoftErrorsLeaveTheDecoderUsable(t *testing.T) {
	long := strings.Repeat("x", MaxString+1)
	just := long[1:]
	doc := `["` + long + `","` + just + `",1,{"a":"` + long + `"},{"` + long + `":1,"b":"é"},` + strings.Repeat("9", MaxString+1) + `,"\n` + just + `",true]`
	d := New(strings.NewReader(doc))
	var errs []error
	err := d.Array(func(i int) (err error) {
		switch i {
		case 3, 4:
			err = d.Object(func(key string) error {
				s, err := d.Text()
				if key == "b" && s != "é" {
					t.Errorf("after a long key: %q", s)
				}
				return err
			})
		case 5:
			_, err = d.Number()
		default:
			var s string
			s, err = d.String()
			if i == 1 && s != just {
				t.Errorf("a string of exactly MaxString bytes was lost")
			}
		}
		errs = append(errs, err)
		return nil
	})
	want := []error{ErrTooLong, nil, ErrKind, nil, nil, ErrTooLong, ErrTooLong, ErrKind}
	if err != nil || !cmp.Equal(errs, want, cmp.Comparer(func(a, b error) bool { return errors.Is(a, b) })) {
		t.Errorf("%v, %v", err, errs)
	}
	if d.Overlong() != 5 || d.End() != nil {
		t.Errorf("%d overlong, end %v", d.Overlong(), d.End())
	}
}

func TestErrorsNameThePlace(t *testing.T) {
	for _, c := range []struct {
		doc    string
		offset int64
	}{{`{"a":1,}`, 7}, {`{"a" 1}`, 5}, {`["a",tru!]`, 8}, {`["a`, 3}, {"[\"a\x00\"]", 3}, {`{} x`, 3}, {strings.Repeat(" ", 3*bufferSize) + "?", 3 * bufferSize}} {
		var e *SyntaxError
		if err := skip(strings.NewReader(c.doc)); !errors.As(err, &e) || e.Offset != c.offset {
			t.Errorf("%.20q: %v, want offset %d", c.doc, err, c.offset)
		}
	}
	if err := skip(strings.NewReader(`[1`)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
	broken := errors.New("disk on fire")
	if err := skip(io.MultiReader(strings.NewReader(`[1`), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Error(err)
	}
	if err := skip(io.MultiReader(strings.NewReader(`12`), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Error(err)
	}
}

func TestErrorsAreNotForgotten(t *testing.T) {
	d := New(strings.NewReader(`{"a":[1,?],"b":2}`))
	err := d.Object(func(string) error { d.Skip(); return nil })
	if err == nil || d.Skip() == nil || d.End() == nil {
		t.Errorf("an error that the callback dropped was lost: %v", err)
	}
}

func TestTakenTwice(t *testing.T) {
	d := New(strings.NewReader(`["a","b"]`))
	err := d.Array(func(int) error {
		d.String()
		if k := d.Kind(); k != Invalid {
			t.Errorf("Kind after the value: %v", k)
		}
		_, err := d.String()
		return err
	})
	if !errors.Is(err, errTaken) {
		t.Error(err)
	}
}

func TestStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Decode(ctx, strings.NewReader(`{}`), (*Decoder).Skip); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// filler repeats a text for ever.
type filler struct{ s string }

func (f filler) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		n += copy(p[n:], f.s)
	}
	return n, nil
}

func TestConstantMemory(t *testing.T) {
	const size = 8 << 20
	for name, doc := range map[string]string{
		"one string": "\"" + strings.Repeat("x", 63), "escapes": "\"" + strings.Repeat(`\u00e9`, 10), "surrogates": "\"" + strings.Repeat(`\ud800`, 10),
		"keys": `{"` + strings.Repeat("k", 63), "numbers": strings.Repeat("9", 64), "space": strings.Repeat(" ", 64),
	} {
		head, tail := doc[:2], doc[2:]
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		d := New(io.MultiReader(strings.NewReader(head), io.LimitReader(filler{tail}, size)))
		value(d)
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 256<<10 {
			t.Errorf("%s: %d bytes allocated", name, used)
		}
		if d.Offset() < size {
			t.Errorf("%s: stopped after %d bytes", name, d.Offset())
		}
	}
}

func TestSkipDoesNotAllocate(t *testing.T) {
	r := bytes.NewReader(nil)
	d := New(r)
	if n := testing.AllocsPerRun(10, func() {
		r.Reset(manifest)
		d.Reset(r)
		if d.Skip() != nil || d.End() != nil {
			t.Fatal("not JSON")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
