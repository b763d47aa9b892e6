package tarstream

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

const benchEntries = 300_000

// BenchmarkWalk reads the headers of 300,000 entries and skips what they hold, as the scanner does for most of a layer.
func BenchmarkWalk(b *testing.B) {
	for _, format := range []tar.Format{tar.FormatUSTAR, tar.FormatPAX} {
		chunk := benchChunk(b, format)
		run := func(name string, next func(src io.Reader) func() error) {
			b.Run(format.String()+"/"+name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					f := next(&loop{chunk: chunk})
					for range benchEntries {
						if err := f(); err != nil {
							b.Fatal(err)
						}
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchEntries, "ns/entry")
			})
		}
		run("tarstream", func(src io.Reader) func() error {
			r := NewReader(src)
			return func() error { _, err := r.Next(); return err }
		})
		run("archive-tar", func(src io.Reader) func() error {
			r := tar.NewReader(src)
			return func() error { _, err := r.Next(); return err }
		})
	}
}

// benchChunk is 1000 entries: files of up to 8 KiB, every tenth a link.
func benchChunk(b *testing.B, format tar.Format) []byte {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for i := range 1000 {
		h := &tar.Header{Name: fmt.Sprintf("usr/lib/node_modules/some-package/lib/module-%d.js", i), Mode: 0o644, Typeflag: TypeReg, Size: int64(i*i) % 8192, Format: format}
		if i%10 == 0 {
			h.Typeflag, h.Linkname, h.Size = TypeSymlink, "../other.js", 0
		}
		if format == tar.FormatPAX {
			h.PAXRecords = map[string]string{"SCHILY.xattr.user.x": "value"}
			h.ModTime = time.Unix(1700000000, 123456789)
		}
		if err := w.WriteHeader(h); err != nil {
			b.Fatal(err)
		}
		io.WriteString(w, strings.Repeat("x", int(h.Size)))
	}
	if err := w.Flush(); err != nil {
		b.Fatal(err)
	}
	return buf.Bytes()
}

// loop gives a chunk over and over, and seeks as the stream of a layer does.
type loop struct {
	chunk []byte
	at    int
	pos   int64
}

func (l *loop) Read(p []byte) (int, error) {
	n := copy(p, l.chunk[l.at:])
	l.Seek(int64(n), io.SeekCurrent)
	return n, nil
}

func (l *loop) Seek(n int64, whence int) (int64, error) {
	if whence != io.SeekCurrent || n < 0 {
		return 0, errors.New("only forward")
	}
	l.pos += n
	l.at = int((int64(l.at) + n) % int64(len(l.chunk)))
	return l.pos, nil
}
