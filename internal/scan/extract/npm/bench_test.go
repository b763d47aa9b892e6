package npm

import (
	"bytes"
	"strings"
	"testing"

	"stella/internal/scan/extract"
	"stella/internal/scan/extract/extracttest"
	"stella/internal/spool"
)

// BenchmarkManifests reads the manifests of an installed tree one after the
// other, as a scan does.
func BenchmarkManifests(b *testing.B) {
	type file struct {
		h    extract.Header
		data []byte
	}
	var files []file
	size := 0
	for _, part := range strings.Split(string(read(b, "installed.txt")), "== ")[1:] {
		path, content, _ := strings.Cut(part, "\n")
		files = append(files, file{extracttest.Header("srv/"+path, int64(len(content))), []byte(content)})
		size += len(content)
	}
	space := spool.NewSpace(b.TempDir(), 64<<10)
	r := bytes.NewReader(nil)
	f := extract.NewFile(files[0].h, onlyReader{r}, space)
	defer f.Close()
	out := new(extracttest.Result)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		out.Packages, out.Members = out.Packages[:0], out.Members[:0]
		for _, x := range files {
			r.Reset(x.data)
			f.Reset(x.h, onlyReader{r}, space)
			if err := New().Extract(b.Context(), f, out); err != nil {
				b.Fatal(err)
			}
		}
	}
}

type onlyReader struct{ r *bytes.Reader }

func (o onlyReader) Read(p []byte) (int, error) { return o.r.Read(p) }
