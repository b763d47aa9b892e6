package fragment

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stella/internal/scan/inventory"
)

var full = inventory.Package{
	Type: inventory.RPM, Namespace: "ns", Name: "näme", Version: "1", Supplier: "s",
	Qualifiers: []inventory.Qualifier{{Key: "arch", Value: "x"}}, Licenses: []string{"MIT", ""}, Declared: true,
	Provides: []string{"rpm:a"}, Requires: []inventory.Requirement{{"rpm:b", "rpm:c"}, {"rpm:d"}},
}

// sample writes one record of every kind.
func sample(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	w := NewWriter(nil)
	w.Entry(Dir, "left over from another layer", "")
	w.Reset(&b)
	w.Entry(Dir, "usr", "")
	w.Entry(File, "usr/lib/a", "")
	if err := w.Package(w.Seq(), "usr/lib/a", "in/jar", "marker", &full); err != nil {
		t.Fatal(err)
	}
	w.Entry(Symlink, "usr/lib/b", "../c")
	w.Hide(Whiteout, "usr/gone")
	w.Hide(Opaque, "")
	w.Entry(File, "usr/lib/h", "")
	w.Link("usr/lib/h", "usr/store", "marker", 0o755)
	w.Release(w.Seq(), "etc/os-release", &inventory.Release{ID: "debian", VersionID: "12"})
	w.Problem("usr/lib/h", "marker", "torn")
	if _, err := w.Close(10, 20, 2); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func read(src Source, parts Part) (out []string, err error) {
	r := NewReader(src, parts)
	var rec Record
	for {
		if err := r.Next(&rec); err != nil {
			return out, err
		}
		out = append(out, fmt.Sprintf("%c %d %s|%s|%s|%s|%s|%s|%v", rec.Kind, rec.Seq, rec.Path, rec.Target, rec.Member, rec.Extractor, rec.Reason, rec.Release.ID, rec.Keys))
	}
}

func TestRoundTrip(t *testing.T) {
	src := bytes.NewReader(sample(t))
	stats, err := Check(src)
	if want := (Stats{Compressed: 10, Uncompressed: 20, Entries: 4, Files: 2, Packages: 1, Links: 1}); err != nil || stats != want {
		t.Errorf("%+v, %v", stats, err)
	}
	paths := []string{"d 1 usr||||||[]", "f 2 usr/lib/a||||||[]", "l 3 usr/lib/b|../c|||||[]", "w 0 usr/gone||||||[]", "o 0 ||||||[]", "f 4 usr/lib/h||||||[]"}
	findings := []string{
		"p 2 usr/lib/a||in/jar|marker|||[]", "v 0 ||||||[rpm:a]", "r 0 ||||||[rpm:b rpm:c]", "r 0 ||||||[rpm:d]",
		"h 4 usr/lib/h|usr/store||marker|||[]", "e 4 etc/os-release|||||debian|[]", "x 4 usr/lib/h|||marker|torn||[]"}
	for parts, want := range map[Part][]string{Paths: paths, Findings: findings} {
		got, err := read(src, parts)
		if err != io.EOF {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("part %d (-want +got)\n%s", parts, diff)
		}
	}
	if all, _ := read(src, Paths|Findings); len(all) != len(paths)+len(findings) {
		t.Errorf("%d records in all", len(all))
	}
}

func TestPackageRoundTrip(t *testing.T) {
	b, err := Encode([]byte("before"), &full)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(b[len("before"):])
	want := full
	want.Provides, want.Requires = nil, nil // they are records of their own
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got)\n%s", err, diff)
	}
}

func TestPackageThatIsTooLarge(t *testing.T) {
	for name, p := range map[string]inventory.Package{
		"licences":   {Type: "deb", Name: "a", Licenses: make([]string, maxList+1)},
		"qualifiers": {Type: "deb", Name: "a", Qualifiers: make([]inventory.Qualifier, maxList+1)},
		"bytes":      {Type: "deb", Name: strings.Repeat("a", maxEncoded)},
	} {
		w := NewWriter(io.Discard)
		if err := w.Package(1, "p", "", "x", &p); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
		if s, err := w.Close(0, 0, 0); err != nil || s.Packages != 0 {
			t.Errorf("%s: counted, %v", name, err)
		}
	}
}

// Every single cut and every single flipped bit is noticed.
func TestCheckNoticesDamage(t *testing.T) {
	good := sample(t)
	for i := range good {
		if _, err := Check(bytes.NewReader(good[:i])); !errors.Is(err, ErrDamaged) {
			t.Errorf("cut after %d bytes: %v", i, err)
		}
		bad := bytes.Clone(good)
		bad[i] ^= 0x10
		if _, err := Check(bytes.NewReader(bad)); !errors.Is(err, ErrDamaged) {
			t.Errorf("bit flipped in byte %d: %v", i, err)
		}
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestWriteErrorIsReported(t *testing.T) {
	w := NewWriter(failing{})
	for range 10_000 {
		w.Entry(File, "a/path/that/fills/the/buffer", "")
	}
	if w.Err() == nil {
		t.Error("a failing disk goes unnoticed")
	}
	if _, err := w.Close(0, 0, 0); err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Error(err)
	}
}

// Whatever the bytes: no panic, an end, and no more memory than a record has.
func FuzzReader(f *testing.F) {
	f.Add(sample(f))
	f.Add([]byte{'p', 1, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		out, err := read(bytes.NewReader(b), Paths|Findings)
		if err == nil || len(out) > len(b) {
			t.Errorf("%d records from %d bytes, %v", len(out), len(b), err)
		}
	})
}

// What decodes encodes to something that decodes to the same.
func FuzzDecode(f *testing.F) {
	b, err := Encode(nil, &full)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Decode(b)
		if err != nil {
			return
		}
		again, err := Encode(nil, &p)
		if errors.Is(err, ErrTooLarge) {
			return
		}
		q, err := Decode(again)
		if diff := cmp.Diff(p, q); err != nil || diff != "" {
			t.Errorf("%v\n%s", err, diff)
		}
	})
}
