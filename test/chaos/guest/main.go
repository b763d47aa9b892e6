// Command guest is what runs in a machine whose power is cut: a scanner service on
// the machine's disk, and clients that say what it has told them.
//
// Usage: guest STELLAD IMAGES, where stella is beside STELLAD, and IMAGES is a
// directory of OCI layouts. On standard output there is a line for each thing that
// the service has acknowledged, which it must know for ever after:
//
//	submitted JOB REFERENCE
//	succeeded JOB INVENTORY
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"stella/internal/client"
	"stella/internal/scanner"
)

const (
	// disk is where the machine's disk is mounted, in a directory that is there.
	disk   = "/mnt"
	socket = "/run/stellad.sock"
	// clients is how many submit at the same time.
	clients = 4
	// look is the pause between two looks at what has ended.
	look = 100 * time.Millisecond
	// startTime bounds the start of the service, in a machine that is ten times slower than others.
	startTime = time.Minute
)

func main() {
	if err := run(context.Background(), os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "guest:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, stellad, images string) error {
	if err := os.MkdirAll(disk, 0o755); err != nil {
		return err
	}
	if err := syscall.Mount("/dev/vda", disk, "ext4", 0, ""); err != nil {
		return fmt.Errorf("mount the disk: %w", err)
	}
	cmd := exec.CommandContext(ctx, stellad, "--data-dir", filepath.Join(disk, "data"), "--instance", "one", "--socket", socket, "--admin", "")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	c, err := client.New(client.Options{Address: "unix://" + socket, UserAgent: "guest"})
	if err != nil {
		return err
	}
	defer c.Close()
	if err := configure(ctx, c); err != nil {
		return err
	}
	refs, err := filepath.Glob(filepath.Join(images, "*"))
	if err != nil {
		return err
	}
	queue := make(chan string, len(refs))
	for _, ref := range refs {
		queue <- "oci-dir:" + ref
	}
	close(queue)
	for range clients {
		go submit(ctx, c, queue)
	}
	return watch(ctx, c)
}

// configure waits for the service, and makes it try as often as it takes.
func configure(ctx context.Context, c *client.Client) error {
	for deadline := time.Now().Add(startTime); ; time.Sleep(look) {
		_, err := c.Set(ctx, "retry.max_attempts", "100")
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

// say writes one line at once, so that none is cut by another.
func say(format string, args ...any) {
	os.Stdout.Write(fmt.Appendf(nil, format+"\n", args...))
}

func submit(ctx context.Context, c *client.Client, refs <-chan string) {
	for ref := range refs {
		job, err := c.Submit(ctx, scanner.Request{Image: ref})
		if err != nil {
			fmt.Fprintln(os.Stderr, "guest:", err)
			os.Exit(1)
		}
		say("submitted %d %s", job.ID, job.Image)
	}
}

// watch says what has succeeded, until the machine ends.
func watch(ctx context.Context, c *client.Client) error {
	said := map[int64]bool{}
	for ; ; time.Sleep(look) {
		jobs, err := c.Jobs(ctx, scanner.JobFilter{Status: []scanner.Status{scanner.StatusSucceeded}, Limit: scanner.MaxPage})
		if err != nil {
			return err
		}
		for _, j := range jobs {
			if !said[j.ID] {
				said[j.ID] = true
				say("succeeded %d %s", j.ID, j.Result.Inventory)
			}
		}
	}
}
