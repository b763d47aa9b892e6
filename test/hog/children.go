//go:build linux

package main

import (
	"fmt"
	"os"
	"syscall"
	"time"
)

const (
	// mostChildren run at once: a fork storm that a machine survives.
	mostChildren = 512
	// mostTimes is how often child starts one, so that its output stays bounded.
	mostTimes = 10_000
	// childStays is how long a child lives that nobody killed: long enough to be seen.
	childStays = time.Second
)

var childModes = []mode{
	{"child", "start a child that takes SIZE, N times, one after the other, and stay",
		`Where SIZE is beyond the limit the kernel kills the child and hog lives on: in Kubernetes
nothing of it shows in the status of the pod. A child that is not killed ends after 1s.`, declareChild},
	{"child-exit", "start a child that takes SIZE, and exit with CODE, 0 to 255, when it has ended",
		"This is a container that exits for want of a child that the kernel killed.", declareChildExit},
	{"fork-storm", "start N children, 1 to 512, at once; each takes SIZE and keeps it",
		"All together may take 16Gi.", declareForkStorm},
}

func declareChild(p *parameters) runner {
	n := p.size()
	times := number{value: 1, least: 1, most: mostTimes}
	p.flags.Var(&times, "times", fmt.Sprintf("how many, `N` from 1 to %d", mostTimes))
	every := p.duration("every", time.Second, 0, "the `TIME` from the end of one to the start of the next")
	return func(h *hog) error {
		for number := 1; number <= times.value; number++ {
			if number > 1 {
				if err := h.wait(every.Duration); err != nil {
					return err
				}
			}
			if err := h.start(number, *n, childStays); err != nil {
				return err
			}
			if err := h.waitForChildren(); err != nil {
				return err
			}
		}
		h.say("all children ended")
		return h.wait(forever)
	}
}

func declareChildExit(p *parameters) runner {
	code := p.code()
	n := p.size()
	after := p.duration("after", 0, 0, "the `TIME` from the end of the child to the exit")
	return func(h *hog) error {
		if err := h.start(1, *n, childStays); err != nil {
			return err
		}
		if err := h.waitForChildren(); err != nil {
			return err
		}
		if err := h.wait(after.Duration); err != nil {
			return err
		}
		return exitCode(code.value)
	}
}

func declareForkStorm(p *parameters) runner {
	children := number{least: 1, most: mostChildren}
	p.argument("N", &children)
	n := p.size()
	p.check = func() error {
		if n.pages()*int64(children.value) > mostBytes {
			return fmt.Errorf("%d times %v is more than 16Gi, the most that hog takes", children.value, n)
		}
		return nil
	}
	return func(h *hog) error {
		for number := 1; number <= children.value; number++ {
			if err := h.start(number, *n, 0); err != nil {
				return err
			}
		}
		h.say("all children started")
		if err := h.waitForChildren(); err != nil {
			return err
		}
		h.say("all children ended")
		return h.wait(forever)
	}
}

// start starts a child that holds n bytes for a time, or for as long as this process lives where
// that is 0. It gets this program from /proc, for there may be no other, and is killed when
// this process ends.
func (h *hog) start(number int, n size, stays time.Duration) error {
	name := fmt.Sprintf("%s.%d", h.name, number)
	args := []string{name, "hold", n.String(), "--name", name, "--for", stays.String()}
	pid, err := syscall.ForkExec("/proc/self/exe", args, &syscall.ProcAttr{
		Env:   os.Environ(),
		Files: []uintptr{0, 1, 2},
		Sys:   &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		return fmt.Errorf("start child %d: %w", number, err)
	}
	h.children[pid] = number
	h.say("child %d started: pid %d", number, pid)
	return nil
}
