// Command stella scans container images.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"stella/internal/cli"
)

// version is set by the linker: -X main.version=1.2.3.
var version = "0.0.0-dev"

func main() {
	code := cli.Main(interruptible(), cli.Options{
		Args:    os.Args[1:],
		Stdout:  os.Stdout,
		Stderr:  os.Stderr,
		Getenv:  os.Getenv,
		Version: version,
	})
	os.Exit(int(code))
}

// together is how near signals are that were meant as one: timeout(1) sends its
// own to the process and to its group, and a Ctrl-C may come by two ways, too.
const together = 100 * time.Millisecond

// interruptible is a context that the first SIGINT or SIGTERM ends; the second
// ends the process. Caught, SIGPIPE becomes an error of the write that caused it.
func interruptible() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	stop := make(chan os.Signal, 2)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-stop
		cancel()
		for first := time.Now(); time.Since(first) < together; {
			<-stop
		}
		os.Exit(int(cli.ExitInterrupted))
	}()
	return ctx
}
