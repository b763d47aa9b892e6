// Package watch measures a child process from outside while it runs: its peak of
// resident memory and of temporary disk space.
//
// Hazard: ru_maxrss of a child is not the child's alone. Linux keeps the mark of
// the memory that exec replaces, which with vfork is the parent's: a parent that
// once used 45 MiB makes every small child look like 45 MiB. [RSS] knows that.
package watch

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// rssInterval is between two looks at resident memory. The kernel keeps the
	// high-water mark itself, so only growth in the last interval is missed.
	rssInterval = 10 * time.Millisecond
	// diskEvery is how many of them go by between two looks at the disk, which
	// walk a directory of up to 100,000 files.
	diskEvery = 25
)

// Peaks are the highest values seen, in bytes.
type Peaks struct {
	RSS int64
	// Disk is what lay below the directory, together with files that the process
	// held open and had unlinked.
	Disk int64
}

// Watch is one process being watched.
type Watch struct {
	stop context.CancelFunc
	done chan Peaks
}

// Start watches a process and what it writes below dir; an empty dir watches no
// disk. The caller must call Stop, after it has waited for the process.
func Start(pid int, dir string) *Watch {
	ctx, stop := context.WithCancel(context.Background())
	w := &Watch{stop: stop, done: make(chan Peaks, 1)}
	go func() { w.done <- sample(ctx, strconv.Itoa(pid), dir) }()
	return w
}

// Stop ends the watch and returns the peaks. It is called once.
func (w *Watch) Stop() Peaks {
	w.stop()
	return <-w.done
}

// RSS is the peak of resident memory in bytes of a process that has been waited
// for. It is exact where it is above the peak of this process, and else the
// highest sample.
func RSS(state *os.ProcessState, sampled Peaks) int64 {
	usage, ok := state.SysUsage().(*syscall.Rusage)
	if !ok {
		return sampled.RSS
	}
	return chooseRSS(usage.Maxrss<<10, highWater("self"), sampled.RSS)
}

// chooseRSS takes ru_maxrss only where it cannot be what the parent passed on.
func chooseRSS(maxrss, parent, sampled int64) int64 {
	if maxrss > parent {
		return maxrss
	}
	return sampled
}

func sample(ctx context.Context, pid, dir string) Peaks {
	var p Peaks
	tick := time.NewTicker(rssInterval)
	defer tick.Stop()
	for i := 0; ; i++ {
		p.RSS = max(p.RSS, highWater(pid))
		if dir != "" && i%diskEvery == 0 {
			p.Disk = max(p.Disk, diskUsage(dir)+unlinked("/proc/"+pid+"/fd"))
		}
		select {
		case <-ctx.Done():
			return p
		case <-tick.C:
		}
	}
}

// highWater is VmHWM of a process in bytes, 0 when it has ended.
func highWater(pid string) int64 {
	text, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		return 0
	}
	return parseHighWater(string(text))
}

// parseHighWater finds VmHWM in the text of /proc/PID/status (proc(5)), in bytes.
func parseHighWater(text string) int64 {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				return 0
			}
			return n << 10
		}
	}
	return 0
}

// diskUsage is the disk space allocated below dir in bytes. Files that vanish
// meanwhile count as nothing.
func diskUsage(dir string) int64 {
	var total int64
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil
		}
		if info, err := d.Info(); err == nil {
			total += allocated(info)
		}
		return nil
	})
	return total
}

// unlinked is the disk space in bytes of open files without a name, from a
// directory like /proc/PID/fd. Memory files, which have no name either, are not
// on disk.
func unlinked(fdDir string) int64 {
	entries, err := os.ReadDir(fdDir)
	if err != nil {
		return 0
	}
	type inode struct{ dev, ino uint64 }
	seen := map[inode]bool{}
	var total int64
	for _, e := range entries {
		name := filepath.Join(fdDir, e.Name())
		target, err := os.Readlink(name)
		if err != nil || strings.HasPrefix(target, "/memfd:") || strings.HasPrefix(target, "/dev/") {
			continue
		}
		info, err := os.Stat(name) // follows the magic link to the open file
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok || stat.Nlink != 0 || seen[inode{uint64(stat.Dev), stat.Ino}] {
			continue
		}
		seen[inode{uint64(stat.Dev), stat.Ino}] = true
		total += allocated(info)
	}
	return total
}

func allocated(info fs.FileInfo) int64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Blocks * 512 // POSIX leaves the unit open; on Linux it is 512
	}
	return info.Size()
}
