package tree

import (
	"encoding/binary"
	"fmt"
	"path"

	"golang.org/x/sys/unix"
)

const (
	// kernfsHandle is the type of file handles of cgroup file systems (FILEID_KERNFS), which are
	// the inode in 8 bytes; rootInode is that of the root of each (fs/kernfs).
	kernfsHandle = 0xfe
	rootInode    = 1
)

// realPath finds the path from the hierarchy's root of the cgroup at dir, which is all that a cgroup namespace shows. No
// path leads out of one, and the kernel tells names relative to it; but a handle opens the root, which takes the
// capability DAC_READ_SEARCH outside all user namespaces, as a privileged container has it. Outside of the namespace only
// names are read.
func realPath(dir string) (string, error) {
	own, err := inode(dir)
	if err != nil {
		return "", err
	}
	part, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("open %s: %w", dir, err)
	}
	defer unix.Close(part)
	handle := unix.NewFileHandle(kernfsHandle, binary.NativeEndian.AppendUint64(nil, rootInode))
	root, err := unix.OpenByHandleAt(part, handle, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if err != nil {
		return "", fmt.Errorf("open the root of all cgroups by its handle: %w", err)
	}
	defer unix.Close(root)
	return pathOf(fmt.Sprintf("/proc/self/fd/%d/.", root), own)
}

// pathOf finds the cgroup with that inode below a directory, the nearest first.
func pathOf(root string, id uint64) (string, error) {
	var list lister
	found := []string{""}
	for i := 0; i < len(found); i++ {
		names, err := list.directories(root + found[i])
		if err != nil && !gone(err) {
			return "", err
		}
		for _, name := range names {
			below := path.Join("/", found[i], name)
			if now, err := inode(root + below); err == nil && now == id {
				return below, nil
			}
			if len(found) < maxCgroups {
				found = append(found, below)
			}
		}
	}
	return "", fmt.Errorf("the cgroup is not among the %d from the root on", len(found))
}
