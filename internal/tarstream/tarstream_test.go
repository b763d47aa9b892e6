package tarstream

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	sumHello = "6:5891b5b522d5df08" // sha256sum of "hello\n", its first 8 bytes
	sumNone  = "0:e3b0c44298fc1c14"
	// sumSparse is d/sparse of the fixtures: made with truncate and dd, and summed with sha256sum.
	sumSparse = "70000:9c097588eca8f908"
)

// TestFixtures checks archives of GNU tar against what is known of the trees they were made from.
func TestFixtures(t *testing.T) {
	long := "d/" + strings.Repeat("long-", 30) + "/"
	link := strings.TrimPrefix(long, "d/") + "file"
	tree := []entry{
		{Name: "d/", Type: TypeDir, Mode: 0o755, Content: sumNone},
		{Name: long, Type: TypeDir, Mode: 0o755, Content: sumNone},
		{Name: long + "file", Type: TypeReg, Mode: 0o644, Size: 6, Content: sumHello},
		{Name: "d/sparse", Type: TypeReg, Mode: 0o644, Size: 70000, Content: sumSparse},
		{Name: "d/sym", Linkname: link, Type: TypeSymlink, Mode: 0o777, Content: sumNone},
		{Name: "d/zhard", Linkname: "d/" + link, Type: TypeLink, Mode: 0o644, Content: sumNone},
	}
	old := append([]entry(nil), tree...)
	old[3].Type = TypeGNUSparse
	want := map[string][]entry{
		"v7": {
			{Name: "f/", Type: TypeDir, Mode: 0o755, Content: sumNone},
			{Name: "f/dir/", Type: TypeDir, Mode: 0o755, Content: sumNone},
			{Name: "f/dir/file", Type: TypeReg, Mode: 0o644, Size: 6, Content: sumHello},
			{Name: "f/sym", Linkname: "dir/file", Type: TypeSymlink, Mode: 0o777, Content: sumNone},
			{Name: "f/zhard", Linkname: "f/dir/file", Type: TypeLink, Mode: 0o644, Content: sumNone},
		},
		"ustar": {{Name: "e/" + strings.Repeat("a", 60) + "/" + strings.Repeat("b", 60) + "/file",
			Type: TypeReg, Mode: 0o644, Size: 6, Content: sumHello}},
		"gnu": old, "pax-0.0": tree, "pax-0.1": tree, "pax-1.0": tree,
	}
	for _, name := range fixtures {
		t.Run(name, func(t *testing.T) {
			data := fixture(t, name)
			for way, src := range ways(data) {
				got, err := readAll(src, true)
				if err != io.EOF {
					t.Errorf("%s: %v", way, err)
				}
				if diff := cmp.Diff(want[name], got, cmp.AllowUnexported(entry{})); diff != "" {
					t.Errorf("%s:\n%s", way, diff)
				}
			}
			agree(t, data)
			same(t, data)
		})
	}
}

// TestCut cuts fixtures at and around every block, and at many places between: what was read before counts, and the end is never taken for a good one within a header or content.
func TestCut(t *testing.T) {
	for _, name := range []string{"v7", "pax-1.0"} {
		data := fixture(t, name)
		for n := range data {
			if n%blockSize < 2 || n%blockSize > blockSize-2 || n%13 == 0 {
				agree(t, data[:n])
			}
			if n%blockSize < 2 {
				same(t, data[:n])
			}
		}
	}
	data := member(TypeReg, "file", strings.Repeat("x", 5000))
	for n, want := range map[int]error{1: io.ErrUnexpectedEOF, 511: io.ErrUnexpectedEOF, 512: io.ErrUnexpectedEOF, 5511: io.ErrUnexpectedEOF,
		5512: io.EOF, 5513: io.EOF, len(data): io.EOF} {
		for way, src := range ways(data[:n]) {
			if _, err := readAll(src, false); !errors.Is(err, want) {
				t.Errorf("%s, cut at %d: %v, want %v", way, n, err, want)
			}
		}
	}
}

// TestFlipped changes one byte at a time.
func TestFlipped(t *testing.T) {
	for _, name := range []string{"gnu", "pax-0.1"} {
		data := fixture(t, name)
		for i := 0; i < len(data); i += 11 {
			old := data[i]
			data[i] ^= 1 << (i % 8)
			agree(t, data)
			data[i] = old
		}
	}
}

const after = "after" // every archive below goes on with a file of that name

// TestProblems has entries that cannot be taken; the one behind is read in each case.
func TestProblems(t *testing.T) {
	long := strings.Repeat("n", MaxName+1)
	pax := func(records ...string) []byte { return member(typePAX, "x", strings.Join(records, "")) }
	file := member(TypeReg, "file", "hello\n")
	sparse := func(records ...string) []byte {
		return pax(append([]string{record("GNU.sparse.major", "0"), record("GNU.sparse.minor", "1")}, records...)...)
	}
	manyParts := strings.Repeat("0,0,", MaxFragments) + "0,6"
	for _, c := range []struct {
		name, problem string
		parts         [][]byte
	}{
		{"long PAX path", "its name has 65537 bytes", [][]byte{pax(record("path", long)), file}},
		{"long GNU name", "its name has 65539 bytes", [][]byte{member(typeLongName, "L", long+"n\x00"), file}},
		{"long GNU link", "what it links to", [][]byte{member(typeLongLink, "K", long+"\x00"), raw(TypeLink, "file", 0, nil)}},
		{"long link", "what it links to", [][]byte{pax(record("linkpath", long)), member(TypeSymlink, "file", "")}},
		{"NUL in path", "has a NUL", [][]byte{pax(record("path", "a\x00b")), file}},
		{"NUL in sparse name", "has a NUL", [][]byte{sparse(record("GNU.sparse.name", "a\x00b"), record("GNU.sparse.map", "0,6"), record("GNU.sparse.numblocks", "1")), file}},
		{"no value", "no value", [][]byte{pax("8 path1\n"), file}},
		{"no key", "no proper key", [][]byte{pax("6 =ab\n"), file}},
		{"bad mode", "its mode", [][]byte{raw(TypeReg, "file", 6, func(b *block) { b[101] = 'x' }), padded("hello\n")}},
		{"sparse map of words", "damaged", [][]byte{sparse(record("GNU.sparse.map", "0,six"), record("GNU.sparse.numblocks", "1")), file}},
		{"sparse map too short", "damaged", [][]byte{sparse(record("GNU.sparse.map", "0,6"), record("GNU.sparse.numblocks", "2")), file}},
		{"odd sparse map", "damaged", [][]byte{sparse(record("GNU.sparse.map", "0,6,7"), record("GNU.sparse.numblocks", "1")), file}},
		{"overlapping", "contradicts", [][]byte{sparse(record("GNU.sparse.map", "0,4,2,2"), record("GNU.sparse.numblocks", "2")), file}},
		{"overflowing", "contradicts", [][]byte{sparse(record("GNU.sparse.map", "9223372036854775807,6"), record("GNU.sparse.numblocks", "1")), file}},
		{"negative sparse size", "no proper size", [][]byte{sparse(record("GNU.sparse.size", "-7"), record("GNU.sparse.map", "0,6"), record("GNU.sparse.numblocks", "1")), file}},
		{"more than is stored", "promises 7 bytes, and 6", [][]byte{sparse(record("GNU.sparse.size", "9"), record("GNU.sparse.map", "0,7"), record("GNU.sparse.numblocks", "1")), file}},
		{"too many", "more than 32768 fragments", [][]byte{sparse(record("GNU.sparse.map", manyParts), record("GNU.sparse.numblocks", "32769")), file}},
		{"too many, 1.0", "more than 32768", [][]byte{pax(record("GNU.sparse.major", "1"), record("GNU.sparse.minor", "0")), member(TypeReg, "file", string(padded("1000000000\n0\n")))}},
		{"1.0 without a map", "damaged", [][]byte{pax(record("GNU.sparse.major", "1"), record("GNU.sparse.minor", "0")), file}},
		{"sparse directory", "no file", [][]byte{sparse(record("GNU.sparse.map", "0,6")), member(TypeDir, "file", "")}},
		{"old sparse size", "no proper size", [][]byte{raw(TypeGNUSparse, "file", 6, func(b *block) { gnu(b); b[483] = 'x' }), padded("hello\n")}},
	} {
		data := archive(append(c.parts, member(TypeReg, after, "hello\n"))...)
		for way, src := range ways(data) {
			got, err := readAll(src, true)
			if err != io.EOF || len(got) != 2 {
				t.Fatalf("%s, %s: %+v, %v", c.name, way, got, err)
			}
			if !strings.Contains(got[0].Problem, c.problem) || got[0].Content != sumNone {
				t.Errorf("%s, %s: %+v", c.name, way, got[0])
			}
			if want := (entry{Name: after, Type: TypeReg, Size: 6, Mode: 0o644, Content: sumHello}); got[1] != want {
				t.Errorf("%s, %s: behind it is %+v", c.name, way, got[1])
			}
		}
		agree(t, data)
		same(t, data)
	}
}

// TestEnds has what makes the rest unreadable, as it does for archive/tar.
func TestEnds(t *testing.T) {
	first := member(TypeReg, "first", "")
	size := func(edit func(field []byte)) []byte {
		return raw(TypeReg, "file", 6, func(b *block) { edit(b[124:136]) })
	}
	for name, part := range map[string][]byte{
		"negative size":     size(func(f []byte) { base256(f, -1) }),
		"overflowing size":  size(func(f []byte) { copy(f, "\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff") }),
		"size of 65 bits":   size(func(f []byte) { copy(f, "\x80\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00") }),
		"size of 64 bits":   size(func(f []byte) { copy(f, "\x80\x00\x00\x00\x80\x00\x00\x00\x00\x00\x00\x00") }),
		"size is a word":    size(func(f []byte) { f[3] = '9' }),
		"checksum":          append([]byte("x"), first[1:]...),
		"lone zero block":   append(make([]byte, blockSize), first...),
		"PAX size negative": append(member(typePAX, "x", record("size", "-6")), first...),
		"PAX size huge":     append(member(typePAX, "x", record("size", "9223372036854775808")), first...),
		"PAX size hex":      append(member(typePAX, "x", record("size", "0x10")), first...),
		"PAX framing":       append(member(typePAX, "x", "9 path=abc\n"), first...),
		"PAX too long":      append(member(typePAX, "x", "99 path=abc\n"), first...),
		"PAX no length":     append(member(typePAX, "x", "path=abc\n"), first...),
		"PAX only digits":   append(member(typePAX, "x", "0000011"), first...),
		"PAX header size":   raw(typePAX, "x", 0, func(b *block) { base256(b[124:136], -1) }),
		"sparse of star":    raw(TypeGNUSparse, "file", 0, nil),
	} {
		data := archive(first, part)
		got, err := readAll(&slow{data: data}, true)
		var h *HeaderError
		if len(got) != 1 || !errors.Is(err, ErrHeader) || !errors.As(err, &h) || h.Offset < blockSize {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		if _, oerr := oracle(&slow{data: data}); oerr == io.EOF {
			t.Errorf("%s: archive/tar reads it", name)
		}
	}
}

// TestGoesOn has what ends archive/tar, or what is odd to both, and is read.
func TestGoesOn(t *testing.T) {
	hello := padded("hello\n")
	file := entry{Name: "file", Type: TypeReg, Size: 6, Mode: 0o644, Content: sumHello}
	named := func(name string) entry { e := file; e.Name = name; return e }
	cat := func(parts ...[]byte) (all []byte) {
		for _, p := range parts {
			all = append(all, p...)
		}
		return all
	}
	plain := cat(raw(TypeReg, "file", 6, nil), hello)
	for _, c := range []struct {
		name string
		data []byte
		want entry
	}{
		{"owner is no number", cat(raw(TypeReg, "file", 6, func(b *block) { copy(b[108:], "nobody") }), hello), file},
		{"bad time in PAX", cat(member(typePAX, "x", record("mtime", "yesterday")), plain), file},
		{"PAX size", cat(member(typePAX, "x", record("size", "6")), raw(TypeReg, "file", 0, nil), hello), file},
		{"PAX size over a bad one", cat(member(typePAX, "x", record("size", "6")), raw(TypeReg, "file", 0, func(b *block) { b[124] = 'x' }), hello), file},
		{"last PAX path", cat(member(typePAX, "x", record("path", "no")+record("path", "yes")), plain), named("yes")},
		{"empty PAX path", cat(member(typePAX, "x", record("path", "no")+record("path", "")), plain), file},
		{"second PAX header", cat(member(typePAX, "x", record("path", "no")), member(typePAX, "x", record("mtime", "1")), plain), file},
		{"a long link of a file", cat(member(typePAX, "x", record("linkpath", strings.Repeat("l", MaxName+1))), plain), file},
		{"GNU over PAX", cat(member(typePAX, "x", record("path", "no")), member(typeLongName, "L", "yes\x00rest"), plain), named("yes")},
		{"long key", cat(member(typePAX, "x", record(strings.Repeat("k", 5000), "v")+record("path", "yes")), plain), named("yes")},
		{"base 256", cat(raw(TypeReg, "file", 0, func(b *block) { base256(b[124:136], 6) }), hello), file},
		{"star", cat(raw(TypeReg, "file", 6, func(b *block) { copy(b[345:], "dir"); copy(b[476:], "00000000000 "); copy(b[508:], "tar\x00") }), hello), named("dir/file")},
		{"times of GNU are no prefix", cat(raw(TypeReg, "file", 6, func(b *block) { gnu(b); copy(b[345:], "14000000000\x0014000000000\x00") }), hello), file},
		{"prefix of old Go", cat(raw(TypeReg, "file", 6, func(b *block) { gnu(b); copy(b[345:], "some/dir") }), hello), named("some/dir/file")},
		{"signed checksum", cat(signed(raw(TypeReg, "\xfffile", 6, nil)), hello), named("\xfffile")},
		{"hard link with a size", raw(TypeLink, "file", 6, func(b *block) { copy(b[157:], "to") }), entry{Name: "file", Linkname: "to", Type: TypeLink, Mode: 0o644, Content: sumNone}},
		{"old directory", raw(typeRegOld, "file/", 6, nil), entry{Name: "file/", Type: TypeDir, Mode: 0o644, Content: sumNone}},
		{"old file", cat(raw(typeRegOld, "file", 6, nil), hello), file},
		{"unknown sparse version", cat(member(typePAX, "x", record("GNU.sparse.major", "2")+record("GNU.sparse.name", "no")), plain), file},
		{"all hole", cat(member(typePAX, "x", record("GNU.sparse.major", "0")+record("GNU.sparse.minor", "0")+record("GNU.sparse.numblocks", "0")+record("GNU.sparse.size", "0")), raw(TypeReg, "file", 0, nil)),
			entry{Name: "file", Type: TypeReg, Mode: 0o644, Content: sumNone}},
	} {
		data := archive(c.data, member(TypeReg, after, "hello\n"))
		got, err := readAll(&slow{data: data}, true)
		if diff := cmp.Diff([]entry{c.want, named(after)}, got, cmp.AllowUnexported(entry{})); diff != "" || err != io.EOF {
			t.Errorf("%s: %v\n%s", c.name, err, diff)
		}
		agree(t, data)
		same(t, data)
	}
}

// signed gives a header the checksum that old tars on machines with signed characters made.
func signed(b []byte) []byte {
	sum, _ := (*block)(b).sums()
	_, neg := (*block)(b).sums()
	field := b[chksumAt : chksumAt+chksumLen]
	own := int64(0)
	for _, c := range field {
		own += ' ' - int64(c)
	}
	if sum == neg {
		panic("no byte has its top bit set")
	}
	copy(field, octalField(neg+own))
	return b
}

// TestGlobal: a global header changes nothing, and cancels the extended headers before it, as in archive/tar.
func TestGlobal(t *testing.T) {
	data := archive(member(typePAX, "x", record("path", "no")), member(TypeGlobal, "g", record("path", "no")+record("size", "7")+"bad"), member(TypeReg, "file", "hello\n"))
	got, err := readAll(&slow{data: data}, true)
	want := []entry{{Name: "g", Type: TypeGlobal, Content: sumNone}, {Name: "file", Type: TypeReg, Size: 6, Mode: 0o644, Content: sumHello}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(entry{})); diff != "" || err != io.EOF {
		t.Errorf("%v\n%s", err, diff)
	}
	agree(t, archive(member(typePAX, "x", record("path", "no")), member(TypeGlobal, "g", record("comment", "no")), member(TypeReg, "file", "hello\n")))
}
