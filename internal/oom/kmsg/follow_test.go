package kmsg

import (
	"fmt"
	"testing"
	"time"

	"stella/internal/oom"
)

// heard is what a follower told.
type heard struct {
	reports   []oom.Report
	lost      uint64
	positions []uint64
}

// machine is a clock that the test sets.
type machine struct {
	wall      time.Time
	monotonic time.Duration
}

func (m *machine) pass(d time.Duration) {
	m.wall, m.monotonic = m.wall.Add(d), m.monotonic+d
}

func newMachine() *machine {
	return &machine{time.Date(2026, 5, 31, 8, 21, 0, 0, time.UTC), time.Hour}
}

func (m *machine) follower(after uint64) (*follower, *heard) {
	h := &heard{}
	return newFollower(Options{After: after, Clock: func() (time.Time, time.Duration) { return m.wall, m.monotonic }},
		func(r oom.Report) { h.reports = append(h.reports, r) },
		func(l oom.Lost) { h.lost += l.Records },
		func(seq uint64) { h.positions = append(h.positions, seq) }), h
}

func record(seq uint64, at time.Duration, text string) []byte {
	return fmt.Appendf(nil, "3,%d,%d,-;%s\n SUBSYSTEM=x\n", seq, at.Microseconds(), text)
}

func kill(pid int) string {
	return fmt.Sprintf("Out of memory: Killed process %d (p) total-vm:4kB, anon-rss:4kB, file-rss:0kB, shmem-rss:0kB", pid)
}

func TestGaps(t *testing.T) {
	for name, c := range map[string]struct {
		after uint64
		seqs  []uint64
		want  uint64
	}{
		"none":                        {0, []uint64{500, 501, 502}, 0},
		"in the middle":               {0, []uint64{500, 503, 504, 510}, 7},
		"since the last time":         {100, []uint64{105, 106}, 4},
		"the last time is still here": {100, []uint64{98, 99, 100, 101}, 0},
		"the first of all":            {0, []uint64{0, 1, 2}, 0},
	} {
		f, h := newMachine().follower(c.after)
		for _, seq := range c.seqs {
			f.record(record(seq, time.Hour, "x"), false)
		}
		if h.lost != c.want {
			t.Errorf("%s: %d records lost, want %d", name, h.lost, c.want)
		}
	}
}

// What is no record is missing, and ends nothing; what a program wrote is no kill.
func TestHostileRecords(t *testing.T) {
	f, h := newMachine().follower(0)
	f.record(record(1, time.Hour, kill(1)), false)
	for _, b := range []string{"", "\n", ";", "3,2;x", "3,2,x,-;" + kill(2), "garbage", "\x00\xff", "3,-2,1,-;" + kill(2), "3,2,99999999999999999999,-;" + kill(2)} {
		f.record([]byte(b), false)
	}
	f.record(record(3, time.Hour, kill(3)), false)
	f.record(fmt.Appendf(nil, "11,4,1,-;%s\n", kill(4)), false) // facility 1: a program
	f.record(record(5, time.Hour, kill(5)), false)
	if len(h.reports) != 3 || h.reports[1].Process.PID != 3 || h.reports[2].Process.PID != 5 || h.lost != 1 {
		t.Errorf("%d lost, %+v", h.lost, h.reports)
	}
}

// A wall clock that jumps moves no kill that was told of, and later ones are by the new clock. The clock of the kernel's
// log may run apart from the machine's.
func TestClocks(t *testing.T) {
	m := newMachine()
	const apart = 90 * time.Second // after days
	f, h := m.follower(0)
	f.record(record(1, m.monotonic-apart, "just written"), true)
	m.pass(time.Minute)
	f.record(record(2, m.monotonic-apart-2*time.Millisecond, kill(1)), true)
	at := m.wall.Add(-2 * time.Millisecond)
	m.wall = m.wall.Add(-24 * time.Hour)
	m.pass(time.Second)
	f.record(record(3, m.monotonic-apart, kill(2)), true)
	if got := h.reports[0].Time; got.Sub(at).Abs() > time.Millisecond {
		t.Errorf("the first kill was at %v, want %v", got, at)
	}
	if got := h.reports[1].Time; got.Sub(m.wall).Abs() > time.Millisecond {
		t.Errorf("the second kill was at %v, want %v", got, m.wall)
	}
	// A reader that was slow does not take the records of then for those of now.
	m.pass(10 * time.Second)
	f.record(record(4, m.monotonic-apart-5*time.Second, kill(3)), false)
	if got, want := h.reports[2].Time, m.wall.Add(-5*time.Second); got.Sub(want).Abs() > 100*time.Millisecond {
		t.Errorf("the third kill was at %v, want %v", got, want)
	}
}

func TestPositions(t *testing.T) {
	m := newMachine()
	f, h := m.follower(0)
	if wait := f.idle(); wait != 0 || len(h.positions) != 0 {
		t.Errorf("an empty log: wait %v, %v", wait, h.positions)
	}
	f, h = m.follower(0)
	for seq := range uint64(100) {
		m.pass(time.Second)
		f.record(record(seq, m.monotonic, "x"), false)
		f.busy()
	}
	if len(h.positions) != 0 {
		t.Errorf("told of %v before the backlog was read", h.positions)
	}
	f.idle()
	m.pass(time.Second / 4)
	f.record(record(100, m.monotonic, "x"), true)
	f.busy()
	if wait := f.idle(); wait != time.Second*3/4 {
		t.Errorf("wait %v", wait)
	}
	m.pass(time.Second * 3 / 4)
	if wait := f.idle(); wait != 0 {
		t.Errorf("wait %v", wait)
	}
	for seq := range uint64(1000) { // no pause in which it is idle
		m.pass(10 * time.Millisecond)
		f.record(record(101+seq, m.monotonic, "x"), false)
		f.busy()
	}
	if n := len(h.positions); n != 12 || h.positions[0] != 99 || h.positions[1] != 100 || h.positions[11] != 1100 {
		t.Errorf("positions %v", h.positions)
	}
}

// Following costs nothing while nobody is killed.
func TestFollowingAllocatesNothing(t *testing.T) {
	f, _ := newMachine().follower(0)
	seq := uint64(0)
	text := record(1, time.Hour, "cni0: port 3(veth8bec5ec1) entered disabled state")
	buffer := make([]byte, len(text))
	if n := testing.AllocsPerRun(100, func() {
		seq++
		copy(buffer, text)
		f.record(buffer, true)
		f.busy()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
