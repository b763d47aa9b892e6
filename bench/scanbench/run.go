package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"stella/bench/watch"
	"stella/internal/cgroup"
)

// maxStderr is how much of a tool's last output is kept to explain a failure, in
// bytes.
const maxStderr = 4 << 10

// Run is one run of one tool. Sizes are bytes, times seconds.
type Run struct {
	CPU        float64 `json:"cpu_seconds"` // user and system
	Wall       float64 `json:"wall_seconds"`
	RSS        int64   `json:"peak_rss_bytes"`
	CgroupPeak int64   `json:"cgroup_peak_bytes"` // page cache included; 0 is unknown
	TempDisk   int64   `json:"temp_disk_peak_bytes"`
	OOMKilled  bool    `json:"oom_killed"`
	// CutShort says that the run was killed or stopped before its end: its
	// figures are lower bounds.
	CutShort bool `json:"cut_short"`
	// Failure says how a run ended that did not end well.
	Failure string `json:"failure,omitempty"`
}

// runOnce runs a command in a memory cgroup of its own, with a home, cache and
// temporary directory of its own below work. The error means that it could not be
// measured; a command that fails or is killed is a measured Run.
func runOnce(ctx context.Context, name string, argv []string, limit int64, timeout time.Duration, work string) (run Run, err error) {
	group, err := cgroup.New("bench-"+name, cgroup.Limit{Memory: limit})
	if err != nil {
		return Run{}, err
	}
	defer func() { err = errors.Join(err, group.Close()) }()
	temp, err := os.MkdirTemp(work, name+"-tmp-*")
	if err != nil {
		return Run{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()

	runCtx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	cmd := exec.CommandContext(runCtx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "TMPDIR="+temp, "HOME="+temp, "XDG_CACHE_HOME="+filepath.Join(temp, ".cache"),
		"SYFT_CHECK_FOR_APP_UPDATE=false") // no network in a measurement
	stderr := &tail{}
	cmd.Stderr = stderr
	cmd.WaitDelay = time.Second

	start := time.Now()
	if err := group.Start(cmd); err != nil {
		return Run{}, err
	}
	watched := watch.Start(cmd.Process.Pid, temp)
	waitErr := cmd.Wait()
	run.Wall = time.Since(start).Seconds()
	seen := watched.Stop()

	// The counters are read after Wait: before it a kill may not be counted yet.
	stats, err := group.Stats()
	if err != nil {
		return Run{}, err
	}
	run.CPU = (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	run.RSS = watch.RSS(cmd.ProcessState, seen)
	run.CgroupPeak, run.TempDisk, run.OOMKilled = stats.Peak, seen.Disk, stats.OOMKills > 0
	switch {
	case run.OOMKilled:
		run.CutShort = true
		run.Failure = fmt.Sprintf("OOM-killed at its limit of %s", size(limit))
	case runCtx.Err() != nil && ctx.Err() == nil:
		run.CutShort = true
		run.Failure = fmt.Sprintf("stopped after %v", timeout)
	case waitErr != nil:
		run.Failure = fmt.Sprintf("%v: %s", waitErr, stderr.lastLine())
	}
	return run, ctx.Err()
}

// tail keeps the last bytes written to it.
type tail struct{ b []byte }

// Write never fails.
func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p[max(0, len(p)-maxStderr):]...)
	t.b = t.b[max(0, len(t.b)-maxStderr):]
	return len(p), nil
}

func (t *tail) lastLine() string {
	text := bytes.TrimSpace(t.b)
	return string(text[bytes.LastIndexByte(text, '\n')+1:])
}
