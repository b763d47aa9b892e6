package counters

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"stella/internal/oom"
	"stella/internal/oom/tree"
)

// Where this process cannot wait for events, Run ends once and for all: it says why, so does Report, and what is
// still told of cgroups does no harm.
func TestFailureIsFinal(t *testing.T) {
	k := newKernel(t, 1)
	c, err := New(Options{Hierarchy: k.h, Proc: k.proc})
	if err != nil {
		t.Fatal(err)
	}
	if r := c.Report(); r.State != "ok" {
		t.Errorf("before: %+v", r)
	}
	// What the waiter waits with is no epoll instance any more.
	if err := unix.Dup3(c.node.fd, c.wait.fd, unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	drop := func(oom.Rise) {}
	if err := c.Run(t.Context(), drop); !errors.Is(err, unix.EINVAL) {
		t.Errorf("Run: %v, want EINVAL", err)
	}
	if r := c.Report(); r.State != "failed" || !strings.Contains(r.Detail, "invalid argument") {
		t.Errorf("after: %+v", r)
	}
	if err := c.Run(t.Context(), drop); !errors.Is(err, errEnded) {
		t.Errorf("Run again: %v", err)
	}
	cg := tree.Cgroup{Path: "/top", Dir: k.h.Mount + "/top", ID: k.ids["/top"], Version: 2}
	c.Add(cg)
	c.Remove(cg)
	if _, _, ok := c.Lookup(1 << 30); ok {
		t.Error("a process that there is not was found")
	}
}
