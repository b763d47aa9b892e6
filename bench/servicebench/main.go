// Command servicebench measures the scanner service: what a job costs beside the
// plain function call that scans the same image, and what stellad itself needs,
// while it rests, under load, and when workers are killed.
//
// Usage: servicebench [flags]
//
// Everything is the real thing, built from this module: stellad, its workers, its
// socket. It needs no network, and root only for memory cgroups: without them
// nothing is killed, and those figures are missing. A run takes about three
// minutes, most of which it waits for what happens while nothing happens.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"stella/bench/daemon"
	"stella/bench/machine"
)

// options say how much is measured.
type options struct {
	images int
	rounds int
	jobs   int
	pause  time.Duration
	kills  int
}

func main() {
	var o options
	flag.IntVar(&o.images, "images", 300, "distinct small images")
	flag.IntVar(&o.rounds, "rounds", 7, "rounds; in each, all images are scanned in every way. Medians are shown")
	flag.IntVar(&o.jobs, "jobs", 1000, "jobs before stellad rests for the second time")
	flag.DurationVar(&o.pause, "pause", 30*time.Second, "how long stellad rests each time, before it is looked at and while it is")
	flag.IntVar(&o.kills, "kills", 15, "workers that are killed, one after the other")
	flag.Parse()
	if flag.NArg() > 0 || o.images < 1 || o.rounds < 1 || o.jobs < 1 || o.pause <= 0 || o.kills < 1 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "servicebench:", err)
		os.Exit(1)
	}
}

// bench is what all measurements share.
type bench struct {
	options
	dir      string // of programs and images
	layouts  []string
	daemons  int
	progress *os.File
}

func run(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "servicebench-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{options: o, dir: dir, progress: os.Stderr}
	b.say("building stella and stellad, and %d images", o.images)
	if err := daemon.Build(ctx, dir); err != nil {
		return err
	}
	if err := b.makeImages(); err != nil {
		return err
	}
	fmt.Printf("%s. %v\n", time.Now().Format(time.DateOnly), machine.Describe())
	for _, measure := range []func(context.Context) ([]table, error){b.throughput, b.rest, b.crowd, b.workers, b.killed} {
		tables, err := measure(ctx)
		if err != nil {
			return err
		}
		for _, t := range tables {
			fmt.Print("\n", t)
		}
	}
	return nil
}

func (b *bench) say(format string, args ...any) { fmt.Fprintf(b.progress, format+"\n", args...) }

// start starts a stellad with a directory of its own.
func (b *bench) start(ctx context.Context, args ...string) (*daemon.Daemon, error) {
	b.daemons++
	dir := filepath.Join(b.dir, fmt.Sprintf("d%d", b.daemons))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	return daemon.Start(ctx, daemon.Options{Programs: b.dir, Dir: dir, Args: args})
}
