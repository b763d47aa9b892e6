//go:build linux

// Command cycles is the gate with the time between two looks as short as its options say, which are JSON on standard input (see
// loop.Options). It collects garbage and gives pages back as kured-sentinel-gate does, and ends as that does: by a signal, or after as many looks as it may have.
//
// Before the gate begins, the kernel is told to kill this process should it start another: see forbidForks. A run that is not killed has made none.
//
// It prints how many goroutines there are before the gate begins and after it has ended.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"
	_ "time/tzdata" // as kured-sentinel-gate has it

	"stella/internal/daemon"
	"stella/internal/gate/loop"
)

// settling is how long goroutines of connections that were closed may take to end.
const settling = 10 * time.Second

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "cycles:", err)
		os.Exit(1)
	}
}

func run() error {
	debug.SetGCPercent(20) // as in cmd/kured-sentinel-gate
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := forbidForks(); err != nil {
		return fmt.Errorf("forbid forks: %w", err)
	}
	if len(os.Args) == 2 && os.Args[1] == "fork" { // to see that it is forbidden
		return exec.Command("/bin/true").Run()
	}
	var o loop.Options
	if err := json.NewDecoder(os.Stdin).Decode(&o); err != nil {
		return fmt.Errorf("the options: %w", err)
	}
	o.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	if err := o.Validate(); err != nil {
		return err
	}
	before := runtime.NumGoroutine()
	if err := loop.Serve(ctx, o, func() { daemon.TrimSoon(o.Log) }); err != nil {
		return err
	}
	fmt.Printf("goroutines %d %d\n", before, settled(before))
	return nil
}

// settled waits until there are no more goroutines than so many, and says how many there are.
func settled(most int) int {
	for start := time.Now(); runtime.NumGoroutine() > most && time.Since(start) < settling; {
		time.Sleep(10 * time.Millisecond)
	}
	return runtime.NumGoroutine()
}
