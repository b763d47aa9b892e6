// Package daemon runs a stellad of one's own, the real program with real workers,
// for measurements and for tests of the whole.
//
// A daemon has a directory of its own for its data and its socket, and listens
// nowhere else unless it is told to. It ends when it is told to, or when this
// process ends, and takes its workers and their cgroups with it.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"stella/internal/client"
)

const (
	// startTime bounds how long a daemon may take until it answers, on a busy machine.
	startTime = 30 * time.Second
	// stopTime is how long it may take to end its workers and itself before it is killed.
	stopTime = 30 * time.Second
	// pollPause is between two looks at whether it answers.
	pollPause = 5 * time.Millisecond
)

// Build builds stella and stellad into dir, as they are shipped: without cgo, so
// also without the race detector.
func Build(ctx context.Context, dir string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", dir+string(filepath.Separator), "stella/cmd/stella", "stella/cmd/stellad")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build stella and stellad: %w: %s", err, out)
	}
	return nil
}

// Options say how a daemon is started.
type Options struct {
	// Programs is the directory with stella and stellad.
	Programs string
	// Dir is for its data, its socket, and what it says on standard error. It must exist,
	// and its path be short: a socket's has at most 107 bytes.
	Dir string
	// Args are more flags of stellad. Without --admin in them there is no admin listener.
	Args []string
}

// Daemon is a running stellad, and a client of its socket.
type Daemon struct {
	*client.Client
	PID int
	// Started is how long it took from its start to its first answer.
	Started time.Duration
	// Log is the file with its standard error, Data the directory with its data.
	Log, Data string

	cmd    *exec.Cmd
	exited chan struct{}
	err    error // of the process; set before exited is closed
}

// Start starts a daemon and waits until it answers. The caller must Stop it.
func Start(ctx context.Context, o Options) (*Daemon, error) {
	socket := filepath.Join(o.Dir, "s")
	c, err := client.New(client.Options{Address: "unix://" + socket, UserAgent: "stella-bench"})
	if err != nil {
		return nil, err
	}
	d := &Daemon{Client: c, exited: make(chan struct{}), Log: filepath.Join(o.Dir, "stellad.log"), Data: filepath.Join(o.Dir, "data")}
	log, err := os.OpenFile(d.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	args := []string{"--data-dir", d.Data, "--socket", socket, "--instance", "bench", "--admin", ""}
	d.cmd = exec.Command(filepath.Join(o.Programs, "stellad"), append(args, o.Args...)...)
	d.cmd.Stderr = log
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	begin := time.Now()
	if err := d.run(); err != nil {
		return nil, err
	}
	if err := d.await(ctx); err != nil {
		return nil, errors.Join(err, d.Stop())
	}
	d.Started = time.Since(begin)
	return d, nil
}

// run starts the process and waits for it in the background.
func (d *Daemon) run() error {
	started := make(chan error)
	go func() {
		// Pdeathsig is about the thread that starts the process: it must live as long.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := d.cmd.Start()
		started <- err
		if err == nil {
			d.err = d.cmd.Wait()
		}
		close(d.exited)
	}()
	if err := <-started; err != nil {
		return err
	}
	d.PID = d.cmd.Process.Pid
	return nil
}

// await returns when the daemon answers.
func (d *Daemon) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	for {
		_, err := d.Queue(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-d.exited:
			return fmt.Errorf("stellad ended before it answered (%w); see %s", d.err, d.Log)
		case <-ctx.Done():
			return fmt.Errorf("stellad does not answer: %w; see %s", err, d.Log)
		case <-time.After(pollPause):
		}
	}
}

// Stop ends the daemon and waits for it. That it did not end by itself, or not
// well, is an error. A second Stop does nothing more.
func (d *Daemon) Stop() error {
	d.Close()
	_ = d.cmd.Process.Signal(syscall.SIGTERM) // ended already is what is wanted
	select {
	case <-d.exited:
		return d.err
	case <-time.After(stopTime):
	}
	_ = d.cmd.Process.Kill()
	<-d.exited
	return fmt.Errorf("stellad was told to end, and killed after %v; see %s", stopTime, d.Log)
}

// FreePort is an address of the loopback interface that nobody listens on now.
func FreePort(ctx context.Context) (string, error) {
	var c net.ListenConfig
	l, err := c.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
