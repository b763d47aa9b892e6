package cli

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"stella/internal/proc"
	"stella/internal/scan"
)

// The sampler books each sample under the phase and the layers of its moment.
func TestMemorySampler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// 100 samples of 10 MiB with layer 4 active, then 100 of 20 MiB without.
		start, peaks := time.Now(), 0
		late := func() bool { return time.Since(start) >= time.Second }
		s := &memorySampler{
			read: func() (proc.Usage, error) {
				if late() {
					return proc.Usage{Resident: 20 << 20, File: 5 << 20}, nil
				}
				return proc.Usage{Resident: 10 << 20, File: 4 << 20}, nil
			},
			snapshot: func() scan.Snapshot {
				if late() {
					return scan.Snapshot{Phase: scan.PhaseSquash}
				}
				return scan.Snapshot{Phase: scan.PhaseLayers, Active: []scan.Active{{Layer: 4}}}
			},
			atPeak: func() { peaks++ },
		}
		s.begin()
		time.Sleep(2*time.Second - time.Millisecond)
		s.end()

		want := memoryUse{peak: 20 << 20, sum: 3000 << 20, samples: 200}
		if s.total != want || s.total.mean() != 15<<20 || s.file != 5<<20 {
			t.Errorf("total is %+v, file part %d", s.total, s.file)
		}
		if got := []phaseUse{
			{scan.PhaseLayers, memoryUse{10 << 20, 1000 << 20, 100}},
			{scan.PhaseSquash, memoryUse{20 << 20, 2000 << 20, 100}},
		}; !slices.Equal(s.phases, got) {
			t.Errorf("phases are %+v", s.phases)
		}
		if u := s.layers[4]; len(s.layers) != 1 || u == nil || u.samples != 100 {
			t.Errorf("layers are %+v", s.layers)
		}
		if peaks != 2 {
			t.Errorf("atPeak was called %d times; want 2", peaks)
		}
	})
}

func TestMemorySamplerKeepsItsError(t *testing.T) {
	s := &memorySampler{
		read:     func() (proc.Usage, error) { return proc.Usage{}, proc.ErrFormat },
		snapshot: func() scan.Snapshot { return scan.Snapshot{} },
		atPeak:   func() {},
	}
	s.begin()
	s.end()
	if !errors.Is(s.err, proc.ErrFormat) {
		t.Errorf("error is %v", s.err)
	}
}

// However long a scan takes, the timeline neither grows nor loses its peak.
func TestTimeline(t *testing.T) {
	const n = 100_000
	var line timeline
	for i := range n {
		v := int64(10)
		if i == 70_000 {
			v = 99
		}
		line.add(v)
	}
	if line.n > timelineSize || line.n < timelineSize/2 {
		t.Errorf("%d stretches; want between %d and %d", line.n, timelineSize/2, timelineSize)
	}
	cols := line.columns(50)
	if at := slices.Index(cols, 99); at < 34 || at > 36 {
		t.Errorf("the peak is in column %d of 50; want 35", at)
	}

	// A short one is stretched to the width.
	var short timeline
	short.add(1)
	short.add(3)
	if got := short.columns(4); !slices.Equal(got, []int64{1, 1, 3, 3}) {
		t.Errorf("columns are %v", got)
	}
	if got := new(timeline).columns(4); got != nil {
		t.Errorf("columns of nothing are %v", got)
	}
}

func TestChart(t *testing.T) {
	const mib = 1 << 20
	got := chart([]int64{2 * mib, 6 * mib, 8 * mib, 0}, 16*mib, 2*time.Second, asciiGlyphs)
	want := strings.Join([]string{
		"  16.0 MiB ---- budget",
		"               ",
		"               ",
		"               ",
		"             # ",
		"            ## ",
		"            ## ",
		"           ### ",
		"         0 +---",
		"           0 2s",
		"",
	}, "\n")
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	// Over the budget: the line is below the peak.
	over := chart([]int64{32 * mib}, 16*mib, time.Second, unicodeGlyphs)
	if lines := strings.Split(over, "\n"); !strings.Contains(lines[4], "16.0 MiB █ budget") || !strings.Contains(lines[0], "32.0 MiB █") {
		t.Errorf("got\n%s", over)
	}
	if chart(nil, mib, time.Second, asciiGlyphs) != "" {
		t.Error("a chart of nothing is drawn")
	}
}

func TestHeapName(t *testing.T) {
	for ref, want := range map[string]string{
		"debian:12":                 "stella-debian-12.heap.pprof",
		"oci-dir:/tmp/a/app":        "stella-app.heap.pprof",
		"host.example:5000/t/app:1": "stella-app-1.heap.pprof",
		"app@sha256:0123":           "stella-app.heap.pprof",
		"dir:/":                     "stella-image.heap.pprof",
	} {
		if got := heapName([]output{{}}, ref); got != want {
			t.Errorf("heapName(%q) = %q; want %q", ref, got, want)
		}
	}
	if got := heapName([]output{{}, {file: "out/app.cdx.json"}}, "x"); got != "out/app.cdx.heap.pprof" {
		t.Errorf("beside a file: %q", got)
	}
}
