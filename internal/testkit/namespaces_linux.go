package testkit

import (
	"errors"
	"fmt"
	"os/exec"
	"syscall"
)

// namespaces starts true in namespaces of its own. For the mount namespace the child also
// makes / private (package syscall, UnshareFlags), so that the right to mount is tried as well.
func namespaces() error {
	cmd := exec.Command("true")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Unshareflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWCGROUP,
	}
	err := cmd.Run()
	// unshare(2): not allowed, not in this kernel, or more than the user may have.
	for _, no := range []error{syscall.EPERM, syscall.EACCES, syscall.EINVAL, syscall.ENOSYS, syscall.ENOSPC, syscall.EUSERS} {
		if errors.Is(err, no) {
			return Missing(fmt.Sprintf("a child in namespaces of its own: %v", err))
		}
	}
	return err
}
