package kmsg_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"testing"

	"stella/internal/oom"
	"stella/internal/oom/kmsg"
)

// What this program does when a test starts it again.
const (
	takeEnv    = "STELLA_KMSG_TAKE" // take so many bytes
	stayEnv    = "STELLA_KMSG_STAY" // stay until the input ends
	nameEnv    = "STELLA_KMSG_NAME" // be called so
	deniedEnv  = "STELLA_KMSG_DENIED"
	deniedExit = 7
	isUp       = "up\n"
)

func TestMain(m *testing.M) {
	if name := os.Getenv(nameEnv); name != "" {
		// The thread group leader's is the process's.
		if err := os.WriteFile("/proc/self/comm", []byte(name), 0); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(3)
		}
	}
	switch {
	case os.Getenv(takeEnv) != "":
		n, err := strconv.Atoi(os.Getenv(takeEnv))
		if err != nil {
			os.Exit(3)
		}
		take(n)
	case os.Getenv(stayEnv) != "":
		fmt.Print(isUp)
		os.Stdin.Read(make([]byte, 1))
	case os.Getenv(deniedEnv) != "":
		denied()
	default:
		os.Exit(m.Run())
	}
}

// take takes n bytes of memory.
func take(n int) {
	block := make([]byte, n)
	for i := 0; i < n; i += 4096 {
		block[i] = 1
	}
	fmt.Println("was not killed", block[n-1])
}

// denied follows the kernel log as somebody who may not.
func denied() {
	err := kmsg.Follow(context.Background(), kmsg.Options{}, func(oom.Report) {}, func(oom.Lost) {}, func(uint64) {})
	fmt.Println(err)
	if errors.Is(err, fs.ErrPermission) && errors.As(err, new(*kmsg.UnavailableError)) {
		os.Exit(deniedExit)
	}
}
