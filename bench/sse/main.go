// Command sse measures how many subscribers of one command's output are served how fast, in
// how much memory, beside three other ways to do it, and the least that any can do.
//
// Usage: sse [flags]
//
// Each server is a process of its own, and the clients are another: a thousand or ten thousand connections that read what comes and look
// when it was written, which is in each line. Of a crowd of which a fifth is bad, a tenth never reads,
// and a tenth is a process that is stopped; both with small windows. It needs no root and no network but this machine's; the peers, which are in the module bench/sse/peers,
// need the Go module proxy once, and are unmeasured without it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"stella/bench/machine"
)

// scenario is what all servers are measured with.
type scenario struct {
	subscribers int
	lines       int
	bad         bool
}

// scenarios are those of the targets.
var scenarios = []scenario{
	{1000, 100_000, false},
	{1000, 100_000, true},
	{10_000, 1000, false},
	{10_000, 1000, true},
}

// servers are what is measured; the first two are this program.
var servers = []string{"stella", "floor", "r3labs", "go-sse", "channels"}

func main() {
	// These are other processes of the same program.
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "serve":
			exit(serve(os.Args[2:]))
		case "floor":
			exit(serveFloor())
		case "read":
			exit(read(os.Args[2:]))
		}
	}
	only := flag.String("servers", strings.Join(servers, ","), "what to measure")
	which := flag.String("scenarios", "1,2,3,4", "which of the scenarios, by their numbers")
	took := flag.Duration("time", 20*time.Second, "how long the lines take")
	part := flag.Int("part", 1, "divide the lines by this, on a machine that is too busy for all of them")
	flag.Parse()
	for i := range scenarios {
		scenarios[i].lines /= *part
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	exit(run(ctx, strings.Split(*only, ","), *which, *took))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "sse:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func run(ctx context.Context, only []string, which string, took time.Duration) error {
	dir, err := os.MkdirTemp("", "stella-sse-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	peers := filepath.Join(dir, "peers")
	unmeasured := build(ctx, peers)
	fmt.Printf("%s. %v. Lines of %d bytes, in %v.\n", time.Now().Format(time.DateOnly), machine.Describe(), lineLength, took)
	for i, s := range scenarios {
		if !strings.Contains(which, fmt.Sprint(i+1)) {
			continue
		}
		fmt.Printf("\n%d subscribers × %d lines%s\n\n%s\n", s.subscribers, s.lines, map[bool]string{true: ", a fifth of them bad"}[s.bad], heading)
		for _, name := range only {
			program := []string{peers, name}
			switch {
			case name == "stella":
				program = []string{"/proc/self/exe", "serve"}
			case name == "floor":
				program = []string{"/proc/self/exe", "floor"}
			case unmeasured != nil:
				fmt.Printf("| %s | unmeasured: %v |\n", name, unmeasured)
				continue
			}
			r, err := measure(ctx, program, s, took, dir)
			if err != nil {
				return fmt.Errorf("%s, %d subscribers: %w", name, s.subscribers, err)
			}
			fmt.Println(r.row(name, s))
		}
	}
	return nil
}
