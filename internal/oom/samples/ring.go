package samples

import (
	"encoding/binary"
	"math"
)

// blockBytes is the size of a block: the part of a ring that is dropped at once. A block begins
// with a sample that is written whole, some 60 bytes of it.
const blockBytes = 1 << 10

// blockHead is the part of a block that says how many bytes of records follow.
const blockHead = 2

// ring keeps the newest samples that fit into its memory, which is divided into
// blocks: when all are full, the oldest is emptied.
type ring struct {
	mem   []byte // a multiple of blockBytes
	step  int64  // milliseconds between two samples, as a rule
	first int    // the oldest block
	count int    // of blocks in use
	last  sample // the newest
}

// add appends a sample.
func (r *ring) add(s *sample) {
	var buf [maxRecord]byte
	if r.count > 0 && r.append(appendRecord(buf[:0], &r.last, s, r.step)) {
		r.last = *s
		return
	}
	blocks := len(r.mem) / blockBytes
	if r.count == blocks {
		r.first = (r.first + 1) % blocks
		r.count--
	}
	r.count++
	binary.LittleEndian.PutUint16(r.block(r.count-1), 0)
	r.append(appendRecord(buf[:0], &sample{}, s, r.step))
	r.last = *s
}

// append puts a record at the end of the newest block, if it fits.
func (r *ring) append(record []byte) bool {
	b := r.block(r.count - 1)
	used := int(binary.LittleEndian.Uint16(b))
	if blockHead+used+len(record) > len(b) {
		return false
	}
	copy(b[blockHead+used:], record)
	binary.LittleEndian.PutUint16(b, uint16(used+len(record)))
	return true
}

// block is the memory of the i-th oldest block.
func (r *ring) block(i int) []byte {
	at := (r.first + i) % (len(r.mem) / blockBytes) * blockBytes
	return r.mem[at : at+blockBytes : at+blockBytes]
}

// each calls do with every sample, the oldest first, until it returns false. The sample is
// valid during the call.
func (r *ring) each(do func(*sample) bool) {
	for i := range r.count {
		b := r.block(i)
		records := reader{b: b[blockHead : blockHead+int(binary.LittleEndian.Uint16(b))]}
		for s := (sample{}); records.next(&s, r.step); {
			if !do(&s) {
				return
			}
		}
	}
}

// levels are the rings of one container. Every tick the first takes a sample; each of the others takes,
// of as many ticks as it says, the sample with the largest working set: what matters
// of the past is how high it went.
//
// A busy container needs some 16 to 26 bytes for a sample, an idle one one or two. So the
// levels reach back at least 7 minutes, 25 minutes, two hours and 16 hours, and several times
// as far where little changes.
var levels = [...]struct {
	ticks  int
	blocks int
}{
	{1, 8}, {10, 4}, {60, 4}, {600, 4},
}

// historyBytes is the memory of all rings of a container.
const historyBytes = (8 + 4 + 4 + 4) * blockBytes

// history is what is kept of one container.
type history struct {
	rings [len(levels)]ring
	// peaks are the samples that the levels after the first would take now, and
	// ticks how many they are of.
	peaks [len(levels) - 1]sample
	ticks [len(levels) - 1]int
}

// newHistory makes an empty history in mem, which has historyBytes. The interval between two samples is in milliseconds.
func newHistory(mem []byte, interval int64) history {
	var h history
	for i, l := range levels {
		h.rings[i] = ring{mem: mem[:l.blocks*blockBytes], step: interval * int64(l.ticks)}
		mem = mem[l.blocks*blockBytes:]
	}
	return h
}

// add appends the sample of one tick.
func (h *history) add(s *sample) {
	h.rings[0].add(s)
	for i := range h.peaks {
		if h.ticks[i] == 0 || s.figures[workingSet] >= h.peaks[i].figures[workingSet] {
			h.peaks[i] = *s
		}
		if h.ticks[i]++; h.ticks[i] == levels[i+1].ticks {
			h.rings[i+1].add(&h.peaks[i])
			h.ticks[i] = 0
		}
	}
}

// last is the newest sample, and whether there is any.
func (h *history) last() (sample, bool) { return h.rings[0].last, h.rings[0].count > 0 }

// each calls do with the samples of all levels, the oldest first: of each level those that are older
// than all of the level before. The sample is valid during the call.
func (h *history) each(do func(*sample)) {
	for i := len(h.rings) - 1; i >= 0; i-- {
		until := int64(math.MaxInt64)
		if i > 0 {
			h.rings[i-1].each(func(s *sample) bool { until = s.figures[clock]; return false })
		}
		h.rings[i].each(func(s *sample) bool {
			if s.figures[clock] >= until {
				return false
			}
			do(s)
			return true
		})
	}
}
