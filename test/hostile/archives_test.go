package hostile

import (
	"archive/zip"
	"bytes"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/flate"
)

const jarPath = "app/hostile-1.jar"

// properties is what Maven leaves in the jar of one artifact.
func properties(artifact string) (name, text string) {
	return "META-INF/maven/org.example/" + artifact + "/pom.properties", "groupId=org.example\nartifactId=" + artifact + "\nversion=1\n"
}

// archive is a zip file being written.
type archive struct {
	*zip.Writer
	t *testing.T
}

// archiveOf makes a zip file in memory.
func archiveOf(t *testing.T, fill func(a *archive)) []byte {
	t.Helper()
	var b bytes.Buffer
	archiveTo(t, &b, fill)
	return b.Bytes()
}

func archiveTo(t *testing.T, out io.Writer, fill func(a *archive)) {
	t.Helper()
	a := &archive{zip.NewWriter(out), t}
	a.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, flate.BestSpeed) })
	fill(a)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
}

func (a *archive) member(name string, method uint16, c content) {
	w, err := a.CreateHeader(&zip.FileHeader{Name: name, Method: method})
	if err != nil {
		a.t.Fatal(err)
	}
	if _, err := io.Copy(w, c.open()); err != nil {
		a.t.Fatal(err)
	}
}

func (a *archive) maven(artifact string) {
	name, s := properties(artifact)
	a.member(name, zip.Deflate, text(s))
}

// zeros adds a deflated member of n units of 64 MiB of zeros, which is compressed once.
func (a *archive) zeros(name string, n int) {
	const unit = 64 << 20
	var b bytes.Buffer
	z, err := flate.NewWriter(&b, flate.BestSpeed)
	if err != nil {
		a.t.Fatal(err)
	}
	io.Copy(z, zeros(unit).open())
	z.Flush() // to a byte, and nothing refers to what was before
	end := []byte{0x03, 0x00}
	sum := crc32.NewIEEE()
	page := make([]byte, 1<<20)
	for range n * unit / len(page) {
		sum.Write(page)
	}
	h := &zip.FileHeader{Name: name, Method: zip.Deflate, CRC32: sum.Sum32(),
		UncompressedSize64: uint64(n) * unit, CompressedSize64: uint64(n*b.Len() + len(end))}
	w, err := a.CreateRaw(h)
	if err != nil {
		a.t.Fatal(err)
	}
	for range n {
		w.Write(b.Bytes())
	}
	w.Write(end)
}

// jar is a layer with a jar that is made on disk, and a good jar beside it.
func jar(fill func(a *archive)) func(*image) {
	return func(m *image) {
		f, err := os.Create(filepath.Join(m.t.TempDir(), "jar"))
		if err != nil {
			m.t.Fatal(err)
		}
		defer f.Close()
		archiveTo(m.t, f, fill)
		good := archiveOf(m.t, func(a *archive) { a.maven("good") })
		m.hostile(zstded, func(w *tarball) {
			w.made(jarPath, onDisk(m.t, f.Name()))
			w.file("app/good-1.jar", string(good))
		})
	}
}

// bytesJar is a layer with the bytes of a good jar, changed.
func bytesJar(change func(b []byte) []byte) func(*image) {
	return func(m *image) {
		b := change(archiveOf(m.t, func(a *archive) {
			a.maven("hostile")
			a.member("data", zip.Store, noise(100_000))
		}))
		m.hostile(gzipped, func(w *tarball) {
			w.file(jarPath, string(b))
			w.file("app/good-1.jar", string(archiveOf(m.t, func(a *archive) { a.maven("good") })))
		})
	}
}

// nested is a jar of about 150 MiB inside another, and a package in each.
func nested(method uint16) func(*image) {
	return jar(func(a *archive) {
		a.maven("hostile")
		inner := filepath.Join(a.t.TempDir(), "inner.jar")
		f, err := os.Create(inner)
		if err != nil {
			a.t.Fatal(err)
		}
		defer f.Close()
		archiveTo(a.t, f, func(b *archive) {
			b.member("data", zip.Store, noise(150<<20))
			b.maven("inner")
		})
		a.member("lib/inner-1.jar", method, onDisk(a.t, inner))
	})
}

// russian is a jar of ten jars of ten jars, so many levels deep; the innermost hold zeros.
func russian(t *testing.T, levels int) []byte {
	return archiveOf(t, func(a *archive) {
		if levels == 0 {
			a.member("zeros.jar", zip.Deflate, zeros(32<<20))
			return
		}
		inner := russian(t, levels-1)
		for i := range 10 {
			a.member(fmt.Sprintf("lib/%d.jar", i), zip.Deflate, text(string(inner)))
		}
	})
}

var (
	good        = []string{"pkg:maven/org.example/good@1"}
	goodHostile = append([]string{"pkg:maven/org.example/hostile@1"}, good...)
)

var archiveInputs = []input{
	{name: "jar-truncated", what: "a jar cut in half", does: "names the file", make: bytesJar(halved), exit: 5, says: []string{jarPath}, finds: good},
	{name: "jar-garbage", what: "a jar of noise", does: "names the file",
		make: bytesJar(func(b []byte) []byte { n, _ := io.ReadAll(noise(100_000).open()); return n }), exit: 5, says: []string{jarPath}, finds: good},
	{name: "jar-member-corrupt", what: "a jar whose pom.properties does not inflate", does: "names the member; identifies the jar by its name",
		make: bytesJar(func(b []byte) []byte {
			name, _ := properties("hostile")
			at := bytes.Index(b, []byte(name)) + len(name)
			copy(b[at:], "\xff\xff\xff\xff\xff\xff\xff\xff")
			return b
		}), exit: 5, says: []string{jarPath, "pom.properties"}, finds: good},
	{name: "jar-directory-corrupt", what: "a jar whose directory is overwritten", does: "names the file",
		make: bytesJar(func(b []byte) []byte {
			at := bytes.LastIndex(b, []byte("PK\x01\x02"))
			copy(b[at:], strings.Repeat("\xff", 30))
			return b
		}), exit: 5, says: []string{jarPath}, finds: good},
	{name: "jar-members-150000", what: "a jar with 150,000 members", does: "finds the package",
		make: jar(func(a *archive) {
			for i := range 150_000 {
				a.member("org/example/"+name(i)+".class", zip.Store, text("x"))
			}
			a.maven("hostile")
		}), finds: goodHostile},
	{name: "jar-nested-150m-deflated", what: "a jar with a jar of 150 MiB in it, deflated", does: "finds both packages",
		make: nested(zip.Deflate), finds: append([]string{"pkg:maven/org.example/inner@1"}, goodHostile...)},
	{name: "jar-nested-150m-stored", what: "a jar with a jar of 150 MiB in it, stored", does: "finds both packages",
		make: nested(zip.Store), finds: append([]string{"pkg:maven/org.example/inner@1"}, goodHostile...)},
	{name: "jar-bomb-nested", what: "a jar of ten jars of ten jars, six levels, a million times 32 MiB at the bottom (as 42.zip)", does: "stops when it has inflated far more than any honest jar, and says so",
		make: func(m *image) {
			b := russian(m.t, 6)
			m.hostile(gzipped, func(w *tarball) {
				w.file(jarPath, string(b))
				w.file("app/good-1.jar", string(archiveOf(m.t, func(a *archive) { a.maven("good") })))
			})
		}, exit: 5, says: []string{jarPath, "inflate"}, finds: good},
	{name: "jar-bomb-member", what: "a jar whose pom.properties is 4 GiB of zeros", does: "does not inflate it, and says so",
		make: jar(func(a *archive) {
			p, _ := properties("hostile")
			a.zeros(p, 64)
		}), exit: 5, says: []string{jarPath, "pom.properties"}, finds: good},
	{name: "jar-bomb-inner", what: "a jar with a jar of 4 GiB of zeros", does: "does not inflate it, and says so",
		make: jar(func(a *archive) {
			a.maven("hostile")
			a.zeros("lib/inner.jar", 64)
		}), exit: 5, says: []string{jarPath, "inner.jar"}, finds: goodHostile},
}
