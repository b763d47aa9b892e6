// Package pressure watches how near this process is to the end of its memory, and says what to refuse before anything dies.
//
// Words: a limit is what ends the process, or slows it down until it is of no use: that of its cgroup, or of one above (the
// kernel kills), or GOMEMLIMIT (the runtime collects garbage all the time). The level is how much of the fullest of them is
// used: [Normal]; [High], from 80 %, where new commands are refused; [Critical], from 90 %, where new streams are, too. A level
// is left 5 points below where it begins, so that it does not come and go.
//
// Of the cgroup it is the working set that counts, as kubectl top and the kubelet have it. Garbage is in it, which is no reason
// to refuse anything: so where memory seems short, the runtime is made to collect, and to give back what it can, every
// few seconds, and it is measured again. In between, what was allocated counts in full, for it may be no garbage. The cgroup's figure has all its processes, also commands that run below it.
//
// At each rise, and at most once a minute, a heap profile is written to a directory: who looks for the cause has it at once,
// and after an OOM kill, too.
//
// Hazard: where nothing can be measured nothing is refused, and [State] says why.
package pressure

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"stella/internal/bytesize"
)

// Level is how near the end of memory is.
type Level int

// The levels, in order.
const (
	Normal   Level = iota
	High           // no new commands
	Critical       // no new streams either
)

// String returns "normal", "high" or "critical".
func (l Level) String() string { return [...]string{"normal", "high", "critical"}[l] }

// marks are where levels begin, in percent. The first is where the usual alert is, the second where there is still room for what was
// accepted before.
var marks = [...]int64{High: 80, Critical: 90}

const (
	// hysteresis is how many points below its mark a level is left.
	hysteresis = 5
	// every is how often it is measured: a process that allocates 1 GB/s gets 250 MB further meanwhile.
	every = 250 * time.Millisecond
	// collectEvery is the least time between two collections of our own while memory is short: each costs a walk over the
	// heap, some 100 ms of a core for 500 MB.
	collectEvery = 3 * time.Second
)

// Use is how much of one limit is used.
type Use struct {
	// Source is where the limit comes from: a file, or GOMEMLIMIT.
	Source string `json:"source"`
	// Used of Limit, in bytes.
	Used  int64 `json:"used"`
	Limit int64 `json:"limit"`
}

// Percent is how much of the limit is used.
func (u Use) Percent() int64 {
	if u.Limit <= 0 {
		return 0
	}
	return int64(float64(u.Used) / float64(u.Limit) * 100)
}

// String is for people: "81 % of 512 MiB (GOMEMLIMIT)".
func (u Use) String() string {
	return fmt.Sprintf("%d %% of %s (%s)", u.Percent(), bytesize.Text(u.Limit), u.Source)
}

// Options say what is watched. All of it can be left out.
type Options struct {
	// Measure says how much of each limit is used; nil is [Measure], which is about this process.
	Measure func() ([]Use, error)
	// Collect gives back to the system what is garbage; nil is debug.FreeOSMemory.
	Collect func()
	// Profiles is the directory for heap profiles, which is made; "" writes none.
	Profiles string
	Log      *slog.Logger
}

// State is what was measured last.
type State struct {
	Level Level
	// Fullest is of the limit of which the most is used; it is zero where there is none.
	Fullest Use
	// Err says why nothing could be measured; the level is then Normal.
	Err error
	At  time.Time
}

// Watch watches memory. Its methods may be called from several goroutines.
type Watch struct {
	o         Options
	log       *slog.Logger
	profiles  profiles
	collected time.Time // by the goroutine of Run alone

	mu    sync.Mutex
	state State
}

// New makes a watch. [Watch.Run] runs it; before that, the level is Normal.
func New(o Options) (*Watch, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Measure == nil {
		o.Measure = Measure
	}
	if o.Collect == nil {
		o.Collect = collect
	}
	w := &Watch{o: o, log: o.Log, profiles: profiles{dir: o.Profiles}}
	return w, w.profiles.open()
}

// Run measures until ctx ends.
func (w *Watch) Run(ctx context.Context) error {
	timer := time.NewTicker(every)
	defer timer.Stop()
	for {
		w.look()
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
	}
}

// State is what was measured last.
func (w *Watch) State() State {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state
}

// RefuseCommands says whether new commands are to be refused, and why.
func (w *Watch) RefuseCommands() (bool, string) { return w.refuse(High) }

// RefuseStreams says whether new streams are to be refused, and why.
func (w *Watch) RefuseStreams() (bool, string) { return w.refuse(Critical) }

func (w *Watch) refuse(from Level) (bool, string) {
	s := w.State()
	if s.Level < from {
		return false, ""
	}
	return true, fmt.Sprintf("memory is short: %v is used", s.Fullest)
}

// look measures once, and acts on it.
func (w *Watch) look() {
	before := w.State()
	now := w.measure(before.Level)
	if now.Level > Normal && now.At.Sub(w.collected) >= collectEvery {
		w.collected = now.At
		w.o.Collect()
		now = w.measure(before.Level)
	}
	if now.Level > before.Level {
		w.profile(now)
	}
	w.mu.Lock()
	w.state = now
	w.mu.Unlock()
	w.tell(before, now)
}

func (w *Watch) profile(of State) {
	switch name, err := w.profiles.write(of); {
	case err != nil:
		w.log.Error("the heap profile was not written", "error", err)
	case name != "":
		w.log.Warn("heap profile written", "file", name, "used", of.Fullest.String())
	}
}

// tell logs what has changed.
func (w *Watch) tell(before, now State) {
	switch {
	case now.Err != nil && before.Err == nil:
		w.log.Error("how much memory is used cannot be told: nothing is refused for it", "error", now.Err)
	case now.Level > before.Level:
		w.log.Warn("memory is short", "level", now.Level.String(), "used", now.Fullest.String())
	case now.Level < before.Level:
		w.log.Info("memory is less short", "level", now.Level.String(), "used", now.Fullest.String())
	}
}

// measure finds the fullest limit, and its level, coming from another.
func (w *Watch) measure(from Level) State {
	now := State{At: time.Now()}
	uses, err := w.o.Measure()
	if err != nil {
		now.Err = err
		return now
	}
	for _, u := range uses {
		if u.Percent() >= now.Fullest.Percent() {
			now.Fullest = u
		}
	}
	now.Level = level(now.Fullest.Percent(), from)
	return now
}

// level is that of so many percent, coming from another.
func level(percent int64, from Level) Level {
	for l := Critical; l > Normal; l-- {
		mark := marks[l]
		if l <= from {
			mark -= hysteresis
		}
		if percent >= mark {
			return l
		}
	}
	return Normal
}
