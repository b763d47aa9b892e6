//go:build linux

// Command act uses memory as it is told, inside a cgroup that it enters first: it plays the workloads of test/explain.
//
//	act -into CGROUP-DIRECTORY -tmpfs DIRECTORY -file FILE [-adj N]
//
// It reads orders from standard input, a line each, and does them in turn. An order names a kind of memory and how much of it there is to be from
// now on, so that the same order twice is one, but for jobs and reads:
//
//	anon BYTES           anonymous memory of this process
//	worker I BYTES       anonymous memory of the child process I, which is started at its first order, and again if it was killed
//	job BYTES TIME       one more child, which takes so much, and ends after so long
//	tmpfs BYTES          a file in a tmpfs
//	shared BYTES         shared memory without a name
//	locked BYTES         page cache of a file on disk that the kernel may not take back, for it is locked (mlock)
//	read BYTES           so much more is read from that file: page cache that the kernel may take back
//	pipes BYTES          data in pipes that nobody reads: kernel memory
//	tables BYTES         page tables, of address space that is read once and has no memory of its own
//	connections N BYTES  TCP connections to itself, with so much in each that nobody reads
//	exit CODE
//
// It prints "ready" when it is in the cgroup, "pid N" for each child that it starts and "lost I" when the worker I was killed, and ends when its standard input does, with its children. FILE is to be sparse, so that reading it
// costs no disk, and as large as all that will be read.
//
// Hazard: the memory that it takes before it enters the cgroup, 1 MiB of the Go runtime, is charged where it was started.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// roles of this program's children, as its first argument.
const (
	roleWorker = "worker" // anon orders alone
	roleJob    = "job"    // BYTES TIME
)

func main() {
	// Children are killed with the thread that started them (PR_SET_PDEATHSIG), so that must be one that stays.
	runtime.LockOSThread()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "act:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case roleWorker:
			rename("worker")
			return obey(map[string]order{"anon": one((&private{}).hold)})
		case roleJob:
			return job(os.Args[2:])
		}
	}
	into := flag.String("into", "", "the `directory` of the cgroup to enter")
	tmpfs := flag.String("tmpfs", "", "a `directory` in a tmpfs")
	file := flag.String("file", "", "a sparse `file` on a disk")
	adj := flag.Int("adj", 0, "oom_score_adj")
	flag.Parse()
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte(strconv.Itoa(*adj)), 0); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(*into, "cgroup.procs"), []byte("0"), 0); err != nil {
		return err
	}
	rename("app")
	fmt.Println("ready")
	return obey(repertoire(*tmpfs, *file))
}

func repertoire(tmpfs, file string) map[string]order {
	c := &company{workers: map[int64]*worker{}}
	cached := &cached{name: file}
	return map[string]order{
		"anon":        one((&private{}).hold),
		"worker":      two(c.worker),
		"job":         c.job,
		"tmpfs":       one((&stored{dir: tmpfs}).hold),
		"shared":      one((&shared{}).hold),
		"locked":      one(cached.lock),
		"read":        one(cached.read),
		"pipes":       one((&pipes{}).hold),
		"tables":      one((&tables{}).hold),
		"connections": two((&connections{}).hold),
		"exit": one(func(code int64) error {
			os.Exit(int(code))
			return nil
		}),
	}
}

// order is what is done for one, with the words after its name.
type order func(words []string) error

func one(do func(int64) error) order {
	return func(words []string) error {
		n, err := numbers(words, 1)
		if err != nil {
			return err
		}
		return do(n[0])
	}
}

func two(do func(a, b int64) error) order {
	return func(words []string) error {
		n, err := numbers(words, 2)
		if err != nil {
			return err
		}
		return do(n[0], n[1])
	}
}

func numbers(words []string, count int) ([]int64, error) {
	if len(words) != count {
		return nil, fmt.Errorf("%d numbers, want %d", len(words), count)
	}
	all := make([]int64, count)
	for i, word := range words {
		n, err := strconv.ParseInt(word, 10, 64)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("%q is not a number", word)
		}
		all[i] = n
	}
	return all, nil
}

// obey does what standard input says until it ends.
func obey(orders map[string]order) error {
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		words := strings.Fields(in.Text())
		if len(words) == 0 {
			continue
		}
		do := orders[words[0]]
		if do == nil {
			return fmt.Errorf("no order %q", words[0])
		}
		if err := do(words[1:]); err != nil {
			return fmt.Errorf("%s: %w", in.Text(), err)
		}
	}
	return in.Err()
}

// job takes memory for a time: BYTES TIME.
func job(words []string) error {
	if len(words) != 2 {
		return fmt.Errorf("%d words, want 2", len(words))
	}
	rename("job")
	stays, err := time.ParseDuration(words[1])
	if err != nil {
		return err
	}
	if err := one((&private{}).hold)(words[:1]); err != nil {
		return err
	}
	time.Sleep(stays)
	return nil
}

// rename gives this process a name, as the kernel logs it.
func rename(name string) {
	// It is for whoever reads the log, and changes nothing.
	_ = os.WriteFile("/proc/self/comm", []byte(name), 0)
}
