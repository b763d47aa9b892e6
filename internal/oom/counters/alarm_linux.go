package counters

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxIdle is how often within idleFor the file of a v2 cgroup may change without a kill: each time the limit
	// makes the kernel look for memory changes it, up to a hundred times a second. Then it is only polled for the rest.
	maxIdle = 8
	idleFor = 10 * time.Second
)

// alarm is what makes the kernel tell that the limit of a cgroup was hit.
type alarm struct {
	armed bool
	fd    int32 // v1: an eventfd
	wd    int32 // v2: of inotify
	// v1: how often it was alarmed; how often the one above it was when this one was armed; and how often
	// it was for its own limit.
	signals, aboveBegan, ownSignals int64
	idle                            int // v2: alarms without news since it was armed
}

// alarms are those of all cgroups.
type alarms struct {
	inotify   int // v2; 0 for none
	armed     int
	by        map[int32]*group // v1: by eventfd; v2: by watch descriptor
	rearmAt   time.Time
	batch     []*group
	inotified []byte
}

// openV2 makes the inotify instance.
func (a *alarms) openV2(w *waiter) error {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return fmt.Errorf("make an inotify instance: %w; fs.inotify.max_user_instances may be too small", err)
	}
	a.inotify, a.inotified = fd, make([]byte, 16<<10)
	return w.add(fd)
}

func (a *alarms) close() {
	if a.inotify != 0 {
		unix.Close(a.inotify)
		a.inotify = 0
	}
}

// arm sets the alarm of a cgroup, if there may be one more.
func (c *Counters) arm(g *group) {
	if c.alarms.by == nil {
		c.alarms.by = map[int32]*group{}
	}
	var err error
	if g.Version == 1 {
		err = c.armV1(g)
	} else {
		err = c.armV2(g)
	}
	if err != nil && !removed(err) {
		c.say("kills in some cgroups are counted up to a second late, and their processes are not noted", "cgroup", g.Dir, "why", err)
	}
	if g.alarm.armed {
		c.alarms.armed++
	}
}

// armV1 registers an eventfd (Documentation/admin-guide/cgroup-v1/memcg_test.rst and memory.rst, 10. OOM
// Control). Only it stays open.
func (c *Counters) armV1(g *group) error {
	if c.alarms.armed >= c.o.Descriptors {
		return fmt.Errorf("%d descriptors are open for alarms, and no more may be; raise LimitNOFILE", c.alarms.armed)
	}
	control, err := c.read.open(g.Dir, fileV1, unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer unix.Close(control)
	register, err := c.read.open(g.Dir, fileRegister, unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer unix.Close(register)
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("make an eventfd: %w", err)
	}
	a := alarm{armed: true, fd: int32(fd)}
	if above := g.alarmedAbove(); above != nil {
		c.drainV1(above)
		a.aboveBegan = above.alarm.signals
	}
	_, err = unix.Write(register, []byte(strconv.Itoa(fd)+" "+strconv.Itoa(control)))
	if err == nil {
		err = c.wait.add(fd)
	}
	if err != nil {
		unix.Close(fd)
		return fmt.Errorf("register an eventfd: %w", err)
	}
	g.alarm = a
	c.alarms.by[a.fd] = g
	return nil
}

// armV2 watches the file that changes when this cgroup's own limit is hit or one of its processes is killed.
func (c *Counters) armV2(g *group) error {
	if c.alarms.inotify == 0 {
		return nil // said already
	}
	wd, err := unix.InotifyAddWatch(c.alarms.inotify, g.Dir+"/"+fileOwn, unix.IN_MODIFY)
	if err != nil {
		return err
	}
	g.alarm = alarm{armed: true, wd: int32(wd)}
	c.alarms.by[g.alarm.wd] = g
	return nil
}

// disarm takes the alarm of a cgroup away.
func (c *Counters) disarm(g *group) {
	if !g.alarm.armed {
		return
	}
	if g.Version == 1 {
		delete(c.alarms.by, g.alarm.fd)
		unix.Close(int(g.alarm.fd))
	} else {
		delete(c.alarms.by, g.alarm.wd)
		_, _ = unix.InotifyRmWatch(c.alarms.inotify, uint32(g.alarm.wd)) // the kernel did it where the cgroup is gone
	}
	g.alarm = alarm{}
	c.alarms.armed--
}

// rearm gives those that had too many alarms another try, and those that could have none.
func (c *Counters) rearm(now time.Time) {
	if now.Before(c.alarms.rearmAt) {
		return
	}
	c.alarms.rearmAt = now.Add(idleFor)
	for _, g := range c.order {
		g.alarm.idle = 0
		if g.dead || g.alarm.armed {
			continue
		}
		c.arm(g)
		if !g.known {
			c.lookAt(g, now)
		}
	}
}

// alarmedAbove is the nearest cgroup above that has an alarm; nil for none.
func (g *group) alarmedAbove() *group {
	for a := g.above; a != nil; a = a.above {
		if a.alarm.armed {
			return a
		}
	}
	return nil
}

// answer handles the alarms that there are.
func (c *Counters) answer(now time.Time) {
	c.details = maxDetails
	if c.o.Hierarchy.Version == 1 {
		c.wait.descriptors(func(fd int32) {
			if g := c.alarms.by[fd]; g != nil {
				c.drainV1(g)
			}
		})
		c.answerV1(now)
		return
	}
	c.wait.descriptors(func(int32) { c.answerV2(now) })
}

// drainV1 takes the signals of an eventfd, and puts a cgroup that had some on the batch.
func (c *Counters) drainV1(g *group) {
	if n := drain(int(g.alarm.fd)); n > 0 {
		g.alarm.signals += n
		c.alarms.batch = append(c.alarms.batch, g)
	}
}

// answerV1 handles a batch. An alarm goes to the cgroup whose limit was hit first, and then
// to all below it: so those above are drained after those below, and none has fewer
// signals than it had when it passed one on.
func (c *Counters) answerV1(now time.Time) {
	for i := 0; i < len(c.alarms.batch); i++ { // it grows
		if above := c.alarms.batch[i].alarmedAbove(); above != nil {
			c.drainV1(above)
		}
	}
	for _, g := range c.alarms.batch {
		own := g.alarm.signals
		if above := g.alarmedAbove(); above != nil {
			own -= above.alarm.signals - g.alarm.aboveBegan
		}
		if n := own - g.alarm.ownSignals; n > 0 {
			g.alarm.ownSignals = own
			g.fired += n
			g.firedAt = now
		}
	}
	for _, g := range c.alarms.batch {
		c.watchClosely(g, now)
	}
	clear(c.alarms.batch)
	c.alarms.batch = c.alarms.batch[:0]
}

// answerV2 handles what inotify has.
func (c *Counters) answerV2(now time.Time) {
	for {
		n, err := unix.Read(c.alarms.inotify, c.alarms.inotified)
		if err != nil || n <= 0 {
			return // EAGAIN: all is read
		}
		// Records of wd, mask, cookie and length of the name, which a file that is watched itself does not have.
		for b := c.alarms.inotified[:n]; len(b) >= unix.SizeofInotifyEvent; {
			g := c.alarms.by[int32(binary.NativeEndian.Uint32(b))]
			mask := binary.NativeEndian.Uint32(b[4:])
			b = b[min(unix.SizeofInotifyEvent+int(binary.NativeEndian.Uint32(b[12:])), len(b)):]
			switch {
			case mask&unix.IN_Q_OVERFLOW != 0: // the tick finds what was lost
			case g != nil && mask&unix.IN_IGNORED != 0:
				c.disarm(g)
				c.lookAt(g, now) // the cgroup is gone, or its controller
			case g != nil:
				c.changed(g, now)
			}
		}
	}
}

// changed handles that the file of a cgroup changed (v2). The processes come first: they may be about to end.
func (c *Counters) changed(g *group, now time.Time) {
	c.watchClosely(g, now)
	hits, own := g.limitHits, g.own
	c.lookUp(g, now)
	if g.own != own || g.limitHits != hits {
		return
	}
	if g.alarm.idle++; g.alarm.idle > maxIdle {
		c.disarm(g)
	}
}

// drain empties an eventfd, and returns what it counted.
func drain(fd int) int64 {
	var b [8]byte
	if n, err := unix.Read(fd, b[:]); n != len(b) || err != nil {
		return 0
	}
	return int64(binary.NativeEndian.Uint64(b[:]))
}
