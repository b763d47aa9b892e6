package cgroup

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
)

// Start starts cmd as a member of the group, from its first instruction on. The
// caller waits for cmd as usual.
//
// On v2 the kernel places the child (CLONE_INTO_CGROUP, Linux 5.7). On v1 a
// child is born into the cgroup of the thread that forks it, and v1 places
// threads one by one: so a locked thread enters the group, forks, and goes home.
// The alternatives are worse: a shell that moves itself needs a shell on the
// machine and runs before the program does; moving a started child is a race
// that the child's first allocations win; stopping it by ptrace is forbidden
// in many containers. The memory of this process stays where it was, because the
// kernel charges it to the thread group leader's cgroup and the leader is never
// the thread that moves.
func (g *Group) Start(cmd *exec.Cmd) error {
	if g.version == 1 {
		return g.startV1(cmd)
	}
	return g.startV2(cmd)
}

// StartFrom is Start, after before has run in the thread that starts cmd. The thread ends afterwards: what
// before did to it alone, such as to give up privileges, is inherited by cmd and by nobody else.
func (g *Group) StartFrom(cmd *exec.Cmd, before func() error) error {
	done := make(chan error, 1)
	go onOtherThread(func() {
		runtime.LockOSThread() // for good: a goroutine that ends so takes its thread with it
		if err := before(); err != nil {
			done <- fmt.Errorf("start %s in cgroup %s: %w", cmd.Path, g.dir, err)
			return
		}
		if g.version == 2 {
			done <- g.startV2(cmd)
			return
		}
		err := g.startFromInside(cmd)
		if err != nil {
			err = fmt.Errorf("start %s in cgroup %s: %w", cmd.Path, g.dir, err)
		}
		done <- err
	})
	return <-done
}

func (g *Group) startV2(cmd *exec.Cmd) error {
	dir, err := os.Open(g.dir)
	if err != nil {
		return fmt.Errorf("start %s in cgroup: %w", cmd.Path, err)
	}
	defer dir.Close()
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.UseCgroupFD = true
	cmd.SysProcAttr.CgroupFD = int(dir.Fd())
	if err := cmd.Start(); err != nil {
		if errors.Is(err, syscall.ENOSYS) {
			return fmt.Errorf("start %s in cgroup %s: %w; the kernel or a seccomp profile lacks clone3 (Linux 5.7)", cmd.Path, g.dir, err)
		}
		return fmt.Errorf("start %s in cgroup %s: %w", cmd.Path, g.dir, err)
	}
	return nil
}

func (g *Group) startV1(cmd *exec.Cmd) error {
	done := make(chan error, 1)
	go onOtherThread(func() { done <- g.startFromInside(cmd) })
	if err := <-done; err != nil {
		return fmt.Errorf("start %s in cgroup %s: %w", cmd.Path, g.dir, err)
	}
	return nil
}

// onOtherThread runs f on a locked thread that is not the thread group leader.
// Where this goroutine has been given the leader, it holds it, so that the
// goroutine it starts gets another.
func onOtherThread(f func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if syscall.Gettid() != syscall.Getpid() {
		f()
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		onOtherThread(f)
	}()
	<-done
}

// startFromInside must run on a locked thread that is not the leader.
func (g *Group) startFromInside(cmd *exec.Cmd) error {
	tid := strconv.Itoa(syscall.Gettid())
	for _, dir := range g.inside() {
		if err := write(dir, "tasks", tid); err != nil {
			return errors.Join(fmt.Errorf("enter: %w", err), g.goHome(tid))
		}
	}
	startErr := cmd.Start()
	if err := g.goHome(tid); err != nil {
		// A goroutine that ends without unlocking takes its thread with it, and
		// the thread its membership.
		runtime.LockOSThread()
		if startErr == nil {
			startErr = errors.Join(err, cmd.Process.Kill(), reap(cmd))
		}
	}
	return startErr
}

// inside are the directories of a group on v1 that a thread enters.
func (g *Group) inside() []string {
	if g.processes == "" {
		return []string{g.dir}
	}
	return []string{g.dir, g.processes}
}

// goHome brings a thread back to where this process belongs, on v1.
func (g *Group) goHome(tid string) error {
	homes := []string{g.home}
	if g.processes != "" {
		homes = append(homes, filepath.Dir(g.processes)) // LimitProcesses makes it nowhere else
	}
	var errs []error
	for _, dir := range homes {
		if err := write(dir, "tasks", tid); err != nil {
			errs = append(errs, fmt.Errorf("go home: %w", err))
		}
	}
	return errors.Join(errs...)
}

// reap waits for a child that was killed because its start failed halfway.
func reap(cmd *exec.Cmd) error {
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) {
		return err
	}
	return nil
}

// ownV1Directory is the v1 memory cgroup of the calling process as a directory.
func ownV1Directory() (string, error) {
	places, err := ownPlaces("/proc")
	if err != nil {
		return "", err
	}
	for _, p := range places {
		if p.version == 1 {
			return p.own, nil
		}
	}
	return "", errors.New("the v1 memory controller is no longer mounted")
}
