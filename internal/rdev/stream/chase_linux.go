package stream

import "time"

// chase has a subscriber served by a goroutine of its own, until it has caught up; first it is sent what is owed of a heartbeat.
func (d *direct) chase(owed string) {
	d.feed.chasing.Add(1)
	d.hub.running.Go(func() {
		defer d.feed.chasing.Add(-1)
		c := &chaser{direct: d, owed: []byte(owed)}
		for !d.ended() {
			if time.Now().After(d.expires) {
				d.end(ReasonAge)
				return
			}
			if done := c.push(); done {
				return
			}
		}
	})
}

// chaser is a subscriber that does not rest. While it waits, it holds no part of a page.
type chaser struct {
	*direct
	owed  []byte
	state state
	torn  bool // what was sent of an event cannot be completed
	err   error
}

// push waits until the client takes something, sends what it takes, and reports whether somebody else goes on.
func (c *chaser) push() (done bool) {
	err := c.conn.SetWriteDeadline(time.Now().Add(c.hub.o.WriteTimeout))
	if err == nil {
		err = c.raw.Write(c.send)
	}
	if err == nil {
		err = c.err
	}
	switch {
	case err != nil:
		c.end(lost(err))
	case c.torn:
		c.end(ReasonLagged)
	case c.state == broken:
		c.end(ReasonFailed)
	case c.state == finished:
		c.end(ReasonEnd)
	case c.state == caughtUp:
		_ = c.conn.SetWriteDeadline(time.Time{})
		c.feed.join(c.direct)
	default:
		return false
	}
	return true
}

// send writes to the descriptor what there is, and reports whether that was anything; else it is called again when the
// client has taken something.
func (c *chaser) send(fd uintptr) bool {
	var n int
	if len(c.owed) > 0 {
		n, c.err = write(int(fd), c.owed)
		c.owed = c.owed[n:]
		return n > 0 || c.err != nil
	}
	var p page
	if p, c.state = c.feed.fetch(c.place.cursor); c.state != ready {
		return true
	}
	data, ok := p.rest(c.place)
	if !ok {
		c.torn = true
		return true
	}
	if n, c.err = write(int(fd), data); n > 0 {
		c.took(&p, n)
	}
	return n > 0 || c.err != nil
}
