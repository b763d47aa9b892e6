package hostile

import (
	"archive/tar"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// middle is something for a damaged layer to break in: noise, so that half of its
// stored form is half of it.
func middle(w *tarball) { w.made("opt/data", noise(1<<20)) }

// damaged adds a layer whose stored bytes are changed by damage before they are promised.
func damaged(c codec, damage func(b []byte) []byte) func(*image) {
	return func(m *image) {
		b := damage(m.bytesOf(c, middle))
		m.stored(layerType+c.suffix, func(w io.Writer) { w.Write(b) })
	}
}

func halved(b []byte) []byte { return b[:len(b)/2] }

func flipped(at func(n int) int) func(b []byte) []byte {
	return func(b []byte) []byte { b[at(len(b))] ^= 0xff; return b }
}

// promised changes what the manifest says of a good layer.
func promised(lie func(m *image, d *descriptor)) func(*image) {
	return func(m *image) { lie(m, m.hostile(gzipped, middle)) }
}

var layerInputs = []input{
	{name: "gzip-truncated", what: "a gzip layer that ends in the middle", does: "reports the layer's damage and the last entry; keeps what came before",
		make: damaged(gzipped, halved), exit: 5, cut: true, says: []string{"gzip", "opt/data", "ends in the middle"}},
	{name: "gzip-corrupt", what: "a gzip layer with a changed bytes in the middle", does: "reports the layer's damage; keeps what came before",
		make: damaged(gzipped, func(b []byte) []byte { // noise is stored, and only the headers between its blocks can be wrong
			for i := len(b) / 2; i < len(b)/2+256<<10; i++ {
				b[i] = 0xff
			}
			return b
		}), exit: 5, says: []string{"gzip", "damaged"}, cut: true},
	{name: "gzip-checksum", what: "a gzip layer whose checksum is wrong", does: "reports it; everything is in the result",
		make: damaged(gzipped, flipped(func(n int) int { return n - 8 })), exit: 5, says: []string{"gzip", "checksum"}},
	{name: "gzip-header", what: "a gzip header and nothing else", does: "reports the layer's damage",
		make: damaged(gzipped, func(b []byte) []byte { return b[:10] }), exit: 5, lost: true, says: []string{"gzip"}},
	{name: "zstd-truncated", what: "a zstd layer that ends in the middle", does: "reports the layer's damage; keeps what came before",
		make: damaged(zstded, halved), exit: 5, cut: true, says: []string{"zstd", "ends in the middle"}},
	{name: "zstd-corrupt", what: "a zstd layer with changed bytes in the middle", does: "reports the layer's damage; keeps what came before",
		make: damaged(zstded, func(b []byte) []byte {
			for i := len(b) / 2; i < len(b)/2+256<<10; i++ {
				b[i] = 0xff
			}
			return b
		}), exit: 5, cut: true, says: []string{"zstd", "damaged"}},
	{name: "tar-truncated", what: "a layer whose tar ends in the middle of a file", does: "reports the layer's damage and the last entry; keeps what came before",
		make: damaged(plain, halved), exit: 5, cut: true, says: []string{"opt/data"}},
	{name: "tar-corrupt", what: "a tar header with a wrong checksum", does: "reports the layer's damage and the last entry; keeps what came before",
		make: func(m *image) {
			m.hostile(gzipped, func(w *tarball) {
				w.Flush()
				w.out.Write([]byte(strings.Repeat("\xa5", 512)))
			})
		}, exit: 5, cut: true, says: []string{"opt/before"}},
	{name: "tar-garbage", what: "a layer of noise", does: "reports the layer's damage",
		make: func(m *image) {
			m.stored(layerType, func(w io.Writer) { io.Copy(w, noise(1<<20).open()) })
		}, exit: 5, lost: true, says: []string{"its start"}},
	{name: "layer-empty", what: "a layer of no bytes", does: "takes it for a layer without entries",
		make: func(m *image) { m.stored(layerType, func(io.Writer) {}) }, exit: 0, lost: true},

	{name: "digest-wrong", what: "a layer whose bytes are not those of the digest", does: "refuses the image: nobody can say what the layer is",
		make: promised(func(m *image, d *descriptor) {
			b, err := os.ReadFile(m.blob(d))
			if err == nil {
				b[len(b)-1] ^= 1
				err = os.WriteFile(m.blob(d), b, 0o644)
			}
			if err != nil {
				m.t.Fatal(err)
			}
		}), exit: 1, says: []string{"digest"}},
	{name: "size-too-small", what: "a manifest that promises a byte less than the layer has", does: "refuses the image",
		make: promised(func(_ *image, d *descriptor) { d.Size-- }), exit: 1, says: []string{"bytes"}},
	{name: "size-too-large", what: "a manifest that promises 8 EiB", does: "refuses the image",
		make: promised(func(_ *image, d *descriptor) { d.Size = 1<<63 - 1 }), exit: 1, says: []string{"bytes"}},
	{name: "size-negative", what: "a manifest that promises -1 bytes", does: "refuses the image",
		make: promised(func(_ *image, d *descriptor) { d.Size = -1 }), exit: 1, says: []string{"-1"}},
	{name: "blob-missing", what: "a layer that is not there", does: "refuses the image",
		make: promised(func(m *image, d *descriptor) { os.Remove(m.blob(d)) }), exit: 1},

	{name: "gzip-bomb", what: "a gzip layer with one file of 3 GiB of zeros", does: "reads to the end: gzip cannot expand more than 1032-fold",
		make: func(m *image) {
			m.hostile(gzipped, func(w *tarball) { w.made("opt/zeros", zeros(3<<30)) })
		}},
	{name: "zstd-bomb", what: "a zstd layer that says 64 GiB of zeros in 2 MiB", does: "stops after 4 GiB, names the layer and keeps what came before",
		make: func(m *image) { m.hostileFrame(64<<30, 8<<20) }, exit: 5, cut: true, says: []string{"bomb"}},
	{name: "zstd-window", what: "a zstd layer with a window of 128 MiB (`zstd --long=27`)", does: "refuses before it is tried, and names the memory needed; with that, scans it",
		make: func(m *image) { m.hostileFrame(300<<20, 128<<20) },
		exit: 6, says: []string{"128 MiB", "--max-memory"}, check: withNamedMemory},

	{name: "pax-1g-ignored", what: "a PAX header of 1 GiB: a comment", does: "skips it",
		make: func(m *image) { m.hostile(zstded, extended('x', "comment", 1<<30)) }},
	{name: "pax-1g-path", what: "a PAX header of 1 GiB: a path", does: "leaves the entry out and says so",
		make: func(m *image) { m.hostile(zstded, extended('x', "path", 1<<30)) }, exit: 5, says: []string{"left out"}},
	{name: "pax-1g-global", what: "a global PAX header of 1 GiB", does: "skips it",
		make: func(m *image) { m.hostile(zstded, extended('g', "comment", 1<<30)) }},
	{name: "gnu-1g-name", what: "a GNU long name of 1 GiB", does: "leaves the entry out and says so",
		make: func(m *image) { m.hostile(zstded, extended('L', "", 1<<30)) }, exit: 5, says: []string{"left out"}},

	{name: "layers-10000", what: "10,000 layers with a package each", does: "reads them all",
		make: func(m *image) {
			m.hostile(gzipped, func(*tarball) {})
			for i := range 10_000 {
				m.layer(plain, func(w *tarball) { w.npm(fmt.Sprintf("opt/p%d", i)) })
			}
		}, counts: map[string]int{"npm": 10_004}},
}

// extended writes an extended header with one record of so many bytes, and the file that it belongs to.
func extended(typ byte, key string, size int64) func(w *tarball) {
	return func(w *tarball) {
		c := join(repeat("a", size), text("\x00"))
		if key != "" {
			head := fmt.Sprintf("%d %s=", size, key)
			c = join(text(head), repeat("a", size-int64(len(head))-1), text("\n"))
		}
		w.Flush()
		raw := header(typ, "x", c.size)
		w.out.Write(raw[:])
		io.Copy(w.out, c.open())
		io.Copy(w.out, zeros((512-c.size%512)%512).open())
		w.file("opt/belongs", "x")
	}
}

// header is a tar header made by hand, for what archive/tar refuses to write.
func header(typ byte, name string, size int64) (h [512]byte) {
	copy(h[:], name)
	copy(h[100:], "0000644\x000000000\x000000000\x00")
	copy(h[124:], fmt.Sprintf("%011o\x00%011o\x00", size, 0))
	h[156] = typ
	copy(h[257:], "ustar\x0000")
	copy(h[148:], "        ")
	sum := 0
	for _, b := range h {
		sum += int(b)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	return h
}

// hostileFrame adds a layer with a file of zeros, stored as a zstd frame of repeated blocks
// that asks for that window (RFC 8878, 3.1.1). What comes before is in the frame too:
// the window of the first one is what can be refused before anything is read.
func (m *image) hostileFrame(size, window int64) {
	m.stored(layerType+"+zstd", func(out io.Writer) {
		var before strings.Builder
		w := &tarball{t: m.t, Writer: tar.NewWriter(&before)}
		w.npm("opt/before")
		if err := w.WriteHeader(&tar.Header{Name: "opt/zeros", Typeflag: tar.TypeReg, Size: size, Mode: 0o644}); err != nil {
			m.t.Fatal(err)
		}
		frame(out, window, before.String(), size)
		m.compress(out, zstded, func(w *tarball) { w.npm("opt/after") })
	})
}

// frame writes one zstd frame: raw bytes, then zeros in repeated blocks of 128 KiB.
func frame(out io.Writer, window int64, raw string, size int64) {
	exponent := 0
	for 1<<(10+exponent) < window {
		exponent++
	}
	var b []byte
	b = append(b, 0x28, 0xb5, 0x2f, 0xfd, 0x00, byte(exponent<<3))
	block := func(kind, n int, last bool, content ...byte) {
		h := uint32(n)<<3 | uint32(kind)<<1
		if last {
			h |= 1
		}
		var le [4]byte
		binary.LittleEndian.PutUint32(le[:], h)
		b = append(append(b, le[:3]...), content...)
	}
	block(0, len(raw), false, []byte(raw)...)
	const most = 128 << 10
	for ; size > most; size -= most {
		block(1, most, false, 0)
		if len(b) > 1<<20 {
			out.Write(b)
			b = b[:0]
		}
	}
	block(1, int(size), true, 0)
	out.Write(b)
}

// withNamedMemory scans once more with what the refusal named.
func withNamedMemory(t *testing.T, w *world, layout string, o *outcome) {
	named := regexp.MustCompile(`--max-memory (\d+)Mi`).FindStringSubmatch(o.message)
	if named == nil {
		t.Fatalf("no amount is named: %s", o.message)
	}
	mib, _ := strconv.ParseInt(named[1], 10, 64)
	w.memory = mib << 20
	again := w.scan("oci-dir:"+layout, "--max-memory", named[1]+"Mi")
	if again.exit != 0 || !again.has("pkg:npm/before@1") || !again.has("pkg:npm/after@1") {
		t.Errorf("with the named memory: exit code %d\n%s", again.exit, again.message)
	}
}
