package kmsg

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"stella/internal/oom"
)

// Options says what [Follow] follows.
type Options struct {
	// Path is the kernel log, /dev/kmsg if it is empty.
	Path string
	// After is the sequence number of the last record that was handled before, of this boot: reports of
	// later records alone are given. 0 gives all that the kernel still has.
	After uint64
	// Clock returns the wall clock and the time since boot of one moment. Nil is that of this machine.
	Clock func() (wall time.Time, monotonic time.Duration)
}

// UnavailableError says that the kernel log cannot be read, and what is lost by it.
type UnavailableError struct {
	Path string
	Err  error
}

// Error says what is lost and what to do.
func (e *UnavailableError) Error() string {
	advice := "mount the host's " + e.Path
	switch {
	case errors.Is(e.Err, fs.ErrPermission):
		advice = "run as root or with CAP_SYSLOG, in a container as a privileged one or with the device allowed"
	case !errors.Is(e.Err, fs.ErrNotExist):
		advice = "see whether " + e.Path + " is the kernel's log"
	}
	return fmt.Sprintf("the kernel log cannot be read (%v): kills are counted by cgroup, but which process was killed, and whose limit fired, is not known; %s", e.Err, advice)
}

// Unwrap returns the cause.
func (e *UnavailableError) Unwrap() error { return e.Err }

const (
	// maxRecord is the longest record that the kernel gives (PRINTK_MESSAGE_MAX, and CONSOLE_EXT_LOG_MAX before 6.4).
	maxRecord = 8192
	// positionEvery is the least time between two positions that are told.
	positionEvery = time.Second
)

// follower makes reports of records. It is Follow without the file.
type follower struct {
	after    uint64
	clock    func() (time.Time, time.Duration)
	reports  Reports
	report   func(oom.Report)
	lost     func(oom.Lost)
	position func(uint64)

	last      uint64 // of the last record
	any       bool   // there was one
	told      uint64
	toldAny   bool
	toldAt    time.Duration
	live      bool // the backlog has been read
	drift     time.Duration
	driftSeen bool
}

func newFollower(o Options, report func(oom.Report), lost func(oom.Lost), position func(uint64)) *follower {
	if o.Clock == nil {
		o.Clock = machineClock
	}
	return &follower{
		after: o.After, clock: o.Clock, report: report, lost: lost, position: position,
		reports: Reports{PageSize: int64(os.Getpagesize())},
	}
}

// record takes in what one read gave. What is no record is passed over; its number is missing then, and that is told. waited
// says that the reader had waited for it, so that it was written just now.
func (f *follower) record(b []byte, waited bool) {
	r, ok := ParseRecord(b)
	if !ok {
		return
	}
	f.gap(r.Seq)
	f.last, f.any = r.Seq, true
	if waited {
		f.observe(r.Monotonic)
	}
	if r.Facility != 0 { // a program wrote it
		return
	}
	// What was handled before may be the beginning of a report.
	report, ok := f.reports.Line(Line{Seq: r.Seq, Monotonic: r.Monotonic, Caller: r.Caller, Text: r.Text})
	if !ok || report.Seq <= f.after && f.after != 0 {
		return
	}
	report.Time = f.wall(r.Monotonic)
	f.report(report)
}

// gap tells of the records between the last one and this one.
func (f *follower) gap(seq uint64) {
	next := f.last + 1
	if !f.any {
		if f.after == 0 {
			return // nobody says that there was anything before
		}
		next = f.after + 1
	}
	if seq <= next {
		return
	}
	now, _ := f.clock()
	f.lost(oom.Lost{Records: seq - next, Time: now})
}

// idle says that all records have been read, and tells the position if it is time. wait is how long until
// it is, 0 if there is nothing to tell.
func (f *follower) idle() (wait time.Duration) {
	first := !f.live
	f.live = true
	if !f.any || f.toldAny && f.told == f.last {
		return 0
	}
	_, now := f.clock()
	if since := now - f.toldAt; !first && f.toldAny && since < positionEvery {
		return positionEvery - since
	}
	f.tell(now)
	return 0
}

// busy tells the position if it is time, while there is more to read.
func (f *follower) busy() {
	if !f.live || !f.any {
		return
	}
	if _, now := f.clock(); now-f.toldAt >= positionEvery {
		f.tell(now)
	}
}

func (f *follower) tell(now time.Duration) {
	f.told, f.toldAny, f.toldAt = f.last, true, now
	f.position(f.last)
}

// observe learns by how much the clock of the kernel log is behind the machine's monotonic clock. It is another
// one (local_clock(), which nobody adjusts): a few millionths apart, which are seconds after days. A record
// that was waited for is as old as the reader is slow, so the least difference is the best.
func (f *follower) observe(stamp time.Duration) {
	_, now := f.clock()
	d := now - stamp
	if !f.driftSeen || d < f.drift {
		f.drift, f.driftSeen = d, true
		return
	}
	f.drift += (d - f.drift) / 64 // the clocks may come apart in either direction
}

// wall is the wall clock at a time of the kernel log. Asked at the time of a kill it is right to a
// millisecond, of old records as far as the clocks have come apart; it goes by what the wall clock is now, wherever it was
// when the record was written.
func (f *follower) wall(stamp time.Duration) time.Time {
	wall, now := f.clock()
	return wall.Add(-max(0, now-stamp-f.drift))
}
