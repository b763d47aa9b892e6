package heap

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

func init() { runtime.MemProfileRate = 1 } // each allocation is noted

// kept is what the test's own functions allocate.
var kept [][]byte

//go:noinline
func leaking(n int) {
	for range n {
		kept = append(kept, make([]byte, 64<<10))
	}
}

//go:noinline
func reading(n int) { // the library allocates, on behalf of this
	b, _ := io.ReadAll(io.LimitReader(zeros{}, int64(n)))
	kept = append(kept, b)
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// taken is the heap profile of this process.
func taken(t testing.TB) []byte {
	t.Helper()
	runtime.GC()
	runtime.GC()
	var b bytes.Buffer
	if err := pprof.Lookup("heap").WriteTo(&b, 0); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func parsed(t testing.TB, stored []byte) *Profile {
	t.Helper()
	p, err := Read(bytes.NewReader(stored))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// What is read is what go tool pprof reads: of each function what it allocated, and what it and all that it called did.
func TestOracle(t *testing.T) {
	leaking(20)
	reading(300 << 10)
	stored := taken(t)
	name := filepath.Join(t.TempDir(), "heap.pb.gz")
	if err := os.WriteFile(name, stored, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("go", "tool", "pprof", "-top", "-sample_index=inuse_space", "-unit=B", "-nodecount=100000", "-nodefraction=0", "-trim=false", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][2]int64{}
	for _, m := range regexp.MustCompile(`(?m)^ *(\d+)B? +\S+% +\S+% +(\d+)B? +\S+%  (.*?)( \(inline\)| \(partial-inline\))?$`).FindAllStringSubmatch(string(out), -1) {
		flat, _ := strconv.ParseInt(m[1], 10, 64)
		cum, _ := strconv.ParseInt(m[2], 10, 64)
		want[m[3]] = [2]int64{flat, cum}
	}
	p := parsed(t, stored)
	got := map[string][2]int64{}
	for i := range p.stacks {
		s := &p.stacks[i]
		seen := map[string]bool{}
		for f := range p.frames(s) {
			v := got[f.Function]
			if len(seen) == 0 {
				v[0] += s.bytes
			}
			if !seen[f.Function] {
				v[1] += s.bytes
			}
			seen[f.Function], got[f.Function] = true, v
		}
	}
	if len(want) < 5 || !maps.Equal(got, want) {
		for name := range got {
			if got[name] != want[name] {
				t.Errorf("%s: %v, pprof says %v", name, got[name], want[name])
			}
		}
		t.Errorf("%d functions, pprof has %d:\n%s", len(got), len(want), out)
	}
	if p.Time.IsZero() || p.Total() < 20*64<<10 {
		t.Errorf("taken at %v, %d bytes", p.Time, p.Total())
	}
}

func TestDiff(t *testing.T) {
	leaking(4)
	before := parsed(t, taken(t))
	leaking(100)
	reading(1 << 20)
	after := parsed(t, taken(t))
	g := Diff(before, after)
	if len(g.Sites) < 2 || g.After-g.Before < 100*64<<10 {
		t.Fatalf("%+v", g)
	}
	first, second := g.Sites[0], g.Sites[1]
	if first.Function != "stella/internal/heap.leaking" || first.Grown < 100*64<<10 || first.Grown > 101*64<<10 || first.Bytes < first.Grown ||
		!strings.HasSuffix(first.File, "heap_test.go") || first.Line == 0 || first.Share < 0.6 || first.Share > 0.95 {
		t.Errorf("the first site is %+v", first)
	}
	if second.Function != "stella/internal/heap.reading" || len(second.Stack) < 2 || second.Stack[0].Function != "io.ReadAll" {
		t.Errorf("the second site is %+v", second)
	}
	if again := Diff(after, after); len(again.Sites) != 0 || again.Before != again.After {
		t.Errorf("nothing grew: %+v", again)
	}
}

func TestPackageOf(t *testing.T) {
	for name, want := range map[string]string{
		"main.main": "main", "net/http.(*conn).serve": "net/http", "gopkg.in/yaml%2ev3.Unmarshal": "gopkg.in/yaml%2ev3",
		"sync/atomic.(*Pointer[go.shape.struct { net/http.x }]).Load": "sync/atomic", "": "", "x": "x",
	} {
		if got := packageOf(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	for _, c := range []struct {
		pkg, file string
		want      bool
	}{
		{"net/http", "/usr/local/go/src/net/http/server.go", true}, {"net/http", "net/http/server.go", true}, {"runtime", "", true},
		{"main", "/src/main/main.go", false}, {"log", "/home/dev/log/log.go", false}, {"github.com/a/b", "/go/src/github.com/a/b/c.go", false},
	} {
		if got := standard(c.pkg, c.file); got != c.want {
			t.Errorf("%s in %s: %v", c.pkg, c.file, got)
		}
	}
}

// Every package of this Go's library is known as one.
func TestFirsts(t *testing.T) {
	out, err := exec.Command("go", "list", "std").Output()
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range strings.FieldsSeq(string(out)) {
		if !standard(pkg, "") {
			t.Errorf("%s is not known", pkg)
		}
	}
}

// The drawing is XML, has each function that is wide enough, and is as wide as what they allocated.
func TestFlame(t *testing.T) {
	leaking(1)
	before := parsed(t, taken(t))
	leaking(200)
	after := parsed(t, taken(t))
	var b bytes.Buffer
	if err := Flame(&b, before, after); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	for d := xml.NewDecoder(&b); ; {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"<title>stella/internal/heap.leaking: ", ", +1", " since 20", "Red is what grew"} {
		if !strings.Contains(text, want) {
			t.Errorf("it does not have %q", want)
		}
	}
	var alone bytes.Buffer
	if err := Flame(&alone, nil, after); err != nil || strings.Contains(alone.String(), "Red") {
		t.Errorf("%v, %.200s", err, alone.String())
	}
}

// encoder writes profiles that no program has.
type encoder struct{ bytes.Buffer }

func (e *encoder) field(tag int, b []byte) {
	e.Write(binary.AppendUvarint(nil, uint64(tag)<<3|wireBytes))
	e.Write(binary.AppendUvarint(nil, uint64(len(b))))
	e.Write(b)
}

func (e *encoder) number(tag int, n uint64) {
	e.Write(binary.AppendUvarint(nil, uint64(tag)<<3|wireVarint))
	e.Write(binary.AppendUvarint(nil, n))
}

func message1(numbers ...uint64) []byte {
	var e encoder
	for i := 0; i < len(numbers); i += 2 {
		e.number(int(numbers[i]), numbers[i+1])
	}
	return e.Bytes()
}

func packed(b []byte) []byte {
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	w.Write(b)
	w.Close()
	return z.Bytes()
}

// begun is a profile with its types and one function "name".
func begun(name string) *encoder {
	e := &encoder{}
	e.field(profileSampleType, message1(typeName, 1))
	for _, s := range []string{"", "inuse_space", name} {
		e.field(profileString, []byte(s))
	}
	e.field(profileFunction, message1(functionID, 1, functionName, 2))
	var l encoder
	l.number(locationID, 1)
	l.field(locationLine, message1(lineFunction, 1, lineNumber, 7))
	e.field(profileLocation, l.Bytes())
	return e
}

func TestHostile(t *testing.T) {
	good := begun("main.f")
	good.field(profileSample, message1(sampleLocation, 1, sampleValue, 100))
	if p := parsed(t, packed(good.Bytes())); p.Total() != 100 || p.site(&p.stacks[0]) != (Frame{"main.f", "", 7}) {
		t.Errorf("%+v", p)
	}
	make := func(change func(e *encoder)) []byte {
		e := begun("f")
		change(e)
		return packed(e.Bytes())
	}
	for name, c := range map[string]struct {
		stored []byte
		want   string
	}{
		"empty":        {nil, "not gzipped"},
		"a page":       {[]byte("<html>not found</html>"), "not gzipped"},
		"a CPU's":      {packed(message1(profileTime, 5)), "no inuse_space"},
		"cut":          {taken(t)[:200], "it is broken"},
		"cut inside":   {packed(good.Bytes()[:good.Len()-3]), "it is broken"},
		"a bomb":       {packed(bytes.Repeat([]byte{0x48, 0}, maxUnpacked)), "more bytes unpacked"},
		"long string":  {make(func(e *encoder) { e.field(profileString, bytes.Repeat([]byte("x"), maxMessage+1)) }), "and 65536 are the most"},
		"negative":     {make(func(e *encoder) { e.field(profileSample, message1(sampleLocation, 1, sampleValue, 1<<63)) }), "cannot be"},
		"no values":    {make(func(e *encoder) { e.field(profileSample, message1(sampleLocation, 1)) }), "it is broken"},
		"many samples": {make(func(e *encoder) { e.Write(bytes.Repeat([]byte{profileSample<<3 | wireBytes, 0}, maxItems+1)) }), "than any program"},
		"many values":  {make(func(e *encoder) { e.Write(bytes.Repeat([]byte{profileSampleType<<3 | wireBytes, 0}, maxTypes)) }), "more than 8 values"},
		"many places":  {make(func(e *encoder) { places(e, maxPlaces/maxMessage+1) }), "than any program"},
		"deep":         {make(func(e *encoder) { deep(e) }), "than any program"},
	} {
		p, err := Read(bytes.NewReader(c.stored))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %+v, %v; want %q", name, p, err, c.want)
		}
	}
}

// places adds samples with as many places as a message can have.
func places(e *encoder, samples int) {
	var s encoder
	s.field(sampleLocation, bytes.Repeat([]byte{1}, maxMessage-20))
	s.number(sampleValue, 1)
	for range samples + 1 {
		e.field(profileSample, s.Bytes())
	}
}

// deep makes stacks with more frames than there are places.
func deep(e *encoder) {
	var l encoder
	l.number(locationID, 2)
	for range 10_000 {
		l.field(locationLine, message1(lineFunction, 1))
	}
	e.field(profileLocation, l.Bytes())
	var s encoder
	s.field(sampleLocation, bytes.Repeat([]byte{2}, maxFrames/10_000+1))
	s.number(sampleValue, 1)
	e.field(profileSample, s.Bytes())
}

// However large a profile is, what is allocated to read and draw it is bounded.
func TestMemoryIsBounded(t *testing.T) {
	const most = 400 << 20
	e := begun("f")
	places(e, maxPlaces/maxMessage-2)
	for i := range 20_000 {
		e.field(profileString, fmt.Appendf(nil, "%0500d", i))
	}
	stored := packed(e.Bytes())
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	p := parsed(t, stored)
	if err := Flame(io.Discard, p, p); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > most {
		t.Errorf("%d MiB", used>>20)
	}
}

// Names are whatever somebody chose, and stay text.
func TestNamesAreText(t *testing.T) {
	e := begun("<script>alert(1)</script>\x00\xff\"")
	e.field(profileSample, message1(sampleLocation, 1, sampleValue, 100))
	var b bytes.Buffer
	if err := Flame(&b, nil, parsed(t, packed(e.Bytes()))); err != nil {
		t.Fatal(err)
	}
	if text := b.String(); strings.Contains(text, "<script") || !strings.Contains(text, "&lt;script&gt;") || strings.ContainsRune(text, 0) || !utf8.ValidString(text) {
		t.Error(text)
	}
}

// What is read has no more bytes than it says, its growth from itself is none, and its drawing is XML of a bounded length.
func FuzzRead(f *testing.F) {
	good := begun("main.f")
	good.field(profileSample, message1(sampleLocation, 1, sampleValue, 100))
	f.Add(good.Bytes())
	f.Add(slices.Concat(good.Bytes(), message1(profileTime, 99)))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := decode(bytes.NewReader(b))
		if err != nil {
			return
		}
		if g := Diff(p, p); len(g.Sites) > 0 || g.Before != g.After || g.After < 0 {
			t.Errorf("%+v", g)
		}
		none := &Profile{}
		var sum int64
		sites := Diff(none, p).Sites
		for _, s := range sites {
			sum += s.Grown
		}
		if len(sites) > MaxSites || sum > p.Total() || len(sites) < MaxSites && sum != p.Total() {
			t.Errorf("%d sites have %d of %d", len(sites), sum, p.Total())
		}
		var svg bytes.Buffer
		if err := Flame(&svg, none, p); err != nil {
			t.Fatal(err)
		}
		for d := xml.NewDecoder(&svg); ; {
			if _, err := d.Token(); err == io.EOF {
				return
			} else if err != nil {
				t.Fatal(err)
			}
		}
	})
}
