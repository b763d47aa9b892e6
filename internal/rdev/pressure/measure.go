package pressure

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"

	"stella/internal/cgroup"
)

// Measure says how much of this process's limits is used: GOMEMLIMIT, and what its cgroup, or the machine, has.
func Measure() ([]Use, error) {
	var all []Use
	if limit := debug.SetMemoryLimit(-1); limit < math.MaxInt64 {
		all = append(all, Use{Source: "GOMEMLIMIT", Used: runtimeUse(), Limit: limit})
	}
	ceiling, err := cgroup.MemoryCeiling()
	if err != nil {
		return all, ifNone(all, err)
	}
	used, err := usedBy(ceiling)
	if err != nil {
		return all, ifNone(all, err)
	}
	return append(all, Use{Source: ceiling.Source, Used: used, Limit: ceiling.Bytes}), nil
}

// ifNone is err where there is nothing else to go by.
func ifNone(all []Use, err error) error {
	if len(all) > 0 && errors.Is(err, cgroup.ErrUnsupported) {
		return nil
	}
	return err
}

// collect gives the memory of garbage back to the system.
func collect() { debug.FreeOSMemory() }

// usedBy is what is used of a ceiling, in bytes. Beside the file that states a limit are those that say how much is used.
func usedBy(c cgroup.Ceiling) (int64, error) {
	dir, file := filepath.Split(c.Source)
	var used, droppable int64
	var err error
	switch file {
	case "memory.max": // cgroup v2
		used, err = readNumber(dir + "memory.current")
		if err == nil {
			droppable, err = readKeyed(dir+"memory.stat", "inactive_file")
		}
	case "memory.stat": // cgroup v1
		used, err = readNumber(dir + "memory.usage_in_bytes")
		if err == nil {
			droppable, err = readKeyed(c.Source, "total_inactive_file")
		}
	default: // the machine's meminfo, in KiB
		var free int64
		free, err = readKeyed(c.Source, "MemAvailable:")
		used = c.Bytes - free<<10
	}
	if err != nil {
		return 0, fmt.Errorf("find out how much memory is used: %w", err)
	}
	return max(used-droppable, 0), nil // they are read one after the other
}

func readNumber(name string) (int64, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	return n, nil
}

// readKeyed returns the number that follows key at the beginning of a line.
func readKeyed(name, key string) (int64, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) >= 2 && fields[0] == key {
			return strconv.ParseInt(fields[1], 10, 64)
		}
	}
	return 0, fmt.Errorf("%s has no %s", name, key)
}

// What [runtimeUse] reads of the runtime.
const (
	total    = "/memory/classes/total:bytes"
	released = "/memory/classes/heap/released:bytes"
	free     = "/memory/classes/heap/free:bytes"
)

// runtimeUse is what the runtime uses of GOMEMLIMIT, in bytes: all of its memory but what was released (runtime/debug.SetMemoryLimit),
// and without pages that are free, which it can use or release when it needs to.
func runtimeUse() int64 {
	samples := []metrics.Sample{{Name: total}, {Name: released}, {Name: free}}
	metrics.Read(samples)
	return int64(samples[0].Value.Uint64() - samples[1].Value.Uint64() - samples[2].Value.Uint64())
}
