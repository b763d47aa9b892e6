package explain

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"stella/internal/cgroup"
	"stella/internal/oom"
)

const (
	// backOff is after what time a container that ended is started again, and doubled each time to mostBackOff, as the kubelet does.
	backOff     = 10 * time.Second
	mostBackOff = 40 * time.Second // less than the kubelet's 5 minutes, of a scene of 15
	// groupName begins the names of all cgroups.
	groupName = "stella-explain"
	// preferred is the oom_score_adj of what has something beside it, so that it is the victim.
	preferred = 600
)

// stage is a scene that is played.
type stage struct {
	*lab
	*scene
	began  time.Time
	around *cgroup.Group // that of scene.outer; nil where there is none

	mu     sync.Mutex
	pids   map[int]bool
	mains  map[int]bool
	starts []time.Time
	gauges map[string][]point
	series []oom.Sample
	next   []oom.Sample // of what is beside it
	// counted is how many kills the cgroups of the container counted.
	counted int
}

// point is a value of a gauge in the test's time.
type point struct {
	at    time.Time
	value float64
}

// play plays a scene, and returns what there is to know of it.
func (l *lab) play(s *scene) (r *recording, err error) {
	st := &stage{lab: l, scene: s, pids: map[int]bool{}, mains: map[int]bool{}, gauges: map[string][]point{}}
	if s.outer > 0 {
		if st.around, err = cgroup.New(groupName, cgroup.Limit{Memory: s.outer}); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, st.around.Close()) }()
	}
	st.began = time.Now()
	ctx, stop := context.WithDeadline(context.Background(), st.began.Add(s.length/stretch))
	defer stop()
	var beside sync.WaitGroup
	var besideErr error
	if s.beside != nil {
		beside.Go(func() { besideErr = st.lives(ctx, s.beside, true) })
	}
	err = st.lives(ctx, s.script, false)
	beside.Wait()
	if err := errors.Join(err, besideErr); err != nil {
		return nil, fmt.Errorf("%s: %w", s.name(), err)
	}
	time.Sleep(settle)
	r = st.recording()
	if n := st.own(r.Input.Kills); n != st.counted {
		l.Logf("%s: its cgroups counted %d kills, and %d are found in the kernel log", s.name(), st.counted, n)
	}
	return r, nil
}

// settle is until the kernel log has been read.
const settle = 200 * time.Millisecond

// lives plays one life after the other.
func (st *stage) lives(ctx context.Context, does script, beside bool) error {
	wait := backOff
	for number := 0; ctx.Err() == nil; number++ {
		if err := st.live(ctx, does, number, beside); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait / stretch):
		}
		wait = min(2*wait, mostBackOff)
	}
	return nil
}

// room makes a cgroup for one life.
func (st *stage) room(beside bool) (dir string, closes func() error, err error) {
	if st.around == nil {
		g, err := cgroup.New(groupName, cgroup.Limit{Memory: st.limit})
		if err != nil {
			return "", nil, err
		}
		return g.Dir(), g.Close, nil
	}
	if st.tree.Version == 2 {
		if err := os.WriteFile(filepath.Join(st.around.Dir(), "cgroup.subtree_control"), []byte("+memory"), 0); err != nil {
			return "", nil, err
		}
	}
	dir, err = os.MkdirTemp(st.around.Dir(), "")
	if err != nil || st.limit == 0 || beside {
		return dir, func() error { return nil }, err // it goes with the outer one
	}
	file := map[int]string{1: "memory.limit_in_bytes", 2: "memory.max"}[st.tree.Version]
	return dir, func() error { return nil }, os.WriteFile(filepath.Join(dir, file), []byte(strconv.FormatInt(st.limit, 10)), 0)
}

// live plays one life to its end, or to that of the scene.
func (st *stage) live(ctx context.Context, does script, number int, beside bool) (err error) {
	dir, closes, err := st.room(beside)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closes()) }()
	if st.tcp && st.tree.Version == 1 { // it counts once there is a limit, and no limit is reached
		if err := os.WriteFile(filepath.Join(dir, "memory.kmem.tcp.limit_in_bytes"), []byte(strconv.Itoa(sparse)), 0); err != nil {
			return err
		}
	}
	at, err := st.cgroup(dir)
	if err != nil {
		return err
	}
	props, remove, err := st.newProps()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	a, err := st.start(dir, props, beside)
	if err != nil {
		return err
	}
	defer func() { a.end() }()
	select {
	case <-a.ready:
	case <-a.ended: // which direct will find
	}
	st.sampler.Add(at)
	defer func() {
		a.end()
		counted, countErr := st.count(dir)
		err = errors.Join(err, countErr)
		series := st.sampler.Series(at.Path)
		st.sampler.Remove(at)
		st.mu.Lock()
		defer st.mu.Unlock()
		if beside {
			st.next = append(st.next, series...)
		} else {
			st.series = append(st.series, series...)
			st.counted += counted
		}
	}()
	return st.direct(ctx, a, does, number, beside)
}

// count is how many kills a cgroup counted.
func (st *stage) count(dir string) (n int, err error) {
	text, err := os.ReadFile(filepath.Join(dir, map[int]string{1: "memory.oom_control", 2: "memory.events"}[st.tree.Version]))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if number, ok := strings.CutPrefix(line, "oom_kill "); ok {
			return strconv.Atoi(strings.TrimSpace(number))
		}
	}
	return 0, fmt.Errorf("%s counts no kills", dir)
}

// own is how many kills are of the container.
func (st *stage) own(kills []oom.Kill) (n int) {
	for i := range kills {
		if st.pids[kills[i].Process.PID] {
			n++
		}
	}
	return n
}

// direct tells an actor at each tick what there is to be, until it ends or the scene does.
func (st *stage) direct(ctx context.Context, a *actor, does script, number int, beside bool) error {
	born := time.Now()
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	last := &wants{}
	for {
		now := time.Now()
		m := moment{at: now.Sub(st.began) * stretch, life: now.Sub(born) * stretch, number: number}
		m.worker = m.life
		if lost := a.lost.Load(); lost != nil {
			m.worker = now.Sub(*lost) * stretch
		}
		w := does(m)
		if !beside {
			st.scrape(now, w.gauges)
		}
		if w.killed {
			_ = a.cmd.Process.Kill() // it may have ended by itself
		}
		if lines := w.orders(last); len(lines) > 0 {
			// It fails when it is killed, which ended tells.
			_, _ = io.WriteString(a.in, strings.Join(lines, "\n")+"\n")
		}
		last = &w
		select {
		case <-a.ended:
			return a.failure()
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// scrape notes what an application says of itself.
func (st *stage) scrape(now time.Time, gauges map[string]float64) {
	for name, value := range gauges {
		points := st.gauges[name]
		if len(points) == 0 || now.Sub(points[len(points)-1].at) >= scrapeEvery/stretch {
			st.gauges[name] = append(points, point{now, value})
		}
	}
}

// scrapeEvery is what Prometheus does for many.
const scrapeEvery = 15 * time.Second

// actor is a process of test/explain/act.
type actor struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	errors strings.Builder
	// lost is when a worker was killed last; nil is never.
	lost atomic.Pointer[time.Time]
	// ready is closed when it is in its cgroup, ended when it is over.
	ready, ended chan struct{}
}

// start starts one, and notes its children as it tells of them.
func (st *stage) start(dir string, p props, beside bool) (*actor, error) {
	adj := 0
	if st.scene.beside != nil && !beside {
		adj = preferred
	}
	a := &actor{cmd: exec.Command(st.act, "-into", dir, "-tmpfs", p.memory, "-file", p.file, "-adj", strconv.Itoa(adj)), ready: make(chan struct{}), ended: make(chan struct{})}
	// Go's collector and its threads would be noise of our own.
	a.cmd.Env = []string{"GOMAXPROCS=1", "GOGC=off"}
	a.cmd.Stderr = &a.errors
	var err error
	if a.in, err = a.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := a.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := a.cmd.Start(); err != nil {
		return nil, err
	}
	st.mu.Lock()
	if !beside {
		st.starts = append(st.starts, time.Now())
		st.mains[a.cmd.Process.Pid] = true
	}
	st.pids[a.cmd.Process.Pid] = !beside
	st.mu.Unlock()
	go func() {
		defer close(a.ended)
		var once sync.Once
		for lines := bufio.NewScanner(out); lines.Scan(); {
			word, number, _ := strings.Cut(lines.Text(), " ")
			switch word {
			case "ready":
				once.Do(func() { close(a.ready) })
			case "pid":
				if pid, err := strconv.Atoi(number); err == nil {
					st.mu.Lock()
					st.pids[pid] = !beside
					st.mu.Unlock()
				}
			case "lost":
				now := time.Now()
				a.lost.Store(&now)
			}
		}
		_ = a.cmd.Wait() // failure tells
	}()
	return a, nil
}

// failure is how an actor ended, unless a script or the kernel ended it.
func (a *actor) failure() error {
	<-a.ended
	status := a.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() && status.Signal() == syscall.SIGKILL || a.errors.Len() == 0 {
		return nil
	}
	return fmt.Errorf("act: %v: %s", a.cmd.ProcessState, a.errors.String())
}

// end ends an actor, with its children.
func (a *actor) end() {
	a.in.Close()
	_ = a.cmd.Process.Kill() // it may have ended by itself
	<-a.ended
}
