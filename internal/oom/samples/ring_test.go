package samples

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
	"unsafe"
)

// made makes samples such as containers have: idle, busy, and out of all bounds.
type made struct {
	*rand.Rand
	s    sample
	kind int
}

func (m *made) next() sample {
	f := &m.s.figures
	switch m.kind {
	case 0: // idle
		f[clock] += 1000
	case 1: // busy: what differs every second does
		f[clock] += 999 + m.Int64N(3)
		for _, i := range []int{usage, workingSet, anon, file, kernel} {
			f[i] = max(f[i]+m.Int64N(4096)-2048, 0)
		}
		f[cpu] += m.Int64N(1000)
		if m.IntN(10) == 0 {
			l := &m.s.top[0]
			l.pid, l.anon = 4711, f[anon]/2
			l.comm.set([]byte("java"))
		}
	default: // anything
		for i := range f {
			if m.IntN(4) == 0 {
				f[i] = int64(m.Uint64()) >> m.IntN(64)
			}
		}
		for i := range m.s.top {
			if m.IntN(4) == 0 {
				name := make([]byte, m.IntN(commLength+1))
				for j := range name {
					name[j] = byte(1 + m.IntN(255))
				}
				l := leader{pid: 1 + m.Int32N(maxPID), anon: int64(m.Uint64() >> m.IntN(64)), file: m.Int64N(1 << 40), shmem: m.Int64N(9)}
				l.comm.set(name)
				if m.s.top[i].pid != 0 && m.IntN(2) == 0 { // it runs another program now
					l.pid = m.s.top[i].pid
				}
				m.s.top[i] = l
			} else if m.IntN(8) == 0 {
				m.s.top[i] = leader{}
			}
		}
	}
	return m.s
}

// A ring has the newest samples of what a slice has, and no fewer than its blocks but one can hold.
func TestRingAgainstSlice(t *testing.T) {
	for kind := range 3 {
		for seed := range uint64(20) {
			m := made{Rand: rand.New(rand.NewPCG(seed, uint64(kind))), kind: kind}
			m.s.figures[clock] = 1_700_000_000_000
			r := ring{mem: make([]byte, 4*blockBytes), step: 1000}
			var model []sample
			for n := range 100 + m.IntN(5000) {
				s := m.next()
				r.add(&s)
				model = append(model, s)
				if m.IntN(500) != 0 && n != 0 {
					continue
				}
				var got []sample
				r.each(func(s *sample) bool { got = append(got, *s); return true })
				if len(got) == 0 || len(got) > len(model) {
					t.Fatalf("kind %d, seed %d: %d samples of %d", kind, seed, len(got), len(model))
				}
				for i, want := range model[len(model)-len(got):] {
					if got[i] != want {
						t.Fatalf("kind %d, seed %d, after %d: sample %d of %d is\n%+v, want\n%+v", kind, seed, n, i, len(got), got[i], want)
					}
				}
				if least := 3 * (blockBytes - blockHead - maxRecord) / maxRecord; len(got) < min(least, len(model)) {
					t.Fatalf("kind %d, seed %d: only %d of %d samples are kept", kind, seed, len(got), len(model))
				}
			}
		}
	}
}

// No record is longer than is said, and one always fits into an empty block.
func TestLongestRecord(t *testing.T) {
	var least, most sample
	for i := range least.figures {
		least.figures[i], most.figures[i] = -1<<62, 1<<62
	}
	for i := range most.top {
		l := leader{pid: maxPID, anon: 1 << 62, file: 1 << 62, shmem: 1 << 62}
		l.comm.set([]byte("abcdefghijklmnopq"))
		most.top[i] = l
	}
	if n := len(appendRecord(nil, &least, &most, 1)); n > maxRecord || n < maxRecord/2 {
		t.Errorf("the longest record has %d bytes, and %d are said", n, maxRecord)
	}
	if maxRecord+blockHead > blockBytes {
		t.Errorf("a record of %d bytes does not fit into a block", maxRecord)
	}
}

// How far back the levels of a busy and of an idle container reach, as the package doc says.
func TestHistoryReach(t *testing.T) {
	for kind, want := range map[int][len(levels)]time.Duration{
		1: {7 * time.Minute, 25 * time.Minute, 2 * time.Hour, 16 * time.Hour},
		0: {30 * time.Minute, 5 * time.Hour, 24 * time.Hour, 48 * time.Hour},
	} {
		m := made{Rand: rand.New(rand.NewPCG(1, 2)), kind: kind}
		m.s.figures = figures{clock: 1_700_000_000_000, usage: 1 << 20, workingSet: 1 << 20, anon: 1 << 19, file: 1 << 18, kernel: 1 << 14, limit: 1 << 21}
		h := newHistory(make([]byte, historyBytes), 1000)
		begin := m.s.figures[clock]
		for range 3 * 24 * 3600 {
			s := m.next()
			h.add(&s)
		}
		end := m.s.figures[clock]
		for i := range h.rings {
			var oldest int64
			h.rings[i].each(func(s *sample) bool { oldest = s.figures[clock]; return false })
			reach := time.Duration(end-oldest) * time.Millisecond
			t.Logf("kind %d, level %d: %v", kind, i, reach.Round(time.Second))
			if reach < want[i] && oldest > begin+int64(levels[i].ticks)*1001 {
				t.Errorf("kind %d, level %d reaches back %v, want %v", kind, i, reach, want[i])
			}
		}
		last, count := int64(0), 0
		h.each(func(s *sample) {
			if s.figures[clock] <= last {
				t.Fatalf("kind %d: sample %d is not after the one before", kind, count)
			}
			last = s.figures[clock]
			count++
		})
		if last != end {
			t.Errorf("kind %d: the newest is of %d, want %d", kind, last, end)
		}
	}
}

// A peak of one second is still there when it is hours old.
func TestPeakStays(t *testing.T) {
	h := newHistory(make([]byte, historyBytes), 1000)
	m := made{Rand: rand.New(rand.NewPCG(3, 4)), kind: 1}
	for n := range 4 * 3600 {
		s := m.next()
		if n == 100 {
			s.figures[workingSet] = 1 << 40
		}
		h.add(&s)
	}
	peaks := 0
	h.each(func(s *sample) {
		if s.figures[workingSet] == 1<<40 {
			peaks++
		}
	})
	if peaks != 1 {
		t.Errorf("the peak is there %d times, want once", peaks)
	}
}

// All that is kept of a container is within its budget.
func TestBudgetOfContainer(t *testing.T) {
	const (
		budget = 24 << 10
		paths  = 2 * 256 // a path of a container and its directory, at their longest
		maps   = 3 * 64  // its places in maps and lists
	)
	total := historyBytes + unsafe.Sizeof(group{}) + unsafe.Sizeof(container{}) + paths + maps
	t.Logf("%d bytes: history %d, container %d, group %d", total, historyBytes, unsafe.Sizeof(container{}), unsafe.Sizeof(group{}))
	if total > budget {
		t.Errorf("a container takes %d bytes, want at most %d", total, budget)
	}
	if unsafe.Sizeof(process{}) > 250 {
		t.Errorf("a process takes %d bytes, and the doc says 250", unsafe.Sizeof(process{}))
	}
}

// Whatever is in its memory, reading a ring ends and does no harm; and what was written
// after it is read back.
func FuzzRing(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3}, uint64(1), uint8(2))
	f.Add([]byte("\x80\x80\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), uint64(9), uint8(1))
	f.Fuzz(func(t *testing.T, garbage []byte, seed uint64, kind uint8) {
		records := reader{b: garbage}
		n := 0
		for s := (sample{}); records.next(&s, 1000); n++ {
		}
		if n > len(garbage) {
			t.Fatalf("%d records of %d bytes", n, len(garbage))
		}
		m := made{Rand: rand.New(rand.NewPCG(seed, 0)), kind: int(kind % 3)}
		r := ring{mem: make([]byte, 2*blockBytes), step: int64(kind)}
		copy(r.mem, garbage)
		var model []sample
		for range 1 + m.IntN(200) {
			s := m.next()
			r.add(&s)
			model = append(model, s)
		}
		var got []sample
		r.each(func(s *sample) bool { got = append(got, *s); return true })
		if len(got) == 0 || !slices.Equal(model[len(model)-len(got):], got) {
			t.Fatal("what was written is not what is read")
		}
	})
}

func BenchmarkAdd(b *testing.B) {
	h := newHistory(make([]byte, historyBytes), 1000)
	m := made{Rand: rand.New(rand.NewPCG(3, 4)), kind: 1}
	b.ReportAllocs()
	for b.Loop() {
		s := m.next()
		h.add(&s)
	}
}
