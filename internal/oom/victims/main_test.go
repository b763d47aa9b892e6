package victims_test

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"stella/internal/oom/victims"
)

// roleEnv makes the test binary do something else: "ROLE ARGUMENTS".
const roleEnv = "STELLA_VICTIMS_TEST"

var roles = map[string]func(args string) error{"hog": hog, "holder": holder, "denied": denied}

func TestMain(m *testing.M) {
	name, args, _ := strings.Cut(os.Getenv(roleEnv), " ")
	role, ok := roles[name]
	if !ok {
		os.Exit(m.Run())
	}
	if err := role(args); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// hog touches every page of so much memory in a cgroup, says that it has it, and goes on when its standard input ends:
// BYTES NAME DIRECTORY-OF-CGROUP.
func hog(args string) error {
	var size int
	var name, dir string
	if _, err := fmt.Sscanf(args, "%d %q %q", &size, &name, &dir); err != nil {
		return err
	}
	if err := os.WriteFile("/proc/self/comm", []byte(name), 0); err != nil {
		return err
	}
	if err := os.WriteFile(dir+"/cgroup.procs", []byte("0"), 0); err != nil {
		return err
	}
	block, err := syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return err
	}
	for i := 0; i < len(block); i += 4096 {
		block[i] = 1
	}
	fmt.Println(ready)
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

const ready = "ready"

// holder opens the notes, and waits to be killed: DIRECTORY.
func holder(dir string) error {
	if _, err := victims.Open(victims.Options{Dir: dir, Log: slog.Default()}); err != nil {
		return err
	}
	fmt.Println(ready)
	for {
		_ = unix.Pause() // which signals of Go's own runtime end
	}
}

// denied gives up capabilities, and opens the notes: DIRECTORY.
func denied(dir string) error {
	runtime.LockOSThread() // capabilities are of a thread
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData // this version has two
	if err := unix.Capset(&header, &none[0]); err != nil {
		return err
	}
	_, err := victims.Open(victims.Options{Dir: dir, Log: slog.Default()})
	if err != nil && !errors.Is(err, victims.ErrNotHere) {
		return err
	}
	fmt.Println(err)
	return nil
}
