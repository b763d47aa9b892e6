// Package service has the life of commands: it takes them in, lets them wait in a fair queue, runs them within
// limits, and records how each ended, whatever is killed when.
//
// Words: a command is queued, running, or ended. Its request is kept whole until the end, and what is often secret in
// it (stdin, the environment's values) is never told and erased then. The ledger is the memory that all
// commands together may have: a command's whole limit is reserved before it starts. Callers take turns, then the
// projects of a caller; a command's place is how many would start before it, and itself, if nothing else came.
//
// A command is written down as running before its program is started, and its log is ended before its end is written
// down. So after a kill -9 [Open] knows: what was queued goes on; what was running is ended as its log says, where that
// was ended, and otherwise as lost; nothing runs twice.
//
// Hazards:
//
//   - One process at a time has the database: a later [Open] shuts out the earlier one, whose
//     [Service.Run] then returns [ErrReplaced]. On one machine SQLite's lock prevents that anyway.
//   - What an earlier process left running must be ended before Open says that it is lost: see run.Runner.RemoveLeft.
//   - A command that needs more memory than is free holds back those behind it, or it would never start
//     while there are smaller ones.
//   - The lock is never held while the database, a log or a program is waited for.
package service

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"stella/internal/rdev"
	"stella/internal/rdev/outlog"
	"stella/internal/rdev/run"
	"stella/internal/store"
)

//go:embed migrations/*.sql
var migrations embed.FS

// ErrReplaced says that another process has opened the database since, and commands are its own now.
var ErrReplaced = rdev.Errorf(rdev.ErrUnavailable, "another process has taken over the commands of this one")

// Runner runs a program in a project. Run blocks until the program, and all that it started, has ended and nothing
// writes its output any more; started is called once when it runs. The end of ctx cancels.
type Runner interface {
	Run(ctx context.Context, p rdev.Project, s run.Spec, started func()) rdev.End
}

// Projects finds where commands run; *projects.Projects does.
type Projects interface {
	Get(ctx context.Context, name string) (rdev.Project, error)
	// Directory is where a command begins that asked for a directory below the project's.
	Directory(p rdev.Project, below string) (string, error)
}

// Hooks tells others of the ends of commands.
type Hooks interface {
	// Check finds what is wrong with the URL of a webhook, as far as can be told before it is called.
	Check(url string) error
	// Add writes down, in the transaction that records the end of c, that url is to be told of it.
	Add(ctx context.Context, tx *store.Tx, url string, c rdev.Command) error
	// Wake says that something was added, and kept.
	Wake()
}

// Metrics counts what happens. Its methods must be quick.
type Metrics interface {
	CommandRefused(kind error)
	CommandStarted(waited time.Duration)
	CommandEnded(reason rdev.Reason, took time.Duration)
}

// Options say what a service works with. All fields but those that say so are needed.
type Options struct {
	DB       *store.DB
	Logs     *outlog.Store
	Runner   Runner
	Projects Projects
	// Limits are [DefaultLimits] where they are 0.
	Limits Limits
	// Pressure says whether new commands are to be refused, for want of memory, and why; nil never does.
	Pressure func() (refuse bool, why string)
	// Hooks may be nil: then requests with a webhook are refused.
	Hooks Hooks
	// Killed is told of each command of which the kernel killed a process for want of memory, before its end is written down; where this process is killed just
	// then, the next one tells it again. It may be nil.
	Killed func(c rdev.Command)
	// Metrics may be nil.
	Metrics Metrics
	Log     *slog.Logger
	// Now is time.Now where it is nil.
	Now func() time.Time
}

// Service is a running service. Its methods may be called from several goroutines.
type Service struct {
	o      Options
	db     *store.DB
	log    *slog.Logger
	limits Limits
	owner  int64 // see the table rdev_state
	wake   chan struct{}

	mu       sync.Mutex
	queue    *queue
	entering map[string]int     // by caller: commands that are being written down as queued
	running  map[string]*active // by ID
	logs     map[string]*begun  // of queued commands that somebody reads already
	ledger   ledger
	full     bool // there is no room for another log until a command ends
	stopping bool
	replaced bool
	work     sync.WaitGroup // goroutines of running commands
	giveUp   chan struct{}  // closed when Run waits no longer for the database
}

// Open takes up what an earlier process left, and makes the service. [Service.Run] runs it.
func Open(ctx context.Context, o Options) (*Service, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Pressure == nil {
		o.Pressure = func() (bool, string) { return false, "" }
	}
	if o.Killed == nil {
		o.Killed = func(rdev.Command) {}
	}
	if o.Metrics == nil {
		o.Metrics = noMetrics{}
	}
	limits := o.Limits.withDefaults()
	if err := limits.Validate(); err != nil {
		return nil, err
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	if err := o.DB.Migrate(ctx, files, "rdev_schema"); err != nil {
		return nil, kind(err)
	}
	s := &Service{
		o: o, db: o.DB, log: o.Log, limits: limits,
		wake:     make(chan struct{}, 1),
		queue:    newQueue(),
		entering: map[string]int{},
		running:  map[string]*active{},
		giveUp:   make(chan struct{}),
		logs:     map[string]*begun{},
		ledger:   ledger{total: limits.TotalMemory},
	}
	if err := s.takeOver(ctx); err != nil {
		return nil, fmt.Errorf("take up the commands of an earlier process: %w", err)
	}
	return s, nil
}

const (
	// pruneEvery is how often what is too old is removed.
	pruneEvery = time.Minute
	// retry is the pause after the database has failed, and before it is asked again.
	retry = time.Second
	// stopTime bounds how long Run waits for commands to end once it is to stop. They have run.Grace, 10 s, to end by
	// themselves; Kubernetes waits 30 s in all.
	stopTime = 25 * time.Second
)

// errStopped is why commands are cancelled then.
var errStopped = errors.New("the service was stopped")

// Run starts queued commands until ctx ends; then it cancels those that run, and returns when their ends are written
// down, or after 25 s. What is queued waits for the next process.
func (s *Service) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var loops sync.WaitGroup
	loops.Go(func() { s.pruning(ctx) })
	err := s.schedule(ctx)
	cancel()
	s.mu.Lock()
	s.stopping = true
	for _, a := range s.running {
		a.cancel(errStopped)
	}
	s.mu.Unlock()
	ended := make(chan struct{})
	go func() { // it ends with the last command
		s.work.Wait()
		loops.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return err
	case <-time.After(stopTime):
		close(s.giveUp)
		s.mu.Lock()
		defer s.mu.Unlock()
		return errors.Join(err, fmt.Errorf("%d commands did not end within %v; the next process will record them as lost", len(s.running), stopTime))
	}
}

// nudge wakes the loop that starts commands.
func (s *Service) nudge() {
	select {
	case s.wake <- struct{}{}:
	default: // it is about to wake anyway
	}
}

func (s *Service) now() time.Time { return s.o.Now().UTC().Truncate(time.Microsecond) }

// noMetrics counts nothing.
type noMetrics struct{}

func (noMetrics) CommandRefused(error)                    {}
func (noMetrics) CommandStarted(time.Duration)            {}
func (noMetrics) CommandEnded(rdev.Reason, time.Duration) {}
