package rpm

import (
	"bytes"
	"encoding/binary"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"stella/internal/scan/extract"
	"stella/internal/scan/extract/extracttest"
	"stella/internal/scan/inventory"
)

// quiet reports whether packages are missing and nothing says so.
func quiet(r *extracttest.Result) bool {
	return len(r.Packages) < 3 && r.Err == nil && len(r.Reasons) == 0
}

func TestTruncated(t *testing.T) {
	for _, name := range fixtures {
		data := fixture(t, name)
		for n := 0; n < len(data); n += 2039 {
			if r := extracttest.Run(t, New(), path, data[:n]); quiet(r) {
				t.Errorf("%d packages from the first %d bytes of %s, and no problem", len(r.Packages), n, name)
			}
		}
	}
	data := writers[1].bytes(t, 3, plain(40))
	for n := range data {
		if n > ndbHeader+4*ndbSlot && n < ndbPage-1 || n%5 != 0 {
			continue
		}
		if r := extracttest.Run(t, New(), path, data[:n]); quiet(r) {
			t.Errorf("%d packages from the first %d bytes of an ndb file, and no problem", len(r.Packages), n)
		}
	}
}

// What is cut off may be an index, and all packages there; it is said nevertheless.
func TestCutOff(t *testing.T) {
	for _, name := range fixtures {
		data := fixture(t, name)
		r := extracttest.Run(t, New(), path, data[:len(data)-1])
		if len(r.Reasons) == 0 || !strings.Contains(r.Reasons[0], "is cut off") {
			t.Errorf("%s: reasons %q", name, r.Reasons)
		}
	}
}

// Each fault costs one record of an ndb file, and says which.
func TestNDBFaults(t *testing.T) {
	const slot, blob = ndbHeader + ndbSlot, ndbPage // of record 2; of record 1
	whole := writers[1].bytes(t, 3, plain(0))
	for want, at := range map[string]int{
		"does not begin as a slot":         slot,
		"beyond the end of the file":       slot + 11,
		"record 2 has":                     slot + 12,
		"record 1 does not begin at":       blob,
		"record 254 does not begin at":     slot - ndbSlot + 4,
		"record 1 has":                     blob + 12,
		"record 1 does not end after":      blob + (len(whole)-blob)/3 - 1,
		"record 1 of the rpm database was": blob + ndbBlobHead,
	} {
		data := bytes.Clone(whole)
		data[at] ^= 0xff
		r := extracttest.Run(t, New(), path, data)
		if len(r.Packages) != 2 || r.Err != nil || len(r.Reasons) != 1 || !strings.Contains(r.Reasons[0], want) {
			t.Errorf("byte %d: %d packages, error %v, reasons %q; want %q", at, len(r.Packages), r.Err, r.Reasons, want)
		}
	}
}

func TestFlipped(t *testing.T) {
	for _, name := range fixtures {
		data := fixture(t, name)
		for n := 0; n < len(data); n += 1 + len(data)/250 {
			data[n] ^= 0xff
			if r := extracttest.Run(t, New(), path, data); quiet(r) {
				t.Errorf("%s with byte %d flipped: %d packages, and no problem", name, n, len(r.Packages))
			}
			data[n] ^= 0xff
		}
	}
}

// Files that lead in circles, or many times to the same bytes, end soon and say so.
func TestLoops(t *testing.T) {
	le, be := binary.LittleEndian, binary.BigEndian
	const n = 200
	// A header that states 200 MiB of data, which is possible, and a name at the end of them.
	far := makeHeader(tagData{tagVersion, "1"}, tagData{tagName, "a"})
	be.PutUint32(far[4:], 200<<20)
	be.PutUint32(far[8+16+8:], 199<<20)
	loop := writers[0].bytes(t, n, func(int) []byte { return far })
	le.PutUint32(loop[2*testPage+16:], 2) // its overflow page follows itself
	le.PutUint16(loop[2*testPage+22:], testPage-bdbPageHeader)
	for i := range n { // and is that of all records, whose blobs have 4 GiB
		page := loop[(1+i*2)*testPage:]
		le.PutUint32(page[testPage-17+4:], 2)
		le.PutUint32(page[testPage-17+8:], 1<<32-1)
	}

	ndb := writers[1].bytes(t, n, plain(9000))
	for off := ndbHeader; off < ndbPage; off += ndbSlot { // 254 slots lead to the first of 200 records
		copy(ndb[off:][4:16], ndb[ndbHeader+4:][:12])
	}

	tree := writers[2].bytes(t, n, plain(9000))
	for i := range n - 1 { // all children of the root are the root
		cell := int(be.Uint16(tree[testPage+12+2*i:]))
		be.PutUint32(tree[testPage+cell:], 2)
	}
	chain := writers[2].bytes(t, n, plain(9000))
	for i := range n { // all rows go on in the overflow pages of the first
		leaf := chain[(2+i*3)*testPage:]
		be.PutUint32(leaf[testPage-4:], 4)
	}
	for name, data := range map[string][]byte{"Berkeley DB chain": loop, "ndb slots": ndb, "SQLite tree": tree, "SQLite chains": chain} {
		start := time.Now()
		r := extracttest.Run(t, New(), path, data)
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%s: took %v", name, took)
		}
		if quiet(r) || len(r.Packages) > n+n/10 {
			t.Errorf("%s: %d packages, error %v, reasons %q", name, len(r.Packages), r.Err, r.Reasons)
		}
		if name != "SQLite chains" && (r.Err == nil || !strings.Contains(r.Err.Error(), "more than once")) && !strings.Contains(strings.Join(r.Reasons, ""), "levels deep") {
			t.Errorf("%s: error %v, reasons %.300q", name, r.Err, r.Reasons[:min(2, len(r.Reasons))])
		}
	}
}

func TestMemory(t *testing.T) {
	header := plain(150 << 10)
	one := makeHeader(tagData{tagName, "a"}, tagData{tagVersion, "1"},
		tagData{1117, strings.Split(strings.Repeat("some-file,", 1<<19), ",")},
		tagData{tagLicense, strings.Repeat("x", 4<<20)},
		tagData{tagProvide, strings.Split(strings.Repeat("capability(),other(),", 1<<18), ",")})
	for _, w := range writers {
		n := 60
		if w.name == "SQLite" {
			n = 420 // 64 MiB
		}
		for _, c := range []struct {
			name   string
			n      int
			header func(int) []byte
		}{
			{"many packages", n, header},
			{"one package", 1, func(int) []byte { return one }},
		} {
			if w.name == "ndb" && c.n == 1 {
				continue // the writer of the test would hold it
			}
			size, r := w.make(c.n, c.header)
			start := time.Now()
			live, n, err := extracttest.Peak(t, New(), extracttest.Header(path, size), r)
			if err != nil || n != c.n || live > extract.Budget {
				t.Errorf("%s, %s: %d packages, %d bytes live, error %v", w.name, c.name, n, live, err)
			}
			t.Logf("%s, %s: %d MiB, %d KiB live, %v", w.name, c.name, size>>20, live>>10, time.Since(start).Round(time.Millisecond))
		}
	}
}

func TestWAL(t *testing.T) {
	const path = "usr/lib/sysimage/rpm/rpmdb.sqlite-wal"
	log := make([]byte, walHeader+walFrame+4096)
	binary.BigEndian.PutUint32(log, walMagic|1)
	copy(log[16:], "saltsalt")
	copy(log[walHeader+8:], "saltsalt")
	if r := extracttest.Run(t, New(), path, log); r.Err != nil || len(r.Reasons) != 1 || !strings.Contains(r.Reasons[0], "write-ahead log of 4152 bytes") {
		t.Errorf("a log with a frame: %+v", r)
	}
	if r := extracttest.Run(t, New(), path, log[:40]); r.Err != nil || r.Reasons != nil {
		t.Errorf("a log without a frame: %+v", r)
	}
	copy(log[walHeader+8:], "oldsalt!")
	if r := extracttest.Run(t, New(), path, log); r.Err != nil || r.Reasons != nil {
		t.Errorf("a log that began anew: %+v", r)
	}
}

type brokenAt struct{ *bytes.Reader }

func (b brokenAt) ReadAt(p []byte, off int64) (int, error) {
	if off > 4096 {
		return 0, io.ErrClosedPipe
	}
	return b.Reader.ReadAt(p, off)
}

// A file that cannot be read is not a corrupt database.
func TestReadError(t *testing.T) {
	data := fixture(t, "Packages")
	f := extract.NewFile(extracttest.Header(path, int64(len(data))), brokenAt{bytes.NewReader(data)}, nil)
	var r extracttest.Result
	if err := New().Extract(t.Context(), f, &r); err == nil || !strings.Contains(err.Error(), io.ErrClosedPipe.Error()) {
		t.Errorf("error %v, reasons %q", err, r.Reasons)
	}
}

func FuzzExtract(f *testing.F) {
	for _, w := range writers {
		f.Add(w.bytes(f, 2, plain(0)))
	}
	f.Add(fixture(f, "Packages"))
	f.Fuzz(func(t *testing.T, data []byte) {
		extracttest.Fuzz(t, New(), path, 0o644, data)
	})
}

// Whatever one header is, the one after it is read.
func FuzzHeader(f *testing.F) {
	good := plain(0)(1)
	f.Add(plain(0)(0))
	f.Add(makeHeader(tagData{tagEpoch, uint32(7)}, tagData{tagName, "a"}, tagData{tagVersion, "1"}))
	f.Fuzz(func(t *testing.T, data []byte) {
		size := max(len(data), len(good))
		for _, w := range writers {
			db := w.bytes(t, 2, func(i int) []byte {
				h := make([]byte, size)
				copy(h, [][]byte{data, good}[i])
				return h
			})
			extracttest.Fuzz(t, New(), path, 0o644, db)
			r := extracttest.Run(t, New(), path, db)
			if len(r.Packages) == 0 || r.Packages[len(r.Packages)-1].Name != "package-000001" {
				t.Fatalf("%s: the second package is lost: %+v", w.name, r)
			}
			if alone := extracttest.Run(t, New(), path, w.bytes(t, 1, func(int) []byte { return good })); !cmp.Equal(
				[]inventory.Package{r.Packages[len(r.Packages)-1]}, alone.Packages, cmpopts.EquateEmpty()) {
				t.Fatalf("%s: the second package differs: %+v", w.name, r.Packages)
			}
		}
	})
}
