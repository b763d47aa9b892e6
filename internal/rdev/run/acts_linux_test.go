package run_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// actEnv makes the test binary play a program instead of testing, so that the programs are there on every machine.
const actEnv = "STELLA_RUN_TEST_ACT"

func TestMain(m *testing.M) {
	name, argument, _ := strings.Cut(os.Getenv(actEnv), ":")
	if name == "" {
		os.Exit(m.Run())
	}
	if acts[name] == nil {
		panic("no such act: " + name)
	}
	acts[name](argument)
}

var acts = map[string]func(string){
	"allocate": allocate,
	"exit":     exit,
	"signal": func(number string) {
		n, _ := strconv.Atoi(number)
		_ = syscall.Kill(os.Getpid(), syscall.Signal(n))
		sleep()
	},
	// child lets a child be killed for want of memory, and ends with that code.
	"child": func(code string) {
		confined() // so that it is the child that is killed
		child := again("allocate:256")
		err := child.Run()
		fmt.Println("child", child.Process.Pid, err)
		exit(code)
	},
	// waiter does what it is told by signals.
	"waiter": func(code string) {
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGTERM)
		fmt.Println("ready")
		<-c
		fmt.Println("tidied up")
		exit(code)
	},
	"stubborn": func(string) {
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
		fmt.Println("ready")
		sleep()
	},
	// parent is a first process that ends by SIGTERM at once, while its child tidies up.
	"parent": func(string) {
		child := again("waiter:0")
		out, err := child.StdoutPipe()
		if err == nil {
			err = child.Start()
		}
		if err != nil {
			panic(err)
		}
		_, _ = io.Copy(os.Stdout, out)
	},
	// leave leaves processes that hold the output: one in the session, one in its own.
	"leave": func(string) {
		for _, away := range []bool{false, true} {
			child := again("stubborn")
			child.Stdout = os.Stdout
			child.SysProcAttr = &syscall.SysProcAttr{Setsid: away}
			if err := child.Start(); err != nil {
				panic(err)
			}
			fmt.Println("left", child.Process.Pid)
		}
	},
	// bomb starts as many as it can, each of which does the same.
	"bomb": func(string) {
		for {
			if again("bomb").Start() != nil {
				time.Sleep(time.Millisecond)
			}
		}
	},
	"show": show,
	"cat":  func(string) { _, _ = io.Copy(os.Stdout, os.Stdin) },
	"closed": func(string) {
		os.Stdin.Close()
		os.Stdout.Close()
		os.Stderr.Close()
		exit("4")
	},
	// write writes that many lines to both streams.
	"write": func(lines string) {
		n, _ := strconv.Atoi(lines)
		out := bufio.NewWriter(os.Stdout)
		for i := range n {
			fmt.Fprintln(out, "line", i)
			if i%1000 == 0 {
				fmt.Fprintln(os.Stderr, "error", i)
			}
		}
		out.Flush()
	},
}

func sleep() { time.Sleep(time.Hour) }

func exit(code string) {
	n, _ := strconv.Atoi(code)
	os.Exit(n)
}

// again is this program in another act, with nothing of its own.
func again(act string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), actEnv+"="+act)
	return cmd
}

// allocate touches every page of that many MiB.
func allocate(mebibytes string) {
	n, _ := strconv.Atoi(mebibytes)
	block, err := syscall.Mmap(-1, 0, n<<20, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		panic(err)
	}
	for i := 0; i < len(block); i += 4096 {
		block[i] = 1
	}
	fmt.Println("allocated")
}

// show prints what this process has.
func show(string) {
	session, _, _ := syscall.RawSyscall(syscall.SYS_GETSID, 0, 0, 0)
	fmt.Println("session", int(session) == os.Getpid())
	wd, _ := os.Getwd()
	fmt.Println("directory", wd)
	fmt.Println("user", os.Getuid(), os.Getgid(), os.Getegid())
	groups, _ := os.Getgroups()
	fmt.Println("groups", groups)
	for _, e := range os.Environ() {
		fmt.Println("env", e)
	}
	open, _ := filepath.Glob("/proc/self/fd/*")
	for _, fd := range open {
		// Go's own are for waiting, and for the limits of processors.
		to, err := os.Readlink(fd)
		if err == nil && !strings.HasPrefix(to, "anon_inode:") && !strings.Contains(to, "/cpu") {
			fmt.Println("fd", filepath.Base(fd), to)
		}
	}
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, "NoNewPrivs") {
			fmt.Print(line)
		}
	}
	fmt.Println("adj", confined())
}

// confined waits until what is done to a process that runs has been done to this one.
func confined() string {
	for deadline := time.Now().Add(grace); ; time.Sleep(time.Millisecond) {
		adj, _ := os.ReadFile("/proc/self/oom_score_adj")
		if text := strings.TrimSpace(string(adj)); text == "1000" || time.Now().After(deadline) {
			return text
		}
	}
}
