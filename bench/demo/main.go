// Command demo makes a real image from the packages installed on this machine,
// scans it in a memory cgroup of 32 MiB where this process may make one, and
// prints what was found and what it took.
//
// Usage: demo -stella FILE
//
// The exit status is stella's, or 1 where the demonstration itself failed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"stella/bench/images"
	"stella/bench/ociwrite"
	"stella/internal/cgroup"
)

// limit is the promise that is demonstrated.
const limit = 32 << 20

func main() {
	stella := flag.String("stella", "bin/stella", "the `program` to demonstrate")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *stella); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.ExitCode() > 0 {
			os.Exit(exit.ExitCode())
		}
		os.Exit(1)
	}
}

func run(ctx context.Context, stella string) error {
	dir, err := images.DefaultDir()
	if err != nil {
		return err
	}
	fmt.Println("Making an image from the packages installed on this machine …")
	store := images.Store{Dir: dir, Compression: ociwrite.Gzip, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	im, err := store.Build(ctx, images.Installed)
	if err != nil {
		return err
	}
	f := im.Figures
	fmt.Printf("%s\n%d layers, %d MiB compressed, %d MiB uncompressed, %d files.\n", im.Path, f.Layers, f.Compressed>>20, f.Uncompressed>>20, f.Files)
	if im.Note != "" {
		fmt.Println(im.Note)
	}

	// The cache would make a second demonstration too good.
	cmd := exec.CommandContext(ctx, stella, "scan", "image", "oci-dir:"+im.Path, "--no-cache")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	group, err := cgroup.New("stella-demo", cgroup.Limit{Memory: limit})
	if errors.Is(err, cgroup.ErrUnsupported) {
		fmt.Printf("\nSkipped: the memory cgroup. %v. The scan runs without one.\n", err)
	} else if err != nil {
		return err
	}
	start := cmd.Start
	if group != nil {
		defer group.Close()
		start = func() error { return group.Start(cmd) }
	}
	fmt.Printf("\n$ stella scan image oci-dir:%s --no-cache\n", im.Path)
	begin := time.Now()
	if err := start(); err != nil {
		return err
	}
	peak := make(chan int64, 1)
	go func() { peak <- watch(cmd.Process.Pid) }()
	err = cmd.Wait()
	report(cmd, group, time.Since(begin), <-peak)
	return err
}

// watch reads the highest resident set of a process, in KiB, until it is gone.
// The figure that wait gives would count what this process had when it forked.
func watch(pid int) int64 {
	var peak int64
	for ; ; time.Sleep(10 * time.Millisecond) {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return peak
		}
		_, rest, ok := strings.Cut(string(status), "VmHWM:")
		if !ok {
			return peak // a zombie has no memory
		}
		if kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64); err == nil {
			peak = kib
		}
	}
}

// report prints what the scan took. The figures come from the kernel, not from stella.
func report(cmd *exec.Cmd, group *cgroup.Group, wall time.Duration, peak int64) {
	fmt.Printf("\nwall time        %s\n", wall.Round(10*time.Millisecond))
	fmt.Printf("CPU time         %s\n", (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Round(10*time.Millisecond))
	fmt.Printf("peak memory      %.1f MiB (resident set; the budget is %d MiB)\n", float64(peak)/1024, limit>>20)
	if group == nil {
		return
	}
	if s, err := group.Stats(); err == nil {
		fmt.Printf("memory cgroup    limit %d MiB without swap, %d processes killed for want of memory\n", s.Limit>>20, s.OOMKills)
	}
}
