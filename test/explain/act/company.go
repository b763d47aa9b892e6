//go:build linux

package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
)

// company are the children of this process.
type company struct{ workers map[int64]*worker }

// worker is a child that lives until it is killed.
type worker struct {
	in   io.WriteCloser
	gone atomic.Bool
}

// worker lets worker i hold n bytes.
func (c *company) worker(i, n int64) error {
	w := c.workers[i]
	if w == nil {
		cmd := child(roleWorker)
		in, err := cmd.StdinPipe()
		if err != nil {
			return err
		}
		w = &worker{in: in}
		c.workers[i] = w
		err = begin(cmd, func() {
			w.gone.Store(true)
			fmt.Println("lost", i)
		})
		if err != nil {
			return err
		}
	}
	if w.gone.Load() {
		delete(c.workers, i) // the next order starts another
		return nil
	}
	// It fails when the worker was killed, which the next order will find.
	_, _ = fmt.Fprintln(w.in, "anon", n)
	return nil
}

// job starts one: BYTES TIME.
func (c *company) job(words []string) error {
	return begin(child(append([]string{roleJob}, words...)...), func() {})
}

// child is this program in a role. It dies with this process.
func child(args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// begin starts a child, says so, and calls ended when it has.
func begin(cmd *exec.Cmd, ended func()) error {
	if err := cmd.Start(); err != nil {
		return err
	}
	fmt.Println("pid", cmd.Process.Pid)
	go func() {
		_ = cmd.Wait() // to be killed is what it is for
		ended()
	}()
	return nil
}
