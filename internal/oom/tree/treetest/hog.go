package treetest

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// hogEnv makes the test binary a hog: "BYTES FILE", FILE being cgroup.procs.
const hogEnv = "STELLA_TREETEST_HOG"

// NewHog is a hog that uses so many bytes in the cgroup of a directory, says "ready", and ends with its standard
// input. Nothing of the environment goes to it.
func NewHog(dir string, bytes int64) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{fmt.Sprintf("%s=%d %q", hogEnv, bytes, dir+"/cgroup.procs"), "GOMAXPROCS=1"}
	return cmd
}

// Hog plays the hog, and ends, where the test binary was started as one.
func Hog() {
	text := os.Getenv(hogEnv)
	if text == "" {
		return
	}
	if err := hog(text); err != nil {
		fmt.Fprintln(os.Stderr, "hog:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// hog touches every page of its memory.
func hog(text string) error {
	var size int
	var file string
	if _, err := fmt.Sscanf(text, "%d %q", &size, &file); err != nil {
		return err
	}
	if err := os.WriteFile(file, []byte("0"), 0); err != nil {
		return err
	}
	block, err := syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return err
	}
	for i := 0; i < len(block); i += 4096 {
		block[i] = 1
	}
	os.Stdout.WriteString("ready\n")
	_, _ = os.Stdin.Read(make([]byte, 1))
	return nil
}
