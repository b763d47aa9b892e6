package worker

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"stella/internal/bytesize"
	"stella/internal/scanner"
)

const (
	// watchEvery is how often the fallback looks at the resident set. In that time a
	// scan can take some 15 MiB more.
	watchEvery = 50 * time.Millisecond
	// clockTick is USER_HZ, which every Linux that Go runs on has at 100.
	clockTick = time.Second / 100
)

// Sample is what a worker uses at one moment.
type Sample struct {
	// Memory is the working set of its cgroup, see [cgroup.Stats]; in the fallback its resident set.
	Memory int64
	// Peak is the highest use since the attempt began, in bytes, page cache included. Where the kernel
	// cannot begin a new peak, it is since the worker started.
	Peak int64
	// CPU is the share of one processor since the last sample.
	CPU float64
}

// usage is what samples are compared with. The process's lock guards it.
type usage struct {
	begin time.Time     // of the last sample
	cpu   time.Duration // used until then
	peak  int64         // of the fallback: the highest resident set that was seen in the attempt
}

// Sample asks the kernel. It fails where the process has ended.
func (p *Process) Sample() (Sample, error) {
	stat, err := readStat(p.PID())
	if err != nil {
		return Sample{}, fmt.Errorf("worker %s: %w", p.cfg.Name, err)
	}
	s := Sample{Memory: stat.resident}
	if p.group != nil {
		g, err := p.group.Stats()
		if err != nil {
			return Sample{}, fmt.Errorf("worker %s: %w", p.cfg.Name, err)
		}
		s.Memory, s.Peak = g.WorkingSet, g.Peak
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.group == nil {
		s.Peak = max(p.usage.peak, stat.resident)
	}
	now := time.Now()
	if d := now.Sub(p.usage.begin); d > 0 {
		s.CPU = max(float64(stat.cpu-p.usage.cpu)/float64(d), 0)
	}
	p.usage.begin, p.usage.cpu = now, stat.cpu
	return s, nil
}

// watch is the fallback: it kills the process when its resident set is above the limit.
func (p *Process) watch(stop <-chan struct{}) {
	t := time.NewTicker(watchEvery)
	defer t.Stop()
	for {
		select {
		case <-stop:
			return
		case <-t.C:
		}
		stat, err := readStat(p.PID())
		if err != nil {
			continue // it is ending
		}
		p.mu.Lock()
		p.usage.peak = max(p.usage.peak, stat.resident)
		p.mu.Unlock()
		if stat.resident > p.cfg.Limit {
			p.kill(killing{scanner.OutcomeOOM, fmt.Sprintf("out of memory: the server killed the worker, whose resident set was %s with a limit of %s (fallback: resident set watched)",
				bytesize.Text(stat.resident), bytesize.Text(p.cfg.Limit))})
		}
	}
}

// stat is what /proc/PID/stat says.
type stat struct {
	cpu      time.Duration
	resident int64
}

func readStat(pid int) (stat, error) {
	name := "/proc/" + strconv.Itoa(pid) + "/stat"
	text, err := os.ReadFile(name)
	if err != nil {
		return stat{}, err
	}
	s, err := parseStat(text, int64(os.Getpagesize()))
	if err != nil {
		return stat{}, fmt.Errorf("%s: %w", name, err)
	}
	return s, nil
}

// parseStat reads fields 14, 15 (ticks in user mode and in the kernel) and 24 (resident pages) of
// proc_pid_stat(5). The second field, the program's name in parentheses, may hold anything.
func parseStat(text []byte, page int64) (stat, error) {
	const utime, stime, rss = 14 - 3, 15 - 3, 24 - 3 // from the third field on
	end := bytes.LastIndexByte(text, ')')
	if end < 0 {
		return stat{}, errors.New("not in the expected format")
	}
	fields := bytes.Fields(text[end+1:])
	if len(fields) <= rss {
		return stat{}, errors.New("not in the expected format")
	}
	var n [3]int64
	for i, f := range []int{utime, stime, rss} {
		v, err := strconv.ParseInt(string(fields[f]), 10, 64)
		if err != nil || v < 0 || v > 1<<40 {
			return stat{}, errors.New("not in the expected format")
		}
		n[i] = v
	}
	return stat{cpu: time.Duration(n[0]+n[1]) * clockTick, resident: n[2] * page}, nil
}
