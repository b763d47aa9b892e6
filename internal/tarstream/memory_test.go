package tarstream

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
)

// memory is what a Reader may hold: five names, a map, and what growing it leaves behind.
const memory = 1 << 20

// endless is n bytes of a pattern, made as they are read.
func endless(pattern string, n int64) io.Reader {
	return io.LimitReader(&repeating{[]byte(strings.Repeat(pattern, 64<<10/len(pattern))), 0}, n)
}

type repeating struct {
	b []byte
	i int
}

func (r *repeating) Read(p []byte) (int, error) {
	n := copy(p, r.b[r.i:])
	r.i = (r.i + n) % len(r.b)
	return n, nil
}

// probe measures the live heap every few MiB.
type probe struct {
	r          io.Reader
	base, peak int64
	step, n    int64
}

func live() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func (p *probe) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	if p.n += int64(n); p.n >= p.step || err != nil {
		p.n = 0
		p.peak = max(p.peak, live()-p.base)
	}
	return n, err
}

// TestFlatMemory reads fields that claim, and have, far more than memory.
func TestFlatMemory(t *testing.T) {
	const mib = 1 << 20
	head := func(typ byte, size int64) io.Reader {
		return bytes.NewReader(raw(typ, "head", size, func(b *block) { base256(b[124:136], size) }))
	}
	text := func(s string) io.Reader { return strings.NewReader(s) }
	// value is a PAX header of one record, of size bytes in all, whose value repeats a pattern, and of what comes before it.
	value := func(before, key, pattern string, size int64) io.Reader {
		start := fmt.Sprintf("%d %s=", size, key)
		return io.MultiReader(head(typePAX, size+int64(len(before))), text(before), text(start),
			endless(pattern, size-int64(len(start))-1), text("\n"), bytes.NewReader(make([]byte, -(size+int64(len(before)))&(blockSize-1))))
	}
	file := func() io.Reader { return bytes.NewReader(member(TypeReg, "file", "hello\n")) }
	versions := record("GNU.sparse.major", "1") + record("GNU.sparse.minor", "0")
	for _, c := range []struct {
		name, problem string
		r             io.Reader
		total         int64
	}{
		{"PAX comment", "", io.MultiReader(value("", "comment", "value ", 1<<30), file()), 1 << 30},
		{"PAX key", "", io.MultiReader(value("", strings.Repeat("k", 40), "k", 64*mib), file()), 64 * mib},
		{"PAX path", "its name has", io.MultiReader(value("", "path", "long/", 64*mib), file()), 64 * mib},
		{"GNU name", "its name has", io.MultiReader(head(typeLongName, 64*mib), endless("long/", 64*mib), file()), 64 * mib},
		{"records", "", io.MultiReader(head(typePAX, 9*mib), endless("9 path=a\n", 9*mib), file()), 9 * mib},
		{"sparse map 0.1", "fragments", io.MultiReader(value("", "GNU.sparse.map", "1,0,", 4*mib), file()), 4 * mib},
		{"sparse map 1.0", "fragments", io.MultiReader(bytes.NewReader(member(typePAX, "x", versions)), head(TypeReg, 64*mib), text("1000000000000\n"), endless("1\n0\n", 64*mib-14)), 64 * mib},
		{"old sparse map", "fragments", io.MultiReader(
			bytes.NewReader(raw(TypeGNUSparse, "file", 0, func(b *block) { gnu(b); b[482] = 1 })), endless(oldMapBlock(), 4*mib), bytes.NewReader(make([]byte, blockSize))), 4 * mib},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &probe{r: io.MultiReader(c.r, bytes.NewReader(archive(member(TypeReg, after, "hello\n")))), step: max(c.total/8, 1<<20), base: live()}
			r := NewReader(p)
			h, err := r.Next()
			if err != nil || c.problem == "" && h.Problem != "" || !strings.Contains(h.Problem, c.problem) {
				t.Fatalf("%+v, %v", h, err)
			}
			if h, err = r.Next(); err != nil || h.Name != after {
				t.Fatalf("behind it: %+v, %v", h, err)
			}
			if _, err = r.Next(); err != io.EOF || r.Offset() < c.total {
				t.Fatal(err, r.Offset())
			}
			if p.peak > memory {
				t.Errorf("%d bytes were live, and %d are allowed", p.peak, memory)
			}
			runtime.KeepAlive(r)
		})
	}
}

// oldMapBlock is a block of an old GNU map, with 21 fragments and one to follow.
func oldMapBlock() string {
	var b block
	for i := range 21 {
		copy(b[i*24:], "00000000001\x0000000000000\x00")
	}
	b[504] = 1
	return string(b[:])
}

// TestAllocations: a name is one allocation, a link name another, whatever extended headers there are.
func TestAllocations(t *testing.T) {
	long := strings.Repeat("n", 150)
	for name, c := range map[string]struct {
		data []byte
		want float64
	}{
		"file":    {member(TypeReg, "file", "hello\n"), 1},
		"prefix":  {raw(TypeReg, "file", 0, func(b *block) { copy(b[345:], "prefix") }), 1},
		"symlink": {raw(TypeSymlink, "file", 0, func(b *block) { copy(b[157:], "target") }), 2},
		"PAX":     {append(member(typePAX, "x", record("mtime", "1.5")+record("path", long)+record("linkpath", long)), raw(TypeSymlink, "file", 0, nil)...), 2},
		"GNU":     {append(member(typeLongName, "L", long), raw(TypeReg, "file", 0, gnu)...), 1},
	} {
		r := NewReader(&repeating{b: c.data})
		got := testing.AllocsPerRun(1000, func() {
			if _, err := r.Next(); err != nil {
				t.Fatal(err)
			}
			r.Read(nil)
		})
		if got != c.want {
			t.Errorf("%s: %v allocations, not %v", name, got, c.want)
		}
	}
}
