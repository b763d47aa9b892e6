package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strings"

	"stella/internal/bytesize"
	"stella/internal/proc"
	"stella/internal/scan"
)

// chartWidth is the most columns of the chart; a narrow terminal gets fewer.
const chartWidth = 64

// memoryProfile is --profile-memory: it watches a scan and reports.
type memoryProfile struct {
	memorySampler
	budget int64
	self   *proc.Memory
	// heapFile is where the heap profile goes; it is written each time that the
	// memory reaches a new height, so the last one shows the peak.
	heapFile string
	heapErr  error
}

// startMemoryProfile begins to sample. The caller must call end.
func startMemoryProfile(procRoot, heapFile string, budget int64, snapshot func() scan.Snapshot) (*memoryProfile, error) {
	if err := checkWritable(heapFile); err != nil {
		return nil, fmt.Errorf("--profile-memory: %w", err)
	}
	self, err := proc.OpenSelf(procRoot)
	if err != nil {
		return nil, fmt.Errorf("--profile-memory: %w", err)
	}
	p := &memoryProfile{budget: budget, self: self, heapFile: heapFile}
	p.read = self.Read
	p.snapshot = snapshot
	p.atPeak = p.writeHeap
	p.begin()
	return p, nil
}

func (p *memoryProfile) writeHeap() {
	p.heapErr = writeFile(p.heapFile, pprof.WriteHeapProfile)
}

// end stops the sampling and closes what was opened.
func (p *memoryProfile) end() error {
	p.memorySampler.end()
	if err := errors.Join(p.err, p.heapErr, p.self.Close()); err != nil {
		return fmt.Errorf("--profile-memory: %w", err)
	}
	return nil
}

// writeReport writes what was found, for people. s is nil where the scan failed.
func (p *memoryProfile) writeReport(w io.Writer, s *scan.Stats, width int, g glyphs) {
	fmt.Fprintf(w, "\nMemory (resident set, %s samples in %s)\n", countText(p.total.samples), durationText(p.elapsed))
	fmt.Fprintf(w, "  peak    %s, of which %s are pages of the binary\n", bytesize.Text(p.total.peak), bytesize.Text(p.file))
	fmt.Fprintf(w, "  mean    %s\n", bytesize.Text(p.total.mean()))
	fmt.Fprintf(w, "  budget  %s\n\n", bytesize.Text(p.budget))

	tw := newTable(w)
	fmt.Fprintln(tw, "PHASE\tPEAK\tMEAN\tSAMPLES")
	for _, u := range p.phases {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\n", cmp.Or(string(u.phase), "open"), bytesize.Text(u.peak), bytesize.Text(u.mean()), countText(u.samples))
	}
	tw.Flush()
	if len(p.layers) > 0 {
		p.writeLayers(w, s)
	}
	if s != nil && len(s.LargestSpools) > 0 {
		fmt.Fprintln(w, "\nLargest spooled files")
		tw := newTable(w)
		fmt.Fprintln(tw, "LAYER\tSIZE\tEXTRACTOR\tFILE")
		for _, f := range s.LargestSpools {
			fmt.Fprintf(tw, "%d\t%s\t%s\t%s\n", f.Layer, bytesize.Text(f.Size), f.Extractor, printable(f.Path))
		}
		tw.Flush()
	}
	fmt.Fprintf(w, "\n%s\nHeap profile at the peak: %s (read it with: go tool pprof %s)\n",
		chart(p.line.columns(min(chartWidth, width-20)), p.budget, p.elapsed, g), p.heapFile, p.heapFile)
}

// writeLayers writes the layers with the highest peaks.
func (p *memoryProfile) writeLayers(w io.Writer, s *scan.Stats) {
	stats := map[int]scan.LayerStats{}
	if s != nil {
		for _, l := range s.Layers {
			if p.layers[l.Index] != nil {
				stats[l.Index] = l
			}
		}
	}
	indexes := make([]int, 0, len(p.layers))
	for i := range p.layers {
		indexes = append(indexes, i)
	}
	slices.SortFunc(indexes, func(a, b int) int {
		return cmp.Or(cmp.Compare(p.layers[b].peak, p.layers[a].peak), cmp.Compare(a, b))
	})
	fmt.Fprintln(w)
	tw := newTable(w)
	fmt.Fprintln(tw, "LAYER\tPEAK\tMEAN\tCOMPRESSED\tENTRIES\tPACKAGES\tTIME")
	for _, i := range indexes[:min(len(indexes), maxRows)] {
		u, l := p.layers[i], stats[i]
		fmt.Fprintf(tw, "%d\t%s\t%s\t%s\t%s\t%s\t%s\n", i, bytesize.Text(u.peak), bytesize.Text(u.mean()),
			bytesize.Text(l.Compressed), countText(l.Entries), countText(l.Packages), durationText(l.Duration))
	}
	tw.Flush()
	if more := len(indexes) - maxRows; more > 0 {
		fmt.Fprintf(w, "and %d layers with lower peaks\n", more)
	}
}

// heapName is where a heap profile goes: beside the first file that the scan
// writes, else in the current directory, named for the image.
func heapName(outputs []output, ref string) string {
	for _, o := range outputs {
		if o.file != "" {
			return strings.TrimSuffix(o.file, filepath.Ext(o.file)) + ".heap.pprof"
		}
	}
	for _, scheme := range refSchemes {
		ref = strings.TrimPrefix(ref, scheme)
	}
	name := path.Base(ref)
	name, _, _ = strings.Cut(name, "@")
	name = strings.Map(func(r rune) rune {
		if r == ':' || r == '*' || r <= ' ' {
			return '-'
		}
		return r
	}, name)
	if name = strings.Trim(name, ".-/"); name == "" {
		name = "image"
	}
	return "stella-" + name + ".heap.pprof"
}
