package rdevserver

import (
	"crypto/sha256"
	"encoding/hex"

	"stella/internal/cgroup"
	"stella/internal/rdev/service"
)

const (
	// ownMemory is what is left to the service itself where nobody says how much commands may have: 10,000 streams and
	// a hundred commands at full speed stay well below. Of less than twice that, half is left.
	ownMemory = 256 << 20
	// podMemory stands for no limit: commands in pods have their container's.
	podMemory = 1 << 50
)

// totalMemory is what all commands together may have where nobody said so: the default, if it is there.
func (o *Options) totalMemory() int64 {
	if len(o.places)+len(o.Roots) == 0 {
		return podMemory
	}
	most := service.DefaultLimits.TotalMemory
	ceiling, err := cgroup.MemoryCeiling()
	if err != nil {
		o.Log.Warn("how much memory there is cannot be found out, so commands get the default; say it with --total-memory", "error", err)
		return most
	}
	return min(most, ceiling.Bytes-min(ownMemory, ceiling.Bytes/2))
}

// group begins the names of the commands' cgroups: this state directory's alone, so that a service finds those that its
// earlier process left, and no other's.
func group(stateDir string) string {
	sum := sha256.Sum256([]byte(stateDir))
	return "rdev-" + hex.EncodeToString(sum[:4])
}
