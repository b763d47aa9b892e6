//go:build linux

package main

import (
	"fmt"
	"testing"
	"time"
)

func TestHold(t *testing.T) {
	t.Parallel()
	p := start(t, 128*mib, "hold", "64Mi")
	if got := p.line("hog: holds "); got != "67108864 bytes" {
		t.Errorf("holds %s", got)
	}
	p.uses(64*mib, 64*mib+overhead)
	p.killed(0)
	p.stop()
}

func TestHoldForATime(t *testing.T) {
	t.Parallel()
	began := time.Now()
	free(t, "hold", "1", "--for", "200ms").ends("exit status 0")
	if took := time.Since(began); took < 200*time.Millisecond {
		t.Errorf("took %v", took)
	}
}

func TestHoldBeyondTheLimit(t *testing.T) {
	t.Parallel()
	p := start(t, 16*mib, "hold", "64Mi")
	p.ends("signal: killed")
	p.killed(1)
}

func TestLeakIsKilledWhenTheLimitIsReached(t *testing.T) {
	t.Parallel()
	const limit, perSecond = 24 * mib, 16 * mib
	began := time.Now()
	p := start(t, limit, "leak", "--rate", "16Mi/s")
	p.ends("signal: killed")
	took := time.Since(began)
	p.killed(1)
	// The step that was its last had no time for its line.
	if last := p.leaked(); last < limit/2 || last > limit {
		t.Errorf("held %.1f MiB at last, want nearly %.1f", mibs(last), mibs(limit))
	}
	if due := time.Duration(float64(limit-overhead) / perSecond * float64(time.Second)); took < due {
		t.Errorf("lived %v, want at least %v", took, due)
	}
}

// leaked returns the last amount that a leak has printed, in bytes; each must be more than the one before.
func (p *process) leaked() (last int64) {
	p.t.Helper()
	for _, l := range p.seen {
		var now int64
		if n, _ := fmt.Sscanf(l, "hog: holds %d bytes", &now); n == 0 {
			continue
		}
		if now <= last {
			p.t.Errorf("holds %d bytes after %d", now, last)
		}
		last = now
	}
	return last
}

func TestLeakStopsAtItsOwnLimit(t *testing.T) {
	t.Parallel()
	p := start(t, 64*mib, "leak", "--rate=100Mi/s", "--limit=10Mi")
	p.line("hog: holds 10485760 bytes")
	p.line("hog: leaked all")
	p.uses(10*mib, 10*mib+overhead)
	p.stop()
}

// Below a page per step the rate is kept by steps that take nothing.
func TestSlowLeak(t *testing.T) {
	t.Parallel()
	began := time.Now()
	p := free(t, "leak", "--rate", "40Ki/s", "--limit", "16Ki")
	p.line("hog: holds 4096 bytes")
	p.line("hog: leaked all")
	p.leaked()
	if took := time.Since(began); took < 400*time.Millisecond {
		t.Errorf("16 KiB at 40 KiB/s took %v", took)
	}
}

func TestSpikeGivesBack(t *testing.T) {
	t.Parallel()
	began := time.Now()
	p := start(t, 128*mib, "spike", "48Mi", "--after", "100ms", "--for", "100ms")
	p.line("hog: holds 0 bytes")
	p.line("hog: holds 50331648 bytes")
	p.line("hog: holds 0 bytes")
	if took := time.Since(began); took < 200*time.Millisecond {
		t.Errorf("was over after %v", took)
	}
	p.uses(0, overhead)
	if s := p.stats(); s.Peak != 0 && s.Peak < 48*mib { // 0: this kernel keeps none
		t.Errorf("peak %.1f MiB", mibs(s.Peak))
	}
	p.stop()
}

func TestSawtoothGoesUpAndDown(t *testing.T) {
	t.Parallel()
	p := start(t, 128*mib, "sawtooth", "--low", "8Mi", "--high", "40Mi", "--period", "600ms")
	for range 2 {
		p.line("hog: holds 8388608 bytes")
		p.eventually("low", func() bool { return p.stats().Current < 16*mib })
		p.eventually("high", func() bool { return p.stats().Current > 32*mib })
		p.line("hog: holds 41943040 bytes")
	}
	if s := p.stats(); s.Peak != 0 && (s.Peak < 40*mib || s.Peak > 40*mib+overhead) {
		t.Errorf("peak %.1f MiB, want 40", mibs(s.Peak))
	}
	p.stop()
}
