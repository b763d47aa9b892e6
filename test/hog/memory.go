//go:build linux

package main

import (
	"errors"
	"time"
)

const (
	// leakStep is the time between two steps of a leak; each takes the pages that have come due.
	leakStep = 50 * time.Millisecond
	// teeth is how many steps a sawtooth takes from low to high.
	teeth = 20
)

var memoryModes = []mode{
	{"hold", "take SIZE of anonymous memory and keep it", "", declareHold},
	{"leak", "take more and more anonymous memory, at a rate", "At the limit it stops and keeps what it has.", declareLeak},
	{"spike", "take SIZE for a short time, give it back, and stay",
		"A spike shorter than the interval of a monitor is seen in the peak of the cgroup alone.", declareSpike},
	{"sawtooth", "go from low to high in 20 steps, drop to low, again and again",
		"This is how a garbage collected program looks that does not leak.", declareSawtooth},
}

func declareHold(p *parameters) runner {
	n := p.size()
	lasting := p.duration("for", 0, 0, "exit with 0 after this `TIME`; 0s: stay")
	return func(h *hog) error {
		if _, err := take(n.pages()); err != nil {
			return err
		}
		h.say("holds %d bytes", n.pages())
		if lasting.Duration > 0 {
			return h.wait(lasting.Duration)
		}
		return h.wait(forever)
	}
}

func declareLeak(p *parameters) runner {
	perSecond, limit := rate{1 << 20}, size(1<<30)
	p.flags.Var(&perSecond, "rate", "how much, as `SIZE/s`")
	p.flags.Var(&limit, "limit", "stop at this `SIZE`")
	return func(h *hog) error { return h.leak(float64(perSecond.size), limit.pages()) }
}

func (h *hog) leak(perSecond float64, limit int64) error {
	b, err := reserve(limit)
	if err != nil {
		return err
	}
	h.say("leaks")
	for start := time.Now(); b.touched < limit; {
		if err := h.wait(leakStep); err != nil {
			return err
		}
		// What a stall has delayed comes due at once, so that the rate stays true.
		due := min(int64(time.Since(start).Seconds()*perSecond), limit) / pageSize * pageSize
		if due > b.touched {
			b.grow(due)
			h.say("holds %d bytes", due)
		}
	}
	h.say("leaked all")
	return h.wait(forever)
}

func declareSpike(p *parameters) runner {
	n := p.size()
	after := p.duration("after", 0, 0, "begin after this `TIME`")
	lasting := p.duration("for", time.Second, 0, "give it back after this `TIME`")
	return func(h *hog) error {
		h.say("holds 0 bytes")
		if err := h.wait(after.Duration); err != nil {
			return err
		}
		b, err := take(n.pages())
		if err != nil {
			return err
		}
		h.say("holds %d bytes", n.pages())
		if err := h.wait(lasting.Duration); err != nil {
			return err
		}
		if err := b.free(); err != nil {
			return err
		}
		h.say("holds 0 bytes")
		return h.wait(forever)
	}
}

func declareSawtooth(p *parameters) runner {
	low, high := size(16<<20), size(64<<20)
	p.flags.Var(&low, "low", "the least, as a `SIZE`")
	p.flags.Var(&high, "high", "the most, as a `SIZE`")
	period := p.duration("period", 10*time.Second, 100*time.Millisecond, "the `TIME` from low to low")
	p.check = func() error {
		if low.pages() >= high.pages() {
			return errors.New("--low is not below --high")
		}
		return nil
	}
	return func(h *hog) error { return h.sawtooth(low.pages(), high.pages(), period.Duration) }
}

func (h *hog) sawtooth(low, high int64, period time.Duration) error {
	const pauses = teeth + 1 // one before each step, and one at the top
	if _, err := take(low); err != nil {
		return err
	}
	for {
		h.say("holds %d bytes", low)
		tooth, err := reserve(high - low)
		if err != nil {
			return err
		}
		for step := range int64(teeth) {
			if err := h.wait(period / pauses); err != nil {
				return err
			}
			tooth.grow((high - low) * (step + 1) / teeth)
		}
		h.say("holds %d bytes", high)
		if err := h.wait(period / pauses); err != nil {
			return err
		}
		if err := tooth.free(); err != nil {
			return err
		}
	}
}
