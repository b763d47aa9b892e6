// Package oom kills processes for want of memory, in real cgroups, and holds what
// stella-agent says of it against what happened. In a machine of its own (test/vm) it also takes all memory that there is.
//
// The test binary plays these parts beside the test itself: the agent (so that it can
// be killed with -9 as a process of its own, also inside an emulated machine that
// has nothing but this binary), the eater, which takes memory until it is killed, the holder, which keeps what it
// takes, and the parent, which starts eaters and lives on.
//
// What really happened, the tests know from wait(2): each victim's parent reports its
// pid, and that SIGKILL ended it; nothing else sends that signal here. Kills of other tests on the same machine
// are left out by their cgroups.
package oom

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"stella/internal/agent"
)

// roleEnv says which part the binary plays, with arguments behind it.
const roleEnv = "STELLA_TEST_OOM_ROLE"

func TestMain(m *testing.M) {
	role, args, _ := strings.Cut(os.Getenv(roleEnv), " ")
	var err error
	switch role {
	case "":
		os.Exit(m.Run())
	case "agent":
		err = runAgent(args)
	case "eater":
		err = eat(args)
	case "parent":
		err = parent(args)
	case "holder":
		err = hold(args)
	case "inside":
		err = enter(args)
	case "cache":
		err = cache(args)
	case "exit":
		os.Exit(137)
	default:
		err = fmt.Errorf("no role %q", role)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, role+":", err)
		os.Exit(1)
	}
}

// as is this binary in a role.
func as(ctx context.Context, role string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Env = append(os.Environ(), roleEnv+"="+strings.Join(append([]string{role}, args...), " "))
	// Whatever happens to the test, its processes end.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// runAgent is the agent: STATE-DIR SOCKET.
func runAgent(args string) error {
	dir, rest, _ := strings.Cut(args, " ")
	socket, notes, _ := strings.Cut(rest, " ")
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	return agent.Run(ctx, agent.Options{
		Version: "test", StateDir: dir, Socket: socket, NoKubernetes: true, BPFDir: cmp.Or(notes, dir+"-none"), NoBPF: notes == "",
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}, func() {})
}

// eat takes memory, a MiB at a time, until there is none: KIND MIB. Kinds are anon, and DIR
// of a tmpfs in which a file grows.
func eat(args string) error {
	kind, amount, _ := strings.Cut(args, " ")
	n, err := strconv.Atoi(amount)
	if err != nil {
		return err
	}
	// What fills a tmpfs has little memory of its own, and its parent would be chosen.
	if err := os.WriteFile(scoreAdj, []byte("1000"), 0); err != nil {
		return err
	}
	const step = 1 << 20
	if kind != "anon" {
		f, err := os.CreateTemp(kind, "eaten")
		if err != nil {
			return err
		}
		defer os.Remove(f.Name())
		chunk := make([]byte, step)
		for range n {
			if _, err := f.Write(chunk); err != nil {
				return err
			}
		}
		return errors.New("there was memory for all of it")
	}
	if err := take(n * step); err != nil {
		return err
	}
	return errors.New("there was memory for all of it")
}

// scoreAdj is what the kernel adds to a process's score, in thousandths of the memory that there is.
const scoreAdj = "/proc/self/oom_score_adj"

// take takes bytes of memory for as long as this process lives.
func take(size int) error {
	mem, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return err
	}
	for i := 0; i < len(mem); i += os.Getpagesize() {
		mem[i] = 1
	}
	return nil
}

// parent starts eaters: WAY COUNT KIND MIB. WAY is each, one after the other, or once, all together. It prints a line
// for each that was killed, and ends when its standard input does.
func parent(args string) error {
	var way, kind string
	var count, mib int
	if _, err := fmt.Sscan(args, &way, &count, &kind, &mib); err != nil {
		return err
	}
	var all []*exec.Cmd
	for range count {
		cmd := as(context.Background(), "eater", kind, strconv.Itoa(mib))
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			return err
		}
		if way == "each" {
			report(cmd)
		} else {
			all = append(all, cmd)
		}
	}
	for _, cmd := range all {
		report(cmd)
	}
	fmt.Println("done")
	_, _ = bufio.NewReader(os.Stdin).ReadByte()
	return nil
}

// enter enters a cgroup by its directory, and then is what it is told to be: DIR ROLE ARGUMENTS.
func enter(args string) error {
	dir, role, _ := strings.Cut(args, " ")
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("0"), 0); err != nil {
		return err
	}
	if err := os.Setenv(roleEnv, role); err != nil {
		return err
	}
	return syscall.Exec("/proc/self/exe", os.Args[:1], os.Environ())
}

// cache writes a file, which stays in the page cache: FILE MIB.
func cache(args string) error {
	name, amount, _ := strings.Cut(args, " ")
	n, err := strconv.Atoi(amount)
	if err != nil {
		return err
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	for range n {
		if _, err := f.Write(make([]byte, 1<<20)); err != nil {
			return err
		}
	}
	return f.Close()
}

// report waits for an eater, and says when it was killed.
func report(cmd *exec.Cmd) {
	pid := cmd.Process.Pid
	if err := cmd.Wait(); killed(err) {
		fmt.Println("killed", pid)
	} else {
		fmt.Println("lived", pid, err)
	}
}

// killed reports whether SIGKILL ended a process that was waited for.
func killed(err error) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// patience bounds each wait for what comes in milliseconds, on a busy or emulated machine.
const patience = 30 * time.Second
