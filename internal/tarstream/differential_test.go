package tarstream

import (
	"archive/tar"
	"bytes"
	"compress/bzip2"
	"encoding/base64"
	"fmt"
	"go/build"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestAgainstArchiveTar reads the archives that archive/tar is tested with, where the source of Go is at hand.
func TestAgainstArchiveTar(t *testing.T) {
	files, _ := filepath.Glob(filepath.Join(build.Default.GOROOT, "src/archive/tar/testdata/*.tar*"))
	if len(files) == 0 {
		t.Skip("the source of Go is not here")
	}
	for _, name := range files {
		if strings.Contains(name, "many-zeros") {
			continue // 40 MB of sparse map, slow to unpack under -race; TestFlatMemory has one like it
		}
		t.Run(filepath.Base(name), func(t *testing.T) {
			f, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			var r io.Reader = f
			switch filepath.Ext(name) {
			case ".bz2":
				r = bzip2.NewReader(f)
			case ".base64":
				r = base64.NewDecoder(base64.StdEncoding, f)
			}
			data, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			agree(t, data)
			same(t, data)
		})
	}
}

// TestAgainstWriter reads what the writer of archive/tar makes, in each of its formats, with names of all lengths around the limits.
func TestAgainstWriter(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, format := range []tar.Format{tar.FormatUSTAR, tar.FormatGNU, tar.FormatPAX, tar.FormatUnknown} {
		var buf bytes.Buffer
		w := tar.NewWriter(&buf)
		n := 0
		for length := 1; length < 300; length += 1 + rng.IntN(4) {
			h := &tar.Header{Name: name(rng, length), Mode: int64(rng.IntN(0o7777)), Typeflag: "0123456"[rng.IntN(7)], Format: format}
			content := ""
			switch h.Typeflag {
			case TypeReg:
				content = strings.Repeat("c", rng.IntN(6000))
				h.Size = int64(len(content))
			case TypeLink, TypeSymlink:
				h.Linkname = name(rng, 1+rng.IntN(150))
			}
			if format == tar.FormatPAX {
				h.PAXRecords = map[string]string{"SCHILY.xattr.user.x": strings.Repeat("v", rng.IntN(9000))}
			}
			if w.WriteHeader(h) != nil {
				continue // the format cannot have it
			}
			n++
			io.WriteString(w, content)
		}
		if err := w.Close(); err != nil || n < 20 {
			t.Fatal(n, err)
		}
		agree(t, buf.Bytes())
		same(t, buf.Bytes())
	}
}

func name(rng *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = "ab/é"[rng.IntN(4)]
		if i%40 == 39 {
			b[i] = '/'
		}
		b[i] &= 0x7f
	}
	return string(b)
}

// FuzzAgainstArchiveTar has archive/tar as the oracle. With mend, each block with a magic gets the right checksum, or the fuzzer would
// hardly ever come past it.
func FuzzAgainstArchiveTar(f *testing.F) {
	for _, name := range fixtures {
		f.Add(fixture(f, name), true)
	}
	f.Add(archive(member(typePAX, "x", record("path", "p")+record("size", "6")+record("GNU.sparse.map", "0,1")), member(TypeReg, "f", "hello\n")), true)
	f.Add(archive(member(typeLongName, "L", "name\x00"), member(typeLongLink, "K", "link"), raw(TypeLink, "f", 7, gnu)), false)
	f.Fuzz(func(t *testing.T, data []byte, mend bool) {
		if mend {
			for i := 0; i+blockSize <= len(data); i += blockSize {
				if b := (*block)(data[i:]); string(b[257:262]) == "ustar" {
					seal(b)
				}
			}
		}
		agree(t, data)
		same(t, data)
		all, _ := readAll(bytes.NewReader(data), false)
		for _, e := range all {
			if len(e.Name) > MaxName+256 || len(e.Linkname) > MaxName || e.Size < 0 {
				t.Fatalf("%.300v", fmt.Sprint(e))
			}
		}
	})
}

// TestAgainstRandom puts headers and records together that no tool would, with right checksums and framing: a fuzzer takes long to get there.
func TestAgainstRandom(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	pick := func(from ...string) string { return from[rng.IntN(len(from))] }
	read, sparse := 0, 0
	for range 4000 {
		var data []byte
		for range 1 + rng.IntN(5) {
			switch rng.IntN(8) {
			case 0, 1, 2, 3:
				data = append(data, member("xxxxg"[rng.IntN(5)], "x", randomRecords(rng))...)
			case 4:
				data = append(data, member("LK"[rng.IntN(2)], "L", pick("", "long", "long/", "lo\x00ng", strings.Repeat("l", 600)+"\x00"))...)
			default:
				data = append(data, randomFile(rng, pick("f", "f/", ""))...)
			}
		}
		data = append(data, randomFile(rng, "last")...)
		data = archive(data)
		agree(t, data)
		all, err := readAll(bytes.NewReader(data), true)
		if err == io.EOF {
			read++
		}
		for _, e := range all {
			if e.Problem == "" && e.Size != 6 && strings.HasPrefix(e.Content, fmt.Sprint(e.Size, ":")) && e.Size > 0 {
				sparse++
			}
		}
	}
	if read < 1000 || sparse < 100 {
		t.Errorf("only %d archives were good to the end, only %d files sparse: this tests little", read, sparse)
	}
}

func randomRecords(rng *rand.Rand) string {
	pick := func(from ...string) string { return from[rng.IntN(len(from))] }
	var all strings.Builder
	if v := rng.IntN(4); v > 0 { // mostly something that makes sense
		n := rng.IntN(3)
		all.WriteString(record("GNU.sparse.major", "0") + record("GNU.sparse.minor", "01"[v%2:v%2+1]) + record("GNU.sparse.numblocks", fmt.Sprint(n)) + record("GNU.sparse.size", "9"))
		if v == 1 {
			all.WriteString(record("GNU.sparse.map", strings.TrimSuffix(strings.Repeat("1,2,3,4,", n), ",")))
		} else {
			for i := range n {
				all.WriteString(record("GNU.sparse.offset", fmt.Sprint(4*i)) + record("GNU.sparse.numbytes", "3"))
			}
		}
	}
	for range rng.IntN(3) {
		switch rng.IntN(6) {
		case 0:
			all.WriteString(record(pick("path", "linkpath", "GNU.sparse.name"), pick("", "a", "b/", "a\x00b", strings.Repeat("p", 300))))
		case 1:
			all.WriteString(record("size", pick("", "6", "+6", "06", "0", "-6", "six", "7")))
		case 2:
			all.WriteString(record("GNU.sparse."+pick("major", "minor"), pick("", "0", "1", "2", "10")))
		case 3:
			all.WriteString(record("GNU.sparse."+pick("size", "realsize", "numblocks"), pick("", "0", "1", "2", "6", "8", "-1", "x")))
		case 4:
			all.WriteString(record("GNU.sparse.map", pick("", "0,6", "0,3,5,3", "0,0", "1,2,3", ",", "0,6,8,0")))
		case 5:
			all.WriteString(record(pick("GNU.sparse.offset", "GNU.sparse.numbytes"), pick("0", "1", "6", "", "1,2")))
		}
	}
	return all.String()
}

func randomFile(rng *rand.Rand, name string) []byte {
	content := []string{"hello\n", "hello\n", string(padded("1\n0\n6\n")) + "hello\n", string(padded("2\n0\n3\n4\n3\n")) + "hello\n", ""}[rng.IntN(5)]
	b := raw("\x000000127SSS56Zx"[rng.IntN(14)], name, int64(len(content)), func(b *block) {
		switch rng.IntN(4) {
		case 0:
			copy(b[345:], "prefix")
		case 1, 2:
			gnu(b)
			copy(b[386:], "00000000001\x0000000000003\x0000000000005\x0000000000003\x00")
			copy(b[483:], "00000000010\x00")
		}
		copy(b[157:], []string{"", "to"}[rng.IntN(2)])
	})
	return append(b, padded(content)...)
}
