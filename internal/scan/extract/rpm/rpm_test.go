package rpm

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"stella/internal/scan/extract"
	"stella/internal/scan/extract/extracttest"
	"stella/internal/scan/inventory"
)

const path = "var/lib/rpm/Packages"

// fixture unpacks a file of testdata. All three hold the same four headers, of
// packages built with rpmbuild 4.18 for this test and of an OpenPGP key: rpmdb.sqlite as rpm -i and rpm --import
// wrote it, Packages as db5.3_load made a Berkeley DB 5.3 of its rows (rpm reads it with
// the backend bdb_ro), and Packages.be the same in big-endian order.
func fixture(t testing.TB, name string) []byte {
	t.Helper()
	f, err := os.Open("testdata/" + name + ".gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

var fixtures = []string{"rpmdb.sqlite", "Packages", "Packages.be"}

func TestWants(t *testing.T) {
	for path, want := range map[string]bool{
		"var/lib/rpm/Packages":                   true,
		"var/lib/rpm/Packages.db":                true,
		"var/lib/rpm/rpmdb.sqlite":               true,
		"usr/share/rpm/rpmdb.sqlite":             true,
		"usr/lib/sysimage/rpm/rpmdb.sqlite":      true,
		"srv/root/usr/lib/sysimage/rpm/Packages": true,
		"usr/lib/sysimage/rpm/rpmdb.sqlite-wal":  true,
		"usr/lib/sysimage/rpm/rpmdb.sqlite-shm":  false,
		"var/lib/rpm/Name":                       false,
		"var/lib/rpm/sub/Packages":               false,
		"xvar/lib/rpm/Packages":                  false,
		"home/rpmdb.sqlite":                      false,
	} {
		if got := New().Wants(extract.Header{Path: path, Size: 4096}); got != want {
			t.Errorf("Wants(%q) = %v", path, got)
		}
	}
	if New().Wants(extract.Header{Path: "var/lib/rpm/rpmdb.sqlite-wal"}) {
		t.Error("an empty write-ahead log is wanted")
	}
	if n := testing.AllocsPerRun(100, func() { New().Wants(extract.Header{Path: "srv/usr/lib/sysimage/rpm/Packages"}) }); n != 0 {
		t.Errorf("Wants allocates %v times", n)
	}
}

// The values agree with rpm -qa of the database that rpm wrote.
func TestFormats(t *testing.T) {
	q := func(kv ...string) (q []inventory.Qualifier) {
		for i := 0; i < len(kv); i += 2 {
			q = append(q, inventory.Qualifier{Key: kv[i], Value: kv[i+1]})
		}
		return q
	}
	const source, module = "lamp-1.4.0-3.test.src.rpm", "lamp:stream:8060020260101:deadbeef"
	lamp := inventory.Package{
		Type: inventory.RPM, Name: "lamp", Version: "1.4.0-3.test", Supplier: "Stella Test Project",
		Qualifiers: q("arch", "x86_64", "epoch", "2", "upstream", source, "rpmmod", module),
		Licenses:   []string{"MIT AND (Apache-2.0 OR BSD-3-Clause)"},
		Provides:   []string{"rpm:/usr/bin/lamp", "rpm:lamp", "rpm:lamp(x86-64)", "rpm:light(yellow)"},
		Requires:   []inventory.Requirement{{"rpm:/usr/bin/switch"}, {"rpm:socket"}},
	}
	shade := lamp
	shade.Name = "lamp-shade"
	shade.Provides = []string{"rpm:lamp-shade", "rpm:lamp-shade(x86-64)"}
	shade.Requires = []inventory.Requirement{{"rpm:lamp"}, {"rpm:light(yellow)"}}
	socket := inventory.Package{
		Type: inventory.RPM, Name: "socket", Version: "5-1", Qualifiers: q("arch", "noarch", "upstream", "socket-5-1.src.rpm"),
		Licenses: []string{"GPLv2+"}, Provides: []string{"rpm:socket"},
	}
	byName := cmpopts.SortSlices(func(a, b inventory.Package) bool { return a.Name < b.Name })
	for _, name := range fixtures {
		r := extracttest.Run(t, New(), path, fixture(t, name))
		if diff := cmp.Diff([]inventory.Package{lamp, shade, socket}, r.Packages, byName, cmpopts.EquateEmpty()); diff != "" || r.Err != nil || r.Reasons != nil {
			t.Errorf("%s: error %v, reasons %q\n%s", name, r.Err, r.Reasons, diff)
		}
	}
}

type writer struct {
	name string
	make func(n int, header func(i int) []byte) (int64, io.Reader)
}

var writers = []writer{{"Berkeley DB", makeBDB}, {"ndb", makeNDB}, {"SQLite", makeSQLite}}

func (w writer) bytes(t testing.TB, n int, header func(i int) []byte) []byte {
	t.Helper()
	size, r := w.make(n, header)
	data, err := io.ReadAll(r)
	if err != nil || int64(len(data)) != size {
		t.Fatalf("the %s writer gave %d of %d bytes: %v", w.name, len(data), size, err)
	}
	return data
}

// Headers of every length around those at which formats change how they keep them.
func TestSizes(t *testing.T) {
	for _, w := range writers {
		sizes := []int{0, 400, 70_000}
		for i := range 25 {
			sizes = append(sizes, 3500+i*20, 7700+i*20)
		}
		for _, size := range sizes {
			const n = 7
			r := extracttest.Run(t, New(), path, w.bytes(t, n, plain(size)))
			if len(r.Packages) != n || r.Err != nil || r.Reasons != nil {
				t.Fatalf("%s, headers of %d bytes: %d packages, error %v, reasons %q", w.name, size, len(r.Packages), r.Err, r.Reasons)
			}
			for i, p := range r.Packages {
				if p.Name != fmt.Sprintf("package-%06d", i) || p.Version != "1.0-1" || len(p.Requires) != 1 {
					t.Fatalf("%s: package %d is %+v", w.name, i, p)
				}
			}
		}
	}
}

func TestHeaders(t *testing.T) {
	name, version := tagData{tagName, "a"}, tagData{tagVersion, "1"}
	raw := func(edit func(h []byte)) []byte {
		h := makeHeader(name, version)
		edit(h)
		return h
	}
	for _, c := range []struct {
		name   string
		header []byte
		want   string // name and version, empty for no package
		reason string
	}{
		{"no release", makeHeader(name, version), "a 1", ""},
		{"a changed tag", makeHeader(name, version, tagData{tagRelease, "1"}, tagData{tagRelease, "2"}), "a 1-2", ""},
		{"no version", makeHeader(name, tagData{tagRelease, "1"}), "", "states no version of a"},
		{"a key", makeHeader(tagData{tagName, "gpg-pubkey"}, version), "", ""},
		{"a number for a name", makeHeader(tagData{tagName, uint32(1)}, version), "", "tag 1000: its type is 4"},
		{"one name for a list", makeHeader(name, version, tagData{tagRequire, "x"}), "", "tag 1049: its type is 6"},
		{"no tags", raw(func(h []byte) { h[3] = 0 }), "", "0 tags"},
		{"too many tags", raw(func(h []byte) { h[1] = 1 }), "", "65538 tags"},
		{"more tags than bytes", raw(func(h []byte) { h[3] = 200 }), "", "it states 200 tags"},
		{"more data than bytes", raw(func(h []byte) { h[6] = 1 }), "", "and has"},
		{"data outside", raw(func(h []byte) { h[16] = 0xff }), "", "tag 1000 is outside"},
		{"data in one place", raw(func(h []byte) { h[8+16+11] = 0 }), "", "tag 1001 is outside of the header or inside"},
		{"a string without end", raw(func(h []byte) { h[len(h)-1] = 'x' }), "", "a string has no end"},
		{"a list that is longer than the data", makeHeader(name, version, tagData{tagRequire, []string{"x"}}), "a 1", ""},
		{"rich and internal dependencies", makeHeader(name, version, tagData{tagRequire, []string{"(a if b)", "rpmlib(X)"}}), "a 1", ""},
		{"a long name", makeHeader(tagData{tagName, strings.Repeat("n", 100_000)}, version), strings.Repeat("n", inventory.MaxField) + " 1", ""},
		{"many provides", makeHeader(name, version, tagData{tagProvide, strings.Split(strings.Repeat("cap-a,cap-b,", 50_000), ",")}), "a 1", "of the licences and dependencies of a were left out"},
	} {
		for _, w := range writers {
			r := extracttest.Run(t, New(), path, w.bytes(t, 1, func(int) []byte { return c.header }))
			got := ""
			for _, p := range r.Packages {
				got += p.Name + " " + p.Version
			}
			if all := strings.Join(r.Reasons, "\n"); got != c.want || r.Err != nil || (c.reason == "") != (all == "") || !strings.Contains(all, c.reason) {
				t.Errorf("%s, %s: %.50q, error %v, reasons %q", w.name, c.name, got, r.Err, r.Reasons)
			}
		}
	}
}

func TestNotADatabase(t *testing.T) {
	btree := make([]byte, 8192)
	binary.LittleEndian.PutUint32(btree[12:], 0x053162)
	hash := func(edit func(b []byte)) []byte {
		b := fixture(t, "Packages")
		edit(b)
		return b
	}
	lite := func(edit func(b []byte)) []byte {
		b := fixture(t, "rpmdb.sqlite")
		edit(b)
		return b
	}
	ndb := func(edit func(b []byte)) []byte {
		b := writers[1].bytes(t, 1, plain(0))
		edit(b)
		return b
	}
	for want, data := range map[string][]byte{
		"is empty":                      nil,
		"in no known format":            []byte("hello"),
		`begins with "\x00\x00`:         btree,
		"Berkeley DB) is cut off":       hash(func([]byte) {})[:50],
		"pages of 0 bytes":              hash(func(b []byte) { clear(b[20:24]) }),
		"encrypted":                     hash(func(b []byte) { b[24] = 1 }),
		"SQLite) is cut off":            lite(func([]byte) {})[:99],
		"pages of 3 bytes":              lite(func(b []byte) { b[16], b[17] = 0, 3 }),
		"UTF-16":                        lite(func(b []byte) { b[59] = 2 }),
		"no table Packages":             lite(func(b []byte) { copy(b, bytes.ReplaceAll(b, []byte("tablePackages"), []byte("tableBackages"))) }),
		"ndb) is cut off":               ndb(func([]byte) {})[:20],
		"version 7":                     ndb(func(b []byte) { b[4] = 7 }),
		"bytes of slots in a file of 4": ndb(func(b []byte) { b[14] = 1 }),
		"states 0 bytes of slots":       ndb(func(b []byte) { b[12] = 0 }),
	} {
		if r := extracttest.Run(t, New(), path, data); r.Err == nil || !strings.Contains(r.Err.Error(), want) {
			t.Errorf("error %v does not contain %q", r.Err, want)
		}
	}
}
