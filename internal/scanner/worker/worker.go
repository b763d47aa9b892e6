// Package worker runs scans in child processes with memory limits, one attempt at a
// time in each, and says truthfully how each attempt ended.
//
// Words: the parent side is a [Process], in stellad; the child side is [Serve], in
// `stella worker`. A [Task] goes down the child's standard input as one line of
// JSON; what the child tells comes up its standard output, one message a line:
// that it is ready, progress, log lines, and the end of the task. Its standard
// error belongs to the Go runtime, which writes there why it dies. Isolation is
// how the limit is kept: by a memory cgroup of the process's own, or, where none
// can be made, by watching its resident set, which is a fallback.
//
// Hazards:
//
//   - How an attempt ended is decided after the process was waited for and its
//     cgroup's counters were read again. A SIGKILL that the cgroup did not count came
//     from somebody else, and is never called out of memory.
//   - The child works on hostile input, so what it writes is not trusted: lines are
//     bounded, and who floods or writes garbage is killed.
//   - When stellad dies, however it dies, its workers read the end of standard input
//     and end at once. Only a worker that hangs in the kernel stays; the next stellad
//     removes it with [CleanUp].
//   - The fallback looks every 50 ms, so a process can pass its limit for a moment, and it
//     does not see memory that is not mapped. So nothing is scanned in [scanner.ModeMemory] there.
package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"

	"stella/internal/cgroup"
	"stella/internal/scanner"
)

const (
	// highMargin is how far below its limit a worker is slowed down, on cgroup v2, so
	// that page cache is dropped in its own time before the kernel looks for somebody to kill.
	// It is small because a worker that really needs more only ends later by it.
	highMargin = 2 << 20
	// endTime is how long a worker has to end that was told to, before it is killed.
	endTime = time.Second
	// oomScore makes the kernel choose a worker before stellad and most others when
	// the whole machine has no memory left: of all processes, a worker's loss costs least.
	oomScore = "500"
	// niceness lets stellad go first when many workers want the processors: when fifty are
	// killed and started again at once, the next attempts must not wait for that.
	niceness = 10
)

// What ended the context of [Process.Run], as its cause.
var (
	ErrTimeout   = errors.New("the time for the scan was up")
	ErrCancelled = errors.New("the scan was cancelled")
)

// Config says how to start a worker.
type Config struct {
	// Program is the program with the command "worker"; Args and Env replace
	// that command and this process's environment.
	Program string
	Args    []string
	Env     []string
	// Name is for messages.
	Name string
	// Group is the name of the worker's cgroup, of this instance of stellad alone.
	Group string
	// Limit is the memory that the process may use, in bytes.
	Limit int64
	// Log takes what the worker says: source is "worker", or "stderr" for a line that its process
	// wrote there. It must not block, and is called by several goroutines, without
	// any lock of this package.
	Log func(level slog.Level, source, message string)
}

// Process is a worker's process. Its methods may be called from several
// goroutines, but [Process.Run] by one at a time.
type Process struct {
	cfg   Config
	cmd   *exec.Cmd
	group *cgroup.Group // nil in the fallback
	stdin *os.File
	// oldPeak says once that peaks are since the start.
	oldPeak sync.Once

	ready   chan struct{} // closed when the child has said hello
	readers sync.WaitGroup
	exited  chan struct{}
	// Set before exited is closed.
	exit    scanner.Exit
	outcome scanner.Outcome

	mu       sync.Mutex
	dead     bool     // it has ended; no reason to kill it counts any more
	finished bool     // exit and outcome are set; it takes no task any more
	killed   *killing // why this side killed it; the first reason counts
	current  *attempt
	stderr   stderr
	usage    usage
}

// killing is why this side killed a worker.
type killing struct {
	outcome scanner.Outcome
	reason  string
}

// Start starts a worker and waits until it is ready. The caller must Close it.
func Start(ctx context.Context, cfg Config) (*Process, error) {
	p, err := start(ctx, cfg, func() (*cgroup.Group, error) {
		return cgroup.New(cfg.Group, cgroup.Limit{Memory: cfg.Limit, High: cfg.Limit - highMargin, KillGroup: true})
	})
	if err != nil {
		return nil, fmt.Errorf("start worker %s: %w", cfg.Name, err)
	}
	return p, nil
}

func start(ctx context.Context, cfg Config, isolate func() (*cgroup.Group, error)) (*Process, error) {
	if cfg.Args == nil {
		cfg.Args = []string{"worker"}
	}
	group, err := isolate()
	if err != nil && !errors.Is(err, cgroup.ErrUnsupported) {
		return nil, err
	}
	p := &Process{cfg: cfg, group: group, ready: make(chan struct{}), exited: make(chan struct{})}
	if err := p.launch(); err != nil {
		return nil, errors.Join(err, p.removeGroup())
	}
	select {
	case <-p.ready:
		return p, nil
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-p.exited:
		err = errors.New(p.exit.Message)
	}
	return nil, errors.Join(err, p.Close())
}

// launch starts the program and the goroutines that read what it writes and wait for its end.
func (p *Process) launch() error {
	p.cmd = exec.Command(p.cfg.Program, p.cfg.Args...)
	p.cmd.Env = p.cfg.Env
	// Its own process group: signals of a terminal are for stellad, and what it starts ends with it.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var pipes [3][2]*os.File
	var err error
	for i := range pipes {
		if pipes[i][0], pipes[i][1], err = os.Pipe(); err != nil {
			closeAll(pipes[:i])
			return err
		}
	}
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = pipes[0][0], pipes[1][1], pipes[2][1]
	begin := p.cmd.Start
	if p.group != nil {
		begin = func() error { return p.group.Start(p.cmd) }
	}
	if err := begin(); err != nil {
		closeAll(pipes[:])
		return err
	}
	for _, childs := range []*os.File{pipes[0][0], pipes[1][1], pipes[2][1]} {
		childs.Close()
	}
	p.stdin = pipes[0][1]
	p.usage.begin = time.Now()
	score := "/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/oom_score_adj"
	_ = os.WriteFile(score, []byte(oomScore), 0) // a preference, no more
	// Of the process group: of a process alone it would be the first thread's.
	_ = syscall.Setpriority(syscall.PRIO_PGRP, p.cmd.Process.Pid, niceness)

	p.readers.Go(func() { p.readMessages(pipes[1][0]) })
	p.readers.Go(func() { p.readStderr(pipes[2][0]) })
	stop := make(chan struct{})
	var watcher sync.WaitGroup
	if p.group == nil {
		watcher.Go(func() { p.watch(stop) })
	}
	go func() {
		p.wait(pipes[1][0], pipes[2][0])
		close(stop)
		watcher.Wait()
		p.finish()
		close(p.exited)
	}()
	return nil
}

func closeAll(pipes [][2]*os.File) {
	for _, pair := range pipes {
		pair[0].Close()
		pair[1].Close()
	}
}

// PID is the process's.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Limited reports whether a cgroup keeps the limit.
func (p *Process) Limited() bool { return p.group != nil }

// Isolation says for people how the limit is kept; see [scanner.Worker].
func (p *Process) Isolation() string {
	if p.group == nil {
		return "fallback: resident set watched"
	}
	return "cgroup v" + strconv.Itoa(p.group.Version())
}

// Exited is closed when the process has ended and was waited for.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Exit is how the process ended. It is to be called after Exited was closed.
func (p *Process) Exit() scanner.Exit { return p.exit }

// Close ends the process, waits for it, and removes its cgroup. An attempt that
// runs is lost. A second Close does nothing.
func (p *Process) Close() error {
	p.mu.Lock()
	why := killing{scanner.OutcomeLost, "the worker was told to end"}
	if p.killed == nil && !p.dead {
		p.killed = &why
	}
	p.mu.Unlock()
	p.stdin.Close() // at its end a worker ends, by itself and with exit code 0
	t := time.NewTimer(endTime)
	defer t.Stop()
	select {
	case <-p.exited:
	case <-t.C:
		p.kill(why)
		<-p.exited
	}
	return p.removeGroup()
}

func (p *Process) removeGroup() error {
	if p.group == nil {
		return nil
	}
	return p.group.Close()
}

// CleanUp removes what an earlier instance left of cgroups with this name, with the
// processes in them. No other process may use the name.
func CleanUp(group string) error {
	_, err := cgroup.RemoveLeft(group)
	return err
}
