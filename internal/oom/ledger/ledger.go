// Package ledger keeps every OOM kill of a machine, once. It misses none that the kernel logged or counted,
// through its own restarts, lost records of the log, cgroups that are gone, and full disks.
//
// Words: see [stella/internal/oom]. The joiner (package join) decides which reports, rises and notices are one kill;
// the journal (package journal) keeps what it decided. A version is a kill as it was
// known at one time; the newest counts. What was known of each kill and how far the witnesses were
// read is one record of the journal, so that a crash can neither lose a kill nor double it: a
// restarted agent reads the kernel log and the counters from where the last whole record says.
//
// What is promised:
//
//   - When [Ledger.Report] returns, the kill can be read, and survives the death of the agent, also by SIGKILL.
//     It survives a loss of power a second later: syncing each record would hold up
//     the reading of the kernel log for longer than a kill takes.
//   - Where the journal cannot be written the ledger goes on in memory, says so in [Ledger.Status], and writes what
//     it kept when it can again. What does not fit is dropped, the oldest first, and counted.
//   - Nobody who reads or follows holds up who reports.
//
// Hazards:
//
//   - A kill is told at once and again when more is known: its cgroup, whether the main process lived on, its
//     owner. Kills of which only a counter tells come seconds late.
//   - The ledger calls Owner and Main while it is locked: they must not call it, but for [Ledger.Owned].
package ledger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"stella/internal/feed"
	"stella/internal/journal"
	"stella/internal/oom"
	"stella/internal/oom/ledger/join"
)

const (
	// DefaultBytes is what the journal may take unless it is told otherwise: some 20,000 kills.
	DefaultBytes = 64 << 20
	// MinBytes is enough for some segments.
	MinBytes = 1 << 20
	// DefaultAge is how long kills are kept unless it is told otherwise.
	DefaultAge = 31 * 24 * time.Hour

	settleEvery = 250 * time.Millisecond
	syncEvery   = time.Second
	pruneEvery  = 10 * time.Minute
	// maxOwned bounds the cgroups whose owner is to be written down, at some 500 bytes each.
	maxOwned = 1024
)

// Options are all that a ledger takes from its surroundings. Boot and Log are needed.
type Options struct {
	// Boot is the kernel's id of this boot, and Node the name of the machine.
	Boot, Node string
	// MaxBytes bounds the journal on disk, and MaxAge the time that kills are kept. 0 are the defaults.
	MaxBytes int64
	MaxAge   time.Duration
	Log      *slog.Logger
	// Owner says whose cgroup it is, as far as is known. What becomes known later is told with [Ledger.Owned].
	Owner func(cgroup string) oom.Container
	// Scope says what the limit of one cgroup is to a victim in another.
	Scope func(victim, limit string) oom.Scope
	// Lookup says in which cgroup a process is or was. It is asked at once when the kernel log names none.
	Lookup func(pid int) (cgroup string, p oom.Process, ok bool)
	// Victim is the newest note of the kernel about a process with that pid that it killed, and Victims are all notes that it still has.
	Victim  func(pid int) (oom.Victim, bool)
	Victims func() []oom.Victim
	// Main is the first process of the container that a cgroup belongs to, and whether it is alive.
	Main func(cgroup string) (pid int, alive, ok bool)
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Ledger is the ledger of one machine. It is safe for concurrent use.
type Ledger struct {
	o   Options
	log *slog.Logger

	mu     sync.Mutex
	join   *join.Joiner
	store  store
	totals totals
	events feed.Feed[oom.KillEvent]
	// noted is the position that was written last.
	noted uint64

	owned owned
	named named
	read  reading
}

// Open opens the ledger in a directory, which it makes if it must. A directory that cannot be read or
// written is no error: the ledger is in memory then, and [Ledger.Status] says why. It is an
// error if another agent has it open.
func Open(dir string, o Options) (*Ledger, error) {
	if o.MaxBytes == 0 {
		o.MaxBytes = DefaultBytes
	}
	if o.MaxBytes < MinBytes {
		return nil, fmt.Errorf("open the ledger: %d bytes are too few, %d the least", o.MaxBytes, MinBytes)
	}
	if o.MaxAge == 0 {
		o.MaxAge = DefaultAge
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Lookup == nil {
		o.Lookup = func(int) (string, oom.Process, bool) { return "", oom.Process{}, false }
	}
	if o.Victim == nil {
		o.Victim = func(int) (oom.Victim, bool) { return oom.Victim{}, false }
	}
	if o.Victims == nil {
		o.Victims = func() []oom.Victim { return nil }
	}
	l := &Ledger{o: o, log: o.Log, events: feed.New[oom.KillEvent](maxEvents)}
	j, err := journal.Open(dir)
	if errors.Is(err, journal.ErrLocked) {
		return nil, fmt.Errorf("open the ledger: %w; is another stella-agent running?", err)
	}
	l.store = newStore(dir, j, o.MaxBytes)
	r := l.recover()
	entries := r.open()
	l.join = join.New(o.Now(), join.Options{
		Boot: o.Boot, Node: o.Node, ID: l.id, Owner: o.Owner, Scope: o.Scope, Main: o.Main, Victims: l.unnamed, Told: l.told,
	}, r.all(), entries)
	l.noted = l.join.Known()
	if err == nil && r.fresh {
		err = l.begin()
	}
	if err != nil {
		l.failed(err)
	}
	l.flush()
	return l, nil
}

// Close writes what is left to write and lets others open the ledger.
func (l *Ledger) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flush()
	err := errors.Join(l.store.unwritten(), l.store.journal.Syncer()(), l.store.journal.Close())
	if err != nil {
		return fmt.Errorf("close the ledger: %w", err)
	}
	return nil
}

// Report takes in a line of the kernel log. When it returns, the kill is in the ledger.
func (l *Ledger) Report(r oom.Report) {
	seen := l.note(&r)
	if !seen.Noted && (r.Cgroup == "" || r.Group != 0) {
		seen = l.lookup(r.Process.PID)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.join.Report(l.o.Now(), r, seen)
	l.commit()
}

// lookup asks where a process was. Whoever answers may hold locks of its own, so none is held here.
func (l *Ledger) lookup(pid int) join.Seen {
	cgroup, p, ok := l.o.Lookup(pid)
	if !ok {
		return join.Seen{}
	}
	return join.Seen{Cgroup: cgroup, Process: p}
}

// Rise takes in what a counter tells. It is written down with the next kill, or within a second: until then
// a restarted agent is told again.
func (l *Ledger) Rise(r oom.Rise) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.join.Rise(l.o.Now(), r)
}

// Notice takes in what a runtime, the kubelet, systemd, a tracepoint or the API says.
func (l *Ledger) Notice(n oom.Notice) {
	var seen join.Seen
	if n.Process.PID != 0 {
		seen = l.lookup(n.Process.PID)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.join.Notice(l.o.Now(), n, seen)
}

// Lost takes in that records of the kernel log were overwritten before they were read.
func (l *Ledger) Lost(lost oom.Lost) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.join.Lost(l.o.Now(), lost)
}

// Position takes in that the kernel log was read up to a record, and all kills up to there were reported.
func (l *Ledger) Position(seq uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.join.Position(seq)
}

// After is the record of the kernel log up to which all is in the ledger; 0 is none of this boot.
func (l *Ledger) After() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.join.Known()
}

// Baseline is the counter of a cgroup up to which all is in the ledger, and whether that is known.
func (l *Ledger) Baseline(path string, id uint64) (total int64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.join.Baseline(path, id)
}

// NodeBaseline is the same for the node's counter.
func (l *Ledger) NodeBaseline() (total int64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.join.NodeBaseline()
}

// Run settles, writes, and drops what is too old or too much, until ctx ends, which is no error.
func (l *Ledger) Run(ctx context.Context) error {
	settle, sync, prune := time.NewTicker(settleEvery), time.NewTicker(syncEvery), time.NewTicker(pruneEvery)
	defer settle.Stop()
	defer sync.Stop()
	defer prune.Stop()
	for {
		select {
		case <-ctx.Done():
			l.sync()
			return nil
		case <-settle.C:
			l.settle()
		case <-sync.C:
			l.sync()
		case <-prune.C:
			l.prune()
		}
	}
}

// settle decides what has waited long enough, a batch at a time, so that reports come between.
func (l *Ledger) settle() {
	for l.settleSome() {
	}
	l.settleOwned()
}

// settleSome decides a batch, and reports whether there is more.
func (l *Ledger) settleSome() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	more := l.join.Settle(l.o.Now())
	l.commit()
	return more
}

// sync writes what is not written, and waits until it is on disk for good.
func (l *Ledger) sync() {
	l.mu.Lock()
	l.flush()
	wait := l.store.syncer()
	l.mu.Unlock()
	if err := wait(); err != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.failed(err)
	}
}
