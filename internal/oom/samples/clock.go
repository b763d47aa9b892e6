package samples

import (
	"bytes"
	"fmt"
	"os"
	"time"
)

// clockTicks turns ticks of the kernel's clock into time.
type clockTicks struct{ boot time.Time }

// perSecond is how many ticks a second has for user space (USER_HZ), on all that Go runs on.
const perSecond = 100

// readClock finds out when the machine booted (btime of /proc/stat).
func readClock(proc string) (clockTicks, error) {
	text, err := os.ReadFile(proc + "/stat")
	if err != nil {
		return clockTicks{}, fmt.Errorf("read when the machine booted: %w; mount the machine's /proc", err)
	}
	boot := keyed(append(bytes.TrimSpace(text), '\n'), "btime")
	if boot < 0 {
		return clockTicks{}, fmt.Errorf("read when the machine booted: %s/stat has no btime", proc)
	}
	return clockTicks{time.Unix(boot, 0)}, nil
}

func (c clockTicks) time(ticks int64) time.Time {
	return c.boot.Add(time.Duration(ticks) * (time.Second / perSecond))
}

// age of a process in seconds.
func (c clockTicks) age(start int64, now time.Time) float64 { return now.Sub(c.time(start)).Seconds() }

// cores is the processor use since the process was last read, and the first time since it began.
func (c clockTicks) cores(p *process, stat *processStat, now time.Time) float64 {
	used, over := stat.ticks-p.ticks, float64(now.UnixMilli()-p.readAt)/1000
	if p.reads == 0 {
		used, over = stat.ticks, c.age(stat.start, now)
	}
	if over <= 0 || used < 0 {
		return 0
	}
	return float64(used) / perSecond / over
}
