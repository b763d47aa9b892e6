package cli

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"stella/internal/bytesize"
	"stella/internal/scan"
	"stella/internal/spool"
)

const (
	// defaultCache holds the fragments of some thousand usual layers.
	defaultCache = 1 << 30
	// defaultTempDir is used where TMPDIR is not set: /tmp is often memory.
	defaultTempDir = "/var/tmp"
)

// engineFlags say how an image is opened and read. All commands that do so share them.
type engineFlags struct {
	platform      string
	plainHTTP     []string
	skipTLSVerify bool
	timeout       time.Duration
	tmpDir        string

	memory   bytesize.Size
	workers  int
	cacheDir string
	noCache  bool
	cacheMax bytesize.Size
	progress string
}

// addOpen adds the flags for opening an image.
func (f *engineFlags) addOpen(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.platform, "platform", "", "choose from an image index: `OS/ARCH[/VARIANT]` (default Linux on this machine's architecture)")
	flags.StringSliceVar(&f.plainHTTP, "plain-http", nil, "talk HTTP without TLS to the registry at `HOST[:PORT]`; repeatable")
	flags.BoolVar(&f.skipTLSVerify, "skip-tls-verify", false, "accept any certificate of a registry")
	flags.DurationVar(&f.timeout, "timeout", 0, "give up after this time, such as 30m; 0 means never")
	flags.StringVar(&f.tmpDir, "tmp-dir", "", "`directory` for temporary files; should not be in memory (default $TMPDIR, else "+defaultTempDir+")")
	complete(cmd, "platform", "linux/amd64", "linux/arm64", "linux/arm/v7", "linux/386", "linux/ppc64le", "linux/riscv64", "linux/s390x")
	completeDirectory(cmd, "tmp-dir")
}

// addScan adds the flags for reading its layers.
func (f *engineFlags) addScan(cmd *cobra.Command) {
	f.memory, f.cacheMax = scan.DefaultMemory, defaultCache
	flags := cmd.Flags()
	flags.Var(&f.memory, "max-memory", "memory that the whole process may use")
	flags.IntVar(&f.workers, "workers", 0, "layers read at the same time, at most; 0 means as many as there are processors")
	flags.StringVar(&f.cacheDir, "cache-dir", "", "`directory` that keeps the results of layers (default $XDG_CACHE_HOME/stella, else ~/.cache/stella)")
	flags.BoolVar(&f.noCache, "no-cache", false, "neither use nor keep results of layers")
	flags.Var(&f.cacheMax, "cache-max-size", "most that the cache directory may hold; the least recently used goes first")
	flags.StringVar(&f.progress, "progress", "auto", "`how` to show progress: auto, tty, plain or none")
	complete(cmd, "progress", progressModes...)
	completeDirectory(cmd, "cache-dir")
}

// check finds what is wrong with the flags' values.
func (f *engineFlags) check(cmd *cobra.Command) error {
	switch parts := strings.Count(f.platform, "/"); {
	case f.platform != "" && (parts < 1 || parts > 2):
		return usagef(cmd, "--platform %s: write it as os/architecture or os/architecture/variant, such as linux/arm64", f.platform)
	case f.timeout < 0:
		return usagef(cmd, "--timeout %s: must not be negative", f.timeout)
	case f.workers < 0:
		return usagef(cmd, "--workers %d: must not be negative", f.workers)
	case f.progress != "" && !slices.Contains(progressModes, f.progress):
		return usagef(cmd, "--progress %s: must be one of %s%s", f.progress, strings.Join(progressModes, ", "), didYouMean(f.progress, progressModes))
	case f.noCache && f.cacheDir != "":
		return usagef(cmd, "--no-cache and --cache-dir contradict each other")
	}
	return nil
}

// temp finds the directory for temporary files, and warns where it is memory.
func (f *engineFlags) temp(getenv func(string) string, log *slog.Logger) (string, error) {
	dir, from := f.tmpDir, "--tmp-dir"
	if dir == "" {
		dir, from = getenv("TMPDIR"), "TMPDIR"
	}
	if dir == "" {
		dir, from = defaultTempDir, "the default for temporary files"
	}
	info, err := os.Stat(dir)
	switch {
	case err != nil:
		return "", fmt.Errorf("%s (%s): %w; give --tmp-dir a directory that exists", dir, from, reason(err))
	case !info.IsDir():
		return "", fmt.Errorf("%s (%s) is not a directory", dir, from)
	}
	if err := access(dir, dir); err != nil {
		return "", fmt.Errorf("%w; give --tmp-dir another directory", err)
	}
	if memory, err := spool.OnMemory(dir); err == nil && memory {
		log.Warn("the directory for temporary files is in memory, where they count against a memory limit; --tmp-dir chooses another", "directory", dir)
	}
	return dir, nil
}

// cache finds and makes the cache directory; empty means no cache. Only a
// directory that was asked for must work.
func (f *engineFlags) cache(log *slog.Logger) (string, error) {
	if f.noCache {
		return "", nil
	}
	dir := f.cacheDir
	if dir == "" {
		home, err := os.UserCacheDir()
		if err != nil {
			log.Info("nothing is kept for later scans, because there is no home directory; --cache-dir names a place")
			return "", nil
		}
		dir = filepath.Join(home, "stella")
	}
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		err = access(dir, dir)
	}
	switch {
	case err == nil:
		return dir, nil
	case f.cacheDir != "":
		return "", fmt.Errorf("--cache-dir: %w", err)
	}
	log.Info("nothing is kept for later scans; --cache-dir names another place, --no-cache says that this is meant", "reason", err)
	return "", nil
}
