package supervise

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// adopt makes this process the parent of every orphan below it: shims, and the
// containers of killed ones. Elsewhere they would be the machine's, whose first
// process does not always wait for them.
func adopt() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become the parent of orphans: %w", err)
	}
	return nil
}

// reap waits for children and orphans as they end, calls ended when it was the
// given one, and returns when there are none left. Nothing else of this process
// may wait for a child.
func reap(pid int, ended func()) {
	for {
		got, err := unix.Wait4(-1, nil, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil: // ECHILD
			return
		case got == pid:
			ended()
		}
	}
}
