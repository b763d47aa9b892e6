// Package incidents holds what stella-agent makes of real kills against what happened: in a container whose first process lives on while its children die, over the
// agent's own death.
//
// The test binary plays two parts beside the test: the parent, which is the first process of the container and starts children, and the child, which takes memory until it is
// killed.
package incidents

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"stella/internal/testkit/released"
)

// roleEnv says which part the binary plays, with arguments behind it.
const roleEnv = "STELLA_TEST_INCIDENTS_ROLE"

var programs = released.New("stella/cmd/stella", "stella/cmd/stella-agent", "stella/cmd/stellad")

func TestMain(m *testing.M) {
	var err error
	switch role, argument, _ := strings.Cut(os.Getenv(roleEnv), " "); role {
	case "":
		os.Exit(programs.Run(m))
	case "parent":
		err = parent(argument)
	case "child":
		err = child()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// as is this binary in a role. Whatever happens to the test, its processes end.
func as(role string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), roleEnv+"="+role)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if strings.HasPrefix(role, "parent") {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWPID // in which it is process 1, as in any container
	}
	cmd.Stderr = os.Stderr
	return cmd
}

// parent enters a cgroup. For each line that it reads it starts a child, and says when that was killed.
func parent(dir string) error {
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("0"), 0); err != nil {
		return err
	}
	fmt.Println("there")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		cmd := as("child")
		err := cmd.Run()
		if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
			return fmt.Errorf("a child was not killed: %w", err)
		}
		fmt.Println("killed")
	}
	return nil
}

// child takes twice the memory that there is.
func child() error {
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0); err != nil {
		return err
	}
	mem, err := unix.Mmap(-1, 0, 2*limit, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return err
	}
	for i := 0; i < len(mem); i += os.Getpagesize() {
		mem[i] = 1
	}
	return errors.New("there was memory for all of it")
}
