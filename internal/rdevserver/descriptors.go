package rdevserver

import (
	"cmp"

	"golang.org/x/sys/unix"

	"stella/internal/rdev/service"
)

const (
	// commandDescriptors are what one command takes here at most: both ends of three pipes while it is being started, its
	// output, its cgroup, and its process.
	commandDescriptors = 12
	// ownDescriptors are for the database, the listeners, and outputs that are read.
	ownDescriptors = 256
)

// descriptors is how many files and connections may be open when all is used that may be.
func (o *Options) descriptors() uint64 {
	running := cmp.Or(o.Limits.Running, service.DefaultLimits.Running)
	return uint64(o.Streams + spareConnections + running*commandDescriptors + ownDescriptors)
}

// checkDescriptors warns of a limit of this process (RLIMIT_NOFILE) below which requests fail before any limit of the service
// is reached. Go has raised the limit already, as far as this process may.
func (o *Options) checkDescriptors() {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		o.Log.Warn("how many files may be open cannot be found out", "error", err)
		return
	}
	if need := o.descriptors(); limit.Cur < need {
		o.Log.Warn("fewer files may be open than the streams and commands need that may be there at once: connections will wait and commands fail "+
			"before --streams and --running are reached; raise the limit (LimitNOFILE, ulimit -n), or lower these", "limit", limit.Cur, "needed", need)
	}
}
