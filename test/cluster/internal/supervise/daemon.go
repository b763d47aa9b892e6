package supervise

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
)

// tailBytes is how much of a daemon's log an error shows: the last words, which
// name the cause, not the start-up before them.
const tailBytes = 2 << 10

// daemons are the running children of a node, by name. A daemon that ends by
// itself is the end of the node: a cluster without its API server is no cluster.
type daemons struct {
	dir   string
	ended chan error
	all   map[string]*daemon
}

type daemon struct {
	cmd     *exec.Cmd
	done    chan struct{}
	stopped atomic.Bool // on purpose
}

func newDaemons(dir string) *daemons {
	return &daemons{dir: dir, ended: make(chan error, 16), all: map[string]*daemon{}}
}

// start starts a program in the cluster's directory, its output at the end of a
// log there. The calling goroutine must be locked to its thread for as long as
// the daemon is to live: the kernel kills the daemon when that thread ends, and so
// whatever kills this process.
func (d *daemons) start(name, file string, args ...string) error {
	log, err := os.OpenFile(filepath.Join(d.dir, Logs, name+".log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	defer log.Close()
	started := &daemon{cmd: exec.Command(file, args...), done: make(chan struct{})}
	cmd := started.cmd
	cmd.Dir, cmd.Stdout, cmd.Stderr = d.dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	d.all[name] = started
	go func() {
		defer close(started.done)
		_ = cmd.Wait() // the state says it
		if !started.stopped.Load() {
			d.ended <- fmt.Errorf("%s ended (%s); the end of its log:\n%s", name, cmd.ProcessState, tail(log.Name()))
		}
	}()
	return nil
}

// stop kills the daemons of these names, all before it waits for the first.
func (d *daemons) stop(names ...string) {
	for _, name := range names {
		d.all[name].stopped.Store(true)
		_ = d.all[name].cmd.Process.Kill() // ended already: as well
	}
	for _, name := range names {
		<-d.all[name].done
	}
}

// kill ends all daemons. The cage takes what they started.
func (d *daemons) kill() { d.stop(slices.Collect(maps.Keys(d.all))...) }

// tail returns the end of a file, for an error message.
func tail(name string) string {
	f, err := os.Open(name)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if size, err := f.Seek(0, io.SeekEnd); err == nil {
		_, _ = f.Seek(max(0, size-tailBytes), io.SeekStart)
	}
	data, err := io.ReadAll(io.LimitReader(f, tailBytes))
	if err != nil {
		return err.Error()
	}
	return string(bytes.TrimSpace(data))
}
