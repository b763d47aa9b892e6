package scan

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"

	"stella/internal/scan/extract"
	"stella/internal/scan/inventory"
	"stella/internal/spool"
)

// spooling is the marker format as one that needs random access.
type spooling struct{ marker }

func (spooling) Extract(ctx context.Context, f *extract.File, out extract.Output) error {
	at, err := f.ReaderAt()
	if err != nil {
		return err
	}
	var last [1]byte
	if _, err := at.ReadAt(last[:], f.Size-1); err != nil || last[0] != '\n' {
		return errors.New("what was spooled does not read back")
	}
	return out.Package(&inventory.Package{Type: inventory.NPM, Name: f.Path, Version: "1"})
}

// A scan without temporary files gives the same bytes, and makes no file.
func TestInMemory(t *testing.T) {
	t.Chdir(t.TempDir())
	ref := "oci-dir:" + layout(t, nil, gz(t, tarOf(t, file("large.pkg", strings.Repeat("x\n", spoolMemory)))))
	o := options(t, ref)
	o.Extractors = []extract.Extractor{spooling{}}
	want := stored(t, run(t, o))
	o.TempDir = spool.InMemory
	r := run(t, o)
	if stored(t, r) != want {
		t.Error("the result differs from one with temporary files")
	}
	if r.Stats.PeakDisk == 0 {
		t.Error("nothing was spooled; the test shows nothing")
	}
	if left, err := os.ReadDir("."); err != nil || len(left) > 0 {
		t.Errorf("files were made: %v, %v", left, err)
	}
}

// Whoever watches is told of each phase, and of a large file before it is read.
func TestNotify(t *testing.T) {
	ref := "oci-dir:" + layout(t, nil, gz(t, tarOf(t,
		file("small.pkg", "a"), file("large.pkg", strings.Repeat("!\n", NoticeSize/2)))))
	o := options(t, ref)
	o.Extractors = []extract.Extractor{marker{}}
	var mu sync.Mutex
	var seen []string
	o.Monitor = new(Monitor)
	o.Monitor.Notify = func() {
		s := o.Monitor.Snapshot()
		now := string(s.Phase)
		for _, a := range s.Active {
			now += " " + a.Path
			if a.Size != NoticeSize {
				t.Errorf("%s has %d bytes", a.Path, a.Size)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, now)
	}
	run(t, o)
	if got := strings.Join(seen, ", "); got != "layers, layers large.pkg, links, squash, done" {
		t.Errorf("told of: %s", got)
	}
}
