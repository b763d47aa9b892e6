package counters

import (
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"stella/internal/oom"
)

const (
	// maxHot bounds the cgroups that are watched closely, each with an open descriptor.
	maxHot = 64
	// A cgroup is watched closely for hotFor after an alarm: as long as the kernel can take to write its
	// report to a serial console before it kills. It is looked at every hotFirst, and after hotFirstFor every hotThen.
	hotFor      = 200 * time.Millisecond
	hotFirstFor = 20 * time.Millisecond
	hotFirst    = 500 * time.Microsecond
	hotThen     = 5 * time.Millisecond
	// noteAgain is how soon the processes of a cgroup are noted again.
	noteAgain = 5 * time.Millisecond
	// maxPIDs bounds the processes of a cgroup that are noted at an alarm, and maxDetails those of
	// one batch of alarms of which the memory is read, at some 20 µs each.
	maxPIDs, maxDetails = 1024, 128
)

// hot is a cgroup that is watched closely.
type hot struct {
	group        *group
	fd           int
	own          int64 // the counter before
	begun, until time.Time
}

func (h *hot) close() { unix.Close(h.fd) }

// watchClosely notes the processes of a cgroup that was alarmed, and looks at its counter often for some
// time. On v2 the alarm came to the cgroup whose limit was hit alone, and the victim can be below it.
func (c *Counters) watchClosely(g *group, now time.Time) {
	if now.Sub(g.notedAt) >= noteAgain {
		g.notedAt = now
		g.populated = c.note(g, now)
	}
	if g.populated {
		c.heat(g, now)
	}
	if g.Version == 2 {
		for _, b := range g.below {
			c.watchClosely(b, now)
		}
	}
}

// note remembers the processes of a cgroup, and reports whether there were any.
func (c *Counters) note(g *group, now time.Time) bool {
	text, err := c.read.read(g.Dir, fileProcs)
	if err != nil {
		return false
	}
	home := counted(g)
	if home == nil {
		return false
	}
	n := 0
	for pid := range pids(text) {
		if n++; n > maxPIDs {
			break
		}
		p := oom.Process{PID: int(pid), UID: -1}
		if c.details > 0 {
			c.details--
			c.process(&p)
		}
		c.table.note(noted{pid: pid, cgroup: home.Path, id: home.ID, at: now, process: p})
	}
	return n > 0
}

// process reads a process's name and memory.
func (c *Counters) process(p *oom.Process) {
	if text, err := c.readProc.read(c.o.Proc+"/"+strconv.Itoa(p.PID), "status"); err == nil {
		parseStatus(text, p)
	}
}

// heat begins to watch a cgroup closely, or goes on.
func (c *Counters) heat(g *group, now time.Time) {
	for i := range c.hot {
		if h := &c.hot[i]; h.group == g {
			h.begun, h.until = now, now.Add(hotFor)
			return
		}
	}
	if len(c.hot) >= maxHot {
		return // the tick looks at it
	}
	name := fileOwn
	if g.Version == 1 {
		name = fileV1
	}
	if fd, err := c.read.open(g.Dir, name, unix.O_RDONLY); err == nil {
		c.hot = append(c.hot, hot{group: g, fd: fd, own: g.own, begun: now, until: now.Add(hotFor)})
	}
}

// lookClosely looks at all that is watched closely, and returns when it wants to do so again, or due
// if that is earlier.
func (c *Counters) lookClosely(now, due time.Time) time.Time {
	for i := 0; i < len(c.hot); i++ {
		h := &c.hot[i]
		if c.cold(h, now) {
			h.close()
			last := len(c.hot) - 1
			c.hot[i], c.hot[last] = c.hot[last], hot{}
			c.hot = c.hot[:last]
			i--
			continue
		}
		again := hotFirst
		if now.Sub(h.begun) > hotFirstFor {
			again = hotThen
		}
		if t := now.Add(again); t.Before(due) {
			due = t
		}
	}
	return due
}

// cold looks at a cgroup that is watched closely, and reports whether that can end: it has had its kill,
// or is gone, or its time is over.
func (c *Counters) cold(h *hot, now time.Time) bool {
	text, err := c.read.readAll(h.fd)
	if err != nil || h.group.dead {
		return true
	}
	if n, ok := keyed(text, "oom_kill"); ok && n != h.own {
		if n != h.group.own {
			c.lookUp(h.group, now)
		}
		return true
	}
	return now.After(h.until)
}
