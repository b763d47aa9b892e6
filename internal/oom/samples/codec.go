package samples

import "encoding/binary"

// A record is what differs between a sample and the one before it:
//
//	mask      uvarint: bit i says that figure i differs from what was expected, topBit that the processes do
//	figures   varint each: by how much
//	processes each a byte and what it announces
//
// Expected is the figure as it was, and for the clock the time as it was and a step.
const topBit = 1 << figureCount

// The bytes that announce a process.
const (
	topSame  = iota // as it was
	topMoved        // the same process: varints by how much its memory differs
	topOther        // uvarint pid, length and bytes of its name, uvarints of its memory
	topNone         // there is none
)

// maxRecord is more than any record needs, in bytes: the mask, every figure and every process at their longest.
const maxRecord = 3 + figureCount*binary.MaxVarintLen64 + len(leaders{})*(1+binary.MaxVarintLen32+1+commLength+3*binary.MaxVarintLen64)

// appendRecord appends s as it differs from last, a step in milliseconds later.
func appendRecord(b []byte, last, s *sample, step int64) []byte {
	var mask uint64
	for i := range s.figures {
		if s.figures[i] != last.expected(i, step) {
			mask |= 1 << i
		}
	}
	if s.top != last.top {
		mask |= topBit
	}
	b = binary.AppendUvarint(b, mask)
	for i := range s.figures {
		if mask&(1<<i) != 0 {
			b = binary.AppendVarint(b, s.figures[i]-last.expected(i, step))
		}
	}
	if mask&topBit != 0 {
		for i := range s.top {
			b = appendLeader(b, &last.top[i], &s.top[i])
		}
	}
	return b
}

func (s *sample) expected(i int, step int64) int64 {
	if i == clock {
		return s.figures[clock] + step
	}
	return s.figures[i]
}

func appendLeader(b []byte, last, l *leader) []byte {
	switch {
	case *l == *last:
		return append(b, topSame)
	case l.pid == 0:
		return append(b, topNone)
	case l.pid == last.pid && l.comm == last.comm:
		b = append(b, topMoved)
		b = binary.AppendVarint(b, l.anon-last.anon)
		b = binary.AppendVarint(b, l.file-last.file)
		return binary.AppendVarint(b, l.shmem-last.shmem)
	}
	b = append(b, topOther)
	b = binary.AppendUvarint(b, uint64(l.pid))
	n := l.comm.length()
	b = append(b, byte(n))
	b = append(b, l.comm[:n]...)
	b = binary.AppendUvarint(b, uint64(l.anon))
	b = binary.AppendUvarint(b, uint64(l.file))
	return binary.AppendUvarint(b, uint64(l.shmem))
}

// reader takes records apart. Once bytes are missing or make no sense it fails for good.
type reader struct {
	b      []byte
	failed bool
}

// next makes of the sample before the one that the next record tells, and
// reports whether there was one. Where it says no, s is not to be used.
func (r *reader) next(s *sample, step int64) bool {
	if len(r.b) == 0 || r.failed {
		return false
	}
	mask := r.uvarint()
	if mask >= topBit<<1 {
		r.failed = true
	}
	s.figures[clock] += step
	for i := range s.figures {
		if mask&(1<<i) != 0 {
			s.figures[i] += r.varint()
		}
	}
	if mask&topBit != 0 {
		for i := range s.top {
			r.leader(&s.top[i])
		}
	}
	return !r.failed
}

func (r *reader) leader(l *leader) {
	switch r.byte() {
	case topSame:
	case topNone:
		*l = leader{}
	case topMoved:
		l.anon += r.varint()
		l.file += r.varint()
		l.shmem += r.varint()
	case topOther:
		l.pid = int32(r.uvarint())
		n := int(r.byte())
		if n > commLength || n > len(r.b) {
			r.failed = true
			return
		}
		l.comm.set(r.b[:n])
		r.b = r.b[n:]
		l.anon, l.file, l.shmem = int64(r.uvarint()), int64(r.uvarint()), int64(r.uvarint())
	default:
		r.failed = true
	}
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.failed = true
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	r.skip(n)
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	r.skip(n)
	return v
}

func (r *reader) skip(n int) {
	if n <= 0 {
		r.failed, r.b = true, nil
		return
	}
	r.b = r.b[n:]
}
