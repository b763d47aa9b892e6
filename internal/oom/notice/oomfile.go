package notice

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"stella/internal/oom"
)

// BundleDirs are where CRI-O and podman keep what is about each container, and conmon, which is its monitor, puts a file named
// oom when its cgroup ran out of memory.
var BundleDirs = []string{"/run/containers/storage/overlay-containers", "/var/lib/containers/storage/overlay-containers"}

const (
	// look is how often the directories are read: two system calls for each container.
	look = 2 * time.Second
	// maxBundles bounds the containers of a directory that are looked at and remembered.
	maxBundles  = 4096
	namesAtOnce = 256
)

// OOMFiles tells of each container for which conmon made the file, in a directory of bundles, until ctx ends. Files that were there
// before are told too, with the time at which they were made.
func OOMFiles(ctx context.Context, dir string, tell func(oom.Notice), state func(error)) error {
	f := oomFiles{dir: dir, told: map[string]time.Time{}}
	r := reporter{state: state}
	for {
		r.report(f.look(tell))
		if !pause(ctx.Done(), look) {
			return ctx.Err()
		}
	}
}

// oomFiles remembers what was told: the time of the file, by the ID of the container.
type oomFiles struct {
	dir  string
	told map[string]time.Time
}

func (f *oomFiles) look(tell func(oom.Notice)) error {
	d, err := os.Open(f.dir)
	if err != nil {
		return fmt.Errorf("look for the oom files of conmon: %w", err)
	}
	defer d.Close()
	here := make(map[string]time.Time, len(f.told))
	looked := 0
	for {
		names, err := d.Readdirnames(namesAtOnce)
		for _, name := range names {
			id, ok := containerID([]byte(name))
			if !ok || len(name) != idDigits {
				continue
			}
			if looked++; looked > maxBundles {
				return fmt.Errorf("look for the oom files of conmon: %s has more than %d containers", f.dir, maxBundles)
			}
			info, err := os.Lstat(filepath.Join(f.dir, id, "userdata/oom"))
			if err != nil {
				continue // there is none, or the container is gone
			}
			here[id] = info.ModTime()
			if !f.told[id].Equal(info.ModTime()) {
				tell(runtimeNotice("", id, info.ModTime()))
			}
		}
		if errors.Is(err, io.EOF) {
			f.told = here
			return nil
		}
		if err != nil {
			return fmt.Errorf("look for the oom files of conmon: %w", err)
		}
	}
}
