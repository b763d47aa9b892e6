// Command install builds the scanners that Stella is measured against and prints
// one line for each: its name, version and path, or why it cannot be measured.
// It exits with 1 if any is missing.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"stella/bench/images"
	"stella/bench/peers"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir, err := images.DefaultDir()
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "install:", err)
		os.Exit(1)
	}
	missing := 0
	for _, p := range peers.All() {
		path, err := p.Install(ctx, dir)
		if err != nil {
			missing++
			path = "unmeasured: " + err.Error()
		}
		fmt.Println(p.Name, p.Version, path)
	}
	os.Exit(min(missing, 1))
}
