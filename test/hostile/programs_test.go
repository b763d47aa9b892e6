package hostile

import (
	"bytes"
	"encoding/binary"
	"io"

	"github.com/klauspost/compress/zlib"
)

var programInputs = []input{
	{name: "auditable-bomb", what: "a Rust program whose list of crates is 1 MiB of zlib around 1 GiB of spaces", does: "reads 4 MiB of it, keeps the crates in those, and says so",
		make: func(m *image) {
			var b bytes.Buffer
			z, err := zlib.NewWriterLevel(&b, zlib.BestSpeed)
			if err != nil {
				m.t.Fatal(err)
			}
			io.Copy(z, join(text(`{"packages":[{"name":"early","version":"1.0.0","source":"crates.io","root":true}`), repeat(" ", 1<<30), text(`]}`)).open())
			z.Close()
			m.hostile(gzipped, func(w *tarball) { w.file("usr/bin/audited", string(elf(".dep-v0", b.Bytes()))) })
		}, exit: 5, says: []string{"usr/bin/audited", ".dep-v0"}, finds: []string{"pkg:cargo/early@1.0.0"}},
	{name: "auditable-garbage", what: "a Rust program whose list of crates is noise", does: "names the program",
		make: func(m *image) {
			b, _ := io.ReadAll(noise(10_000).open())
			m.hostile(gzipped, func(w *tarball) { w.file("usr/bin/audited", string(elf(".dep-v0", b))) })
		}, exit: 5, says: []string{"usr/bin/audited", ".dep-v0"}},
	{name: "go-binary-122m", what: "a Go program of 122 MB", does: "finds its modules",
		make: func(m *image) {
			stella := onDisk(m.t, buildStella(m.t))
			m.hostile(gzipped, func(w *tarball) { w.made("usr/bin/big", join(stella, noise(122e6-stella.size))) })
		}, finds: []string{"pkg:golang/github.com/spf13/cobra@v1", "pkg:golang/stdlib@"}},
	{name: "go-binary-truncated", what: "a Go program cut in half", does: "names the program",
		make: func(m *image) {
			stella := onDisk(m.t, buildStella(m.t))
			m.hostile(gzipped, func(w *tarball) {
				w.made("usr/bin/cut", content{stella.size / 2, func() io.Reader { return io.LimitReader(stella.open(), stella.size/2) }})
			})
		}, exit: 5, says: []string{"usr/bin/cut"}},
}

// elf is a 64-bit program of three sections: none, the one given, and the names.
func elf(name string, content []byte) []byte {
	le := binary.LittleEndian
	names := "\x00" + name + "\x00.shstrtab\x00"
	const head, section = 64, 64
	namesAt := head + len(content)
	tableAt := (namesAt + len(names) + 7) &^ 7
	b := make([]byte, tableAt+3*section)
	copy(b, "\x7fELF\x02\x01\x01")
	le.PutUint16(b[16:], 2)  // executable
	le.PutUint16(b[18:], 62) // x86-64
	le.PutUint32(b[20:], 1)
	le.PutUint64(b[40:], uint64(tableAt))
	le.PutUint16(b[52:], head)
	le.PutUint16(b[54:], 56)
	le.PutUint16(b[58:], section)
	le.PutUint16(b[60:], 3)
	le.PutUint16(b[62:], 2)
	copy(b[head:], content)
	copy(b[namesAt:], names)
	for i, s := range []struct{ name, typ, at, size int }{{}, {1, 1, head, len(content)}, {2 + len(name), 3, namesAt, len(names)}} {
		h := b[tableAt+i*section:]
		le.PutUint32(h, uint32(s.name))
		le.PutUint32(h[4:], uint32(s.typ))
		le.PutUint64(h[24:], uint64(s.at))
		le.PutUint64(h[32:], uint64(s.size))
		le.PutUint64(h[48:], 1)
	}
	return b
}
