package proc

import (
	"bufio"
	"errors"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Trim gives back what is resident of the program's own file: much of it is there only because its neighbours were needed at the start. The
// kernel maps again what is used, from its cache. It may be called at any time, by any goroutine, and takes a millisecond.
func Trim() error {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	maps, err := os.Open("/proc/self/maps") // proc_pid_maps(5)
	if err != nil {
		return err
	}
	defer maps.Close()
	var failed error
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		// What is written to is not in the file, and would be lost.
		f := strings.Fields(lines.Text())
		if len(f) < 6 || strings.Contains(f[1], "w") || strings.Join(f[5:], " ") != program {
			continue
		}
		first, last, _ := strings.Cut(f[0], "-")
		from, err := strconv.ParseUint(first, 16, 64)
		if err != nil {
			return err
		}
		to, err := strconv.ParseUint(last, 16, 64)
		if err != nil {
			return err
		}
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, uintptr(from), uintptr(to-from), unix.MADV_DONTNEED); errno != 0 {
			failed = errors.Join(failed, os.NewSyscallError("madvise", errno))
		}
	}
	return errors.Join(failed, lines.Err())
}
