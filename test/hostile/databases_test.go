package hostile

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"

	"stella/internal/testkit"
)

// realDatabase is one that rpm wrote, from the tests of the extractor.
func realDatabase(t *testing.T, name string) []byte {
	t.Helper()
	f, err := os.Open(filepath.Join("../../internal/scan/extract/rpm/testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// rpmWith is a layer with a database that rpm wrote, changed.
func rpmWith(path, from string, change func(b []byte) []byte) func(*image) {
	return func(m *image) {
		b := change(realDatabase(m.t, from))
		m.hostile(gzipped, func(w *tarball) { w.file(path, string(b)) })
	}
}

// trampled overwrites every page but the first.
func trampled(b []byte) []byte {
	over, _ := io.ReadAll(noise(int64(len(b))).open())
	return append(bytes.Clone(b[:min(4096, len(b)/2)]), over...)
}

const (
	rpmBDB    = "var/lib/rpm/Packages"
	rpmNDB    = "var/lib/rpm/Packages.db"
	rpmSQLite = "var/lib/rpm/rpmdb.sqlite"
)

var databaseInputs = []input{
	{name: "rpm-bdb-truncated", what: "an rpm database (Berkeley DB) cut in half", does: "names the file and what cannot be read",
		make: rpmWith(rpmBDB, "Packages.gz", halved), exit: 5, says: []string{rpmBDB, "rpm"}},
	{name: "rpm-bdb-trampled", what: "an rpm database (Berkeley DB) whose pages are noise", does: "names the file and what cannot be read",
		make: rpmWith(rpmBDB, "Packages.gz", trampled), exit: 5, says: []string{rpmBDB, "rpm"}},
	{name: "rpm-sqlite-truncated", what: "an rpm database (SQLite) cut in half", does: "names the file and what cannot be read",
		make: rpmWith(rpmSQLite, "rpmdb.sqlite.gz", halved), exit: 5, says: []string{rpmSQLite, "rpm"}},
	{name: "rpm-sqlite-trampled", what: "an rpm database (SQLite) whose pages are noise", does: "names the file and what cannot be read",
		make: rpmWith(rpmSQLite, "rpmdb.sqlite.gz", trampled), exit: 5, says: []string{rpmSQLite, "rpm"}},
	{name: "rpm-ndb-noise", what: "an rpm database (ndb) that is noise behind its header", does: "names the file and what cannot be read",
		make: in(rpmNDB, join(text("RpmP\x00\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\xff\x00\x00\x00"), noise(1<<20))), exit: 5, says: []string{rpmNDB, "rpm"}},
	{name: "rpm-garbage", what: "rpm databases of noise", does: "names each",
		make: func(m *image) {
			m.hostile(gzipped, func(w *tarball) {
				for _, p := range []string{rpmBDB, rpmNDB, rpmSQLite} {
					w.made(p, noise(1<<20))
				}
			})
		}, exit: 5, says: []string{rpmBDB, rpmNDB, rpmSQLite}},
	{name: "rpm-sqlite-64m", what: "an rpm database (SQLite) of 64 MiB: 400 packages with 6,500 files each", does: "finds them all",
		make: func(m *image) {
			path := sqliteDatabase(m.t, 400)
			m.hostile(zstded, func(w *tarball) { w.made(rpmSQLite, onDisk(m.t, path)) })
		}, counts: map[string]int{"rpm": 400}},
}

// onDisk is a file as content.
func onDisk(t *testing.T, path string) content {
	t.Helper()
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return content{st.Size(), func() io.Reader {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}}
}

// sqliteDatabase has sqlite3 write a database as rpm does.
func sqliteDatabase(t *testing.T, n int) string {
	t.Helper()
	testkit.Need(t, testkit.Program("sqlite3"))
	path := filepath.Join(t.TempDir(), "rpmdb.sqlite")
	cmd := exec.Command("sqlite3", path)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(in, "CREATE TABLE Packages(hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL); BEGIN;")
	for i := range n {
		fmt.Fprintf(in, "INSERT INTO Packages(blob) VALUES (x'%x');\n", rpmHeader(i))
	}
	fmt.Fprintln(in, "COMMIT;")
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, out.Bytes())
	}
	return path
}

// rpmHeader is a package as rpm stores it: an index of tags, and their data (rpm's header format, lib/header.c).
func rpmHeader(i int) []byte {
	files := strings.Repeat("some-file-of-the-package\x00", 6500)
	var index, data []byte
	tags := []struct {
		tag, kind, count uint32
		value            string
	}{
		{1000, 6, 1, fmt.Sprintf("package-%06d\x00", i)},
		{1001, 6, 1, "1.0\x00"},
		{1002, 6, 1, "1\x00"},
		{1022, 6, 1, "noarch\x00"},
		{1117, 8, 6500, files},
	}
	for _, t := range tags {
		for _, v := range []uint32{t.tag, t.kind, uint32(len(data)), t.count} {
			index = binary.BigEndian.AppendUint32(index, v)
		}
		data = append(data, t.value...)
	}
	head := binary.BigEndian.AppendUint32(nil, uint32(len(tags)))
	head = binary.BigEndian.AppendUint32(head, uint32(len(data)))
	return append(append(head, index...), data...)
}
