package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	// A server that was killed is killed again while it starts, once in so many times,
	// within startTime, in which it takes up what was left.
	againOnce = 3
	startTime = 400 * time.Millisecond
	// Kills come when the first firstKill of all jobs have ended, and before lastKill of them have, in per cent.
	firstKill, lastKill = 3, 90
)

func upTo(random *rand.Rand, d time.Duration) time.Duration {
	return time.Duration(random.Int64N(int64(d)))
}

// start is the beginning of a process of a server.
type start struct {
	server string
	at     time.Time
}

// killServers kills a server again and again while the jobs are done, and starts it at
// once each time. It returns when that was.
func killServers(servers []*stellad, orders *orders, r run, random *rand.Rand) (starts []start) {
	var moments []int // in jobs that have ended
	for range r.kills {
		moments = append(moments, r.jobs*(firstKill+random.IntN(lastKill-firstKill))/100)
	}
	slices.Sort(moments)
	again := func(s *stellad) {
		s.kill()
		s.start()
		starts = append(starts, start{s.name, s.current().began})
	}
	for _, m := range moments {
		s := servers[random.IntN(len(servers))]
		orders.waitFor(s.client, m)
		time.Sleep(upTo(random, 100*time.Millisecond))
		again(s)
		if random.IntN(againOnce) == 0 {
			time.Sleep(upTo(random, startTime))
			again(s)
		}
	}
	return starts
}

// killWorkers kills a worker of the server now and then, until the returned
// function is called, which returns how many it were.
func killWorkers(t *testing.T, s *stellad, mean time.Duration, seed uint64) func() int {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	random := rand.New(rand.NewPCG(seed, seed))
	n := 0
	var work sync.WaitGroup
	work.Go(func() {
		for {
			select {
			case <-time.After(upTo(random, 2*mean)):
			case <-ctx.Done():
				return
			}
			workers := childrenOf(s.current().cmd.Process.Pid)
			if len(workers) == 0 {
				continue
			}
			killed, err := killChild(workers[random.IntN(len(workers))], s.current().cmd.Process.Pid)
			if err != nil {
				t.Error(err)
			}
			if killed {
				n++
			}
		}
	})
	end := func() int {
		stop()
		work.Wait()
		return n
	}
	t.Cleanup(func() { end() })
	return end
}

// childrenOf lists the children of a process; none where it has just ended.
func childrenOf(pid int) (all []int) {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid)) // the pattern is good
	for _, list := range lists {
		text, _ := os.ReadFile(list) // a thread can end meanwhile
		for field := range strings.FieldsSeq(string(text)) {
			child, _ := strconv.Atoi(field)
			all = append(all, child)
		}
	}
	slices.Sort(all)
	return all
}

// killChild kills a process that is a child of another, and reports whether it
// was. A number can have become another process's meanwhile, so it is looked at again behind a handle.
func killChild(pid, parent int) (bool, error) {
	p, err := os.FindProcess(pid) // a pidfd
	if err != nil {
		return false, err
	}
	defer p.Release()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false, nil
	}
	// proc_pid_stat(5): the name, in parentheses, can have anything in it; then come state and parent.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 2 || fields[1] != strconv.Itoa(parent) {
		return false, nil
	}
	err = p.Signal(syscall.SIGKILL)
	if errors.Is(err, os.ErrProcessDone) {
		return false, nil
	}
	return err == nil, err
}
