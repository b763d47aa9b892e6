// Package heap reads heap profiles of Go programs, says where the memory that grew between two of them was allocated, and draws it.
//
// Words: a profile (runtime/pprof, profile.proto of github.com/google/pprof, gzipped) has stacks, each with the bytes in use that were
// allocated by it: inuse_space. A frame is one function of a stack, with its line; the first allocates, and each is called by the next.
// A [Site] is the place of the application that asked for memory: the innermost frame of a stack that is neither of Go's runtime nor of its
// standard library.
//
// Profiles come from programs that are looked into, and are hostile: what is read and what is kept have bounds, and a profile beyond them is refused.
//
// Hazards:
//
//   - A profile is a sample: the runtime notes one allocation in 512 KiB (runtime.MemProfileRate), and the profile has what that stands for. Below some MiB
//     it says little.
//   - What is in use is as of the last garbage collection that ended.
//   - It has the heap of Go alone: no stacks of goroutines, no memory of cgo, no mmap.
//   - Packages of the standard library are known by their first word and their file. A module whose name begins with such a word, built with -trimpath, is taken for it.
package heap

import (
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/klauspost/compress/gzip"
)

const (
	// MaxBytes is the most that is read of a stored profile. A program with 100,000 places that allocate has some 3 MiB.
	MaxBytes = 8 << 20
	// maxUnpacked is the most that it unpacks to: usual ones have three to five times as much.
	maxUnpacked = 32 << 20
	// maxMessage bounds one sample, location, function or string. Go's stacks have up to 1,024 frames of at most 10 bytes each.
	maxMessage = 64 << 10
	// maxItems bounds the samples, the locations, the functions and the strings, each; maxPlaces the places that all samples name, maxLines the lines of all
	// locations, and maxFrames the frames of all stacks together: of a byte of input, none makes more than some ten of memory.
	maxItems, maxPlaces, maxLines, maxFrames = 1 << 18, 1 << 21, 1 << 19, 1 << 22
	// maxUse is beyond any memory, so that sums fit.
	maxUse = 1 << 44
)

// Frame is one function of a stack.
type Frame struct {
	Function string
	File     string
	Line     int64
}

// Profile is what was in use of the heap of one program at one moment.
type Profile struct {
	// Time is when it was taken, by the program's clock; zero is not known.
	Time time.Time

	stacks []stack
	places [][]Frame // by location: those that were inlined first, as profiles have them
}

// stack is what was allocated by one stack.
type stack struct {
	places []int32 // of Profile.places, the one that allocates first
	bytes  int64
}

// Total is all that was in use, in bytes.
func (p *Profile) Total() (bytes int64) {
	for i := range p.stacks {
		bytes += p.stacks[i].bytes
	}
	return bytes
}

// frames are those of a stack, the one that allocates first.
func (p *Profile) frames(s *stack) iter.Seq[Frame] {
	return func(yield func(Frame) bool) {
		for _, place := range s.places {
			for _, f := range p.places[place] {
				if !yield(f) {
					return
				}
			}
		}
	}
}

// Read reads a profile as /debug/pprof/heap gives it.
func Read(r io.Reader) (*Profile, error) {
	stored := &bounded{r: r, left: MaxBytes, what: "stored"}
	unpacked, err := gzip.NewReader(stored)
	if err != nil {
		return nil, fmt.Errorf("heap profile: it is not gzipped, as those of runtime/pprof are without ?debug=1: %w", err)
	}
	p, err := decode(&bounded{r: unpacked, left: maxUnpacked, what: "unpacked"})
	if err != nil {
		return nil, fmt.Errorf("heap profile: %w", err)
	}
	return p, nil
}

// bounded is a reader that fails behind a number of bytes.
type bounded struct {
	r    io.Reader
	left int
	what string
}

// Read implements io.Reader.
func (b *bounded) Read(buf []byte) (int, error) {
	n, err := b.r.Read(buf[:min(len(buf), b.left+1)])
	if b.left -= n; b.left < 0 {
		return 0, fmt.Errorf("it has more bytes %s than are read of one", b.what)
	}
	return n, err
}
