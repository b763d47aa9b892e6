// Package logs keeps the service's own log in its database, so that it can be
// asked for by job, level and words, whichever instance or worker said it.
//
// Words: a line is one record, of the server or of a worker; its number ascends
// over all instances, in the order in which lines can be seen. The queue is what
// waits to be written.
//
// Hazards:
//
//   - Saying something must never wait for the database. So the queue is bounded
//     in bytes, and what does not fit is dropped: the log says how many lines.
//   - Lines are text from anywhere, also from hostile images. Control characters
//     become spaces, so that a line is one line and no terminal obeys it, and what
//     is longer than [scanner.MaxLogLine] is cut, and says so.
//   - The logger given to [Open] takes the faults of the log itself. It must not
//     lead back here, or a broken database would feed itself.
//   - A line is on disk some 200 ms after it was said. A process that is killed
//     loses what it said last; its standard error still has it.
package logs

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"stella/internal/scanner"
	"stella/internal/store"
)

const (
	// maxQueue bounds the lines that wait, in bytes: some 5,000 of ordinary length,
	// which is more than a storm of worker deaths says, and little beside 64 MiB.
	maxQueue = 1 << 20
	// lineOverhead is what a line takes beside its text, in the queue and in the database.
	lineOverhead = 160
	// maxBatch bounds the lines of one transaction, which others wait for.
	maxBatch = 500
	// gather is how long the first line waits for more: each transaction costs one wait for the disk.
	gather = 200 * time.Millisecond
	// retryPause is between two tries to write when the database fails.
	retryPause = time.Second
	// closeTime bounds the last writing.
	closeTime = 5 * time.Second
)

//go:embed migrations/*.sql
var migrations embed.FS

// Logs is the log. It is safe for concurrent use.
type Logs struct {
	db       *store.DB
	instance string
	log      *slog.Logger

	wake  chan struct{} // there are lines
	hurry chan struct{} // somebody waits for them
	stop  chan struct{}
	done  chan struct{}
	end   context.CancelFunc // of the writing

	mu       sync.Mutex
	queue    []scanner.LogLine
	bytes    int
	dropped  int64
	appended uint64        // lines that entered the queue, ever
	kept     uint64        // of those, how many are in the database
	changed  chan struct{} // closed and replaced when there are new lines in the database
	closed   bool
	failure  error // of the last try to write
}

// Open makes the log's tables where they are not there, and begins to write
// what is appended. instance names this process in its lines. log takes the log's own faults.
func Open(ctx context.Context, db *store.DB, instance string, log *slog.Logger) (*Logs, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	if err := db.Migrate(ctx, files, "logs_schema"); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	l := &Logs{
		db: db, instance: instance, log: log,
		wake: make(chan struct{}, 1), hurry: make(chan struct{}, 1),
		stop: make(chan struct{}), done: make(chan struct{}), end: cancel,
		changed: make(chan struct{}),
	}
	go l.write(ctx)
	return l, nil
}

// Append adds a line, and returns at once. The line's ID is given when it is
// written; an empty instance means this one, and a zero time now.
func (l *Logs) Append(line scanner.LogLine) {
	line.Message = tidy(line.Message)
	if line.Instance == "" {
		line.Instance = l.instance
	}
	if line.At.IsZero() {
		line.At = time.Now()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.bytes+sizeOf(line) > maxQueue {
		l.dropped++
		return
	}
	l.queue = append(l.queue, line)
	l.bytes += sizeOf(line)
	l.appended++
	nudge(l.wake)
}

// sizeOf is what a line takes in memory, and about what it takes on disk.
func sizeOf(line scanner.LogLine) int {
	return len(line.Message) + len(line.Worker) + len(line.Instance) + lineOverhead
}

func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // it is about to be seen anyway
	}
}

// Close writes what waits, for at most five seconds, and ends. What could not be
// written is an error that says how much.
func (l *Logs) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	l.mu.Unlock()
	close(l.stop)
	timer := time.AfterFunc(closeTime, l.end)
	<-l.done
	timer.Stop()
	l.end()
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.queue); n > 0 {
		return fmt.Errorf("the last %d lines of the log could not be written: %w", n, l.failure)
	}
	return nil
}
