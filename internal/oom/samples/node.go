package samples

import (
	"bytes"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"stella/internal/oom"
)

const (
	// nodeCPUEvery and nodeTrendEvery are how many ticks pass between two looks at the
	// machine's processor time and at its memory.
	nodeCPUEvery, nodeTrendEvery = 5, 10
	// nodeBytes is more than /proc/meminfo and /proc/vmstat have. Of /proc/stat the first line is wanted.
	nodeBytes = 16 << 10
)

// node is what is kept of the machine.
type node struct {
	mu    sync.Mutex
	trend trend // of the available memory
	cores float64
	// used is the processor time so far in ticks, of all processors, at the time usedAt.
	used   int64
	usedAt time.Time
	buf    [nodeBytes]byte
}

// look takes what changes are computed from.
func (n *node) look(proc string, tick int32, now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if tick%nodeCPUEvery == 1 {
		if b, err := readPath(proc+"/stat", n.buf[:]); err == nil {
			n.addUsed(parseBusy(b), now)
		}
	}
	if tick%nodeTrendEvery == 1 {
		if b, err := readPath(proc+"/meminfo", n.buf[:]); err == nil {
			n.trend.add(point{now.UnixMilli(), keyed(b, "MemAvailable") << 10})
		}
	}
}

func (n *node) addUsed(used int64, now time.Time) {
	if over := now.Sub(n.usedAt).Seconds(); !n.usedAt.IsZero() && over > 0 {
		n.cores = float64(max(used-n.used, 0)) / perSecond / over
	}
	n.used, n.usedAt = used, now
}

// parseBusy is the processor time so far in ticks that was not idle, by the first line of
// /proc/stat: "cpu user nice system idle iowait irq softirq steal guest guest_nice", of which the
// first two hold the last two.
func parseBusy(b []byte) int64 {
	first, _, _ := line(b)
	_, rest := pair(first)
	var busy int64
	for field := 0; field < 8 && len(rest) > 0; field++ {
		var f []byte
		f, rest, _ = bytes.Cut(rest, []byte{' '})
		if field != 3 && field != 4 {
			busy += max(value(f), 0)
		}
	}
	return busy
}

// Node is what the machine uses now. Its name, and what a kill takes of its containers, are left to the caller.
func (s *Sampler) Node() oom.NodeUsage {
	u := s.node.read(s.proc)
	upper := ""
	s.mu.Lock()
	for _, g := range s.containers {
		if upper = g.container.disk.upper; upper != "" {
			break
		}
	}
	s.mu.Unlock()
	u.DiskTotal, u.DiskFree, u.InodesTotal, u.InodesFree = unknown, unknown, unknown, unknown
	var st unix.Statfs_t
	if upper != "" && unix.Statfs(s.onMachine(upper), &st) == nil {
		u.DiskTotal, u.DiskFree = int64(st.Blocks)*st.Frsize, int64(st.Bavail)*st.Frsize
		u.InodesTotal, u.InodesFree = int64(st.Files), int64(st.Ffree)
	}
	return u
}

// read asks the kernel.
func (n *node) read(proc string) oom.NodeUsage {
	n.mu.Lock()
	defer n.mu.Unlock()
	u := oom.NodeUsage{Time: time.Now(), Cores: n.cores, CPUs: processors(proc), PressureSome: unknown, PressureFull: unknown, Kills: unknown}
	u.Trend, _ = n.trend.slope()
	b, _ := readPath(proc+"/meminfo", n.buf[:])
	for l, rest, ok := line(b); ok; l, rest, ok = line(rest) {
		key, v := pair(l)
		bytes := max(value(v), 0) << 10
		switch string(key) {
		case "MemTotal":
			u.Total = bytes
		case "MemAvailable":
			u.Available = bytes
		case "MemFree":
			u.Free = bytes
		case "Buffers":
			u.Buffers = bytes
		case "Cached":
			u.Cached = bytes
		case "Slab":
			u.Slab = bytes
		case "SwapTotal":
			u.SwapTotal = bytes
		case "SwapFree":
			u.SwapFree = bytes
		}
	}
	if b, err := readPath(proc+"/pressure/memory", n.buf[:]); err == nil {
		p := parsePressure(b)
		u.PressureSome, u.PressureFull = p.some10, p.full10
	}
	if b, err := readPath(proc+"/vmstat", n.buf[:]); err == nil {
		u.Kills = keyed(b, "oom_kill")
	}
	return u
}

// processors counts the machine's, which can be more than those that this process may use; 0 is not known.
func processors(proc string) int {
	text, err := os.ReadFile(proc + "/stat")
	if err != nil {
		return 0
	}
	n := 0
	for l := range strings.Lines(string(text)) {
		if strings.HasPrefix(l, "cpu") && l[3] != ' ' {
			n++
		}
	}
	return n
}
