package guest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// outputGrace is how long the output of processes that outlive the program is waited for.
const outputGrace = 2 * time.Second

// limitFiles are the open files that a service of systemd may have: the soft and the hard limit.
var limitFiles = syscall.Rlimit{Cur: 1024, Max: 512 << 10}

// run runs the program in the cgroup and waits until it has ended.
func run(plan Plan, cgroup string) (Result, error) {
	group, err := os.Open(cgroup)
	if err != nil {
		return Result{}, err
	}
	defer group.Close()
	input, err := os.Open(os.DevNull)
	if err != nil {
		return Result{}, err
	}
	defer input.Close()
	port, err := openPort("/dev/ttyS1")
	if err != nil {
		return Result{}, err
	}
	// A pipe, because a program can behave differently on a terminal.
	output, write, err := os.Pipe()
	if err != nil {
		return Result{}, err
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limitFiles); err != nil {
		return Result{}, fmt.Errorf("limit open files: %w", err)
	}
	fmt.Fprintln(os.Stderr, "init: start", plan.Args[0]) // on the console: where a machine hung
	pid, err := syscall.ForkExec(plan.Args[0], plan.Args, &syscall.ProcAttr{
		Dir:   plan.Dir,
		Env:   plan.Env,
		Files: []uintptr{input.Fd(), write.Fd(), write.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true, UseCgroupFD: true, CgroupFD: int(group.Fd())},
	})
	write.Close()
	if err != nil {
		return Result{}, fmt.Errorf("start %s in %s: %w", plan.Args[0], plan.Dir, err)
	}
	copied := make(chan error, 1)
	go func() {
		_, err := io.Copy(port, output)
		copied <- errors.Join(err, port.drain())
	}()
	status, err := wait(pid)
	if err != nil {
		return Result{}, err
	}
	select {
	case err = <-copied:
	case <-time.After(outputGrace):
		err = port.drain()
	}
	if status.Signaled() {
		return Result{Signal: int(status.Signal())}, err
	}
	return Result{Exit: status.ExitStatus()}, err
}

// wait reaps every process that ends, orphans too, until this one does.
func wait(pid int) (syscall.WaitStatus, error) {
	for {
		var status syscall.WaitStatus
		ended, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return 0, fmt.Errorf("wait for process %d: %w", pid, err)
		case ended == pid:
			return status, nil
		}
	}
}

// report writes the result.
func report(r Result) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return tell(line)
}

// tell writes a line to the third serial port.
func tell(line []byte) error {
	port, err := openPort("/dev/ttyS2")
	if err != nil {
		return err
	}
	defer port.Close()
	if _, err := port.Write(append(line, '\n')); err != nil {
		return err
	}
	return port.drain()
}

// port is a serial port that passes bytes on as they are.
type port struct{ *os.File }

func openPort(name string) (port, error) {
	f, err := os.OpenFile(name, os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return port{}, err
	}
	mode, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		return port{}, fmt.Errorf("read the mode of %s: %w", name, err)
	}
	mode.Oflag &^= unix.OPOST
	mode.Lflag &^= unix.ECHO | unix.ICANON | unix.ISIG
	// The emulated port has no speed, but the driver waits by it.
	mode.Cflag = mode.Cflag&^unix.CBAUD | unix.B115200
	if err := unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, mode); err != nil {
		return port{}, fmt.Errorf("set the mode of %s: %w", name, err)
	}
	return port{f}, nil
}

// drain waits until all that was written has left the machine.
func (p port) drain() error {
	if err := unix.IoctlSetInt(int(p.Fd()), unix.TCSBRK, 1); err != nil {
		return fmt.Errorf("drain %s: %w", p.Name(), err)
	}
	return nil
}
