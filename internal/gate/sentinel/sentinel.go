// Package sentinel has the two files that a reboot goes by, and what becomes of the second when nobody looks after it any more.
//
// Words: the system of a node makes the raw file when it wants a reboot ([Raw]). The gate makes the gated file ([File]) while the node may be
// rebooted, and kured looks for that one. What it says is a [Grant], which ends by itself. An expirer ([Expire]) is a second process that removes the gated file
// when it is not renewed. A canary ([File.Canary]) shows that two paths lead to one directory.
//
// Time is that of an [Instant]: how long the machine has been up, its sleep included. Whoever sets the clock changes no such time, all processes
// of the machine see the same, and none of it outlives a reboot.
//
// Hazards:
//
//   - kured only asks whether something is at the path: it reads no content, and takes a directory for a wish as well. So the only way to shut the gate
//     is that nothing is there, and an error of [File.Remove] is the one that nobody may overlook.
//   - Expirer and gate belong in two containers, so that what kills or freezes one does not reach the other. When the whole pod is frozen, kured can still
//     see an old file.
//   - The expirer can remove a file in the moment in which it is renewed. The gate is then shut until the next renewal.
//   - Whoever can write to the directory can make the gated file. Keep it in one that belongs to root, such as /run.
package sentinel

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

// The other names in the directory of the gated file. They are always the same, so that what a crash leaves is never more than one of each.
const (
	// newName is a grant before it is whole.
	newName = ".kured-sentinel-gate-new"
	// canaryName is a canary.
	canaryName = ".kured-sentinel-gate-canary"
	// asideName begins the name of what was in the way and could not be removed. The time follows.
	asideName = ".kured-sentinel-gate-aside-"
)

// advise adds to an error of a file what can be done about it.
func advise(err error) error {
	for _, a := range []struct {
		is     error
		advice string
	}{
		{syscall.EROFS, "mount its directory without readOnly"},
		{syscall.ENOSPC, "the file system is full: df says of what"},
		{syscall.EDQUOT, "the quota of the file system is used up"},
		{syscall.EACCES, "the gate has to be root, as the directory's owner is"},
		{syscall.EPERM, "the gate has to be root, as the directory's owner is; lsattr shows whether the file or its directory may not be changed at all"},
		{fs.ErrNotExist, "mount the host's directory of the file, and not the file"},
	} {
		if errors.Is(err, a.is) {
			return fmt.Errorf("%w; %s", err, a.advice)
		}
	}
	return err
}
