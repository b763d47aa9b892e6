// Command storm is a container whose first process forks heavy children in a loop, as a shell does that runs kubectl: $WORKERS at a time, each of
// which takes 30 MiB for a moment. It goes on whatever becomes of them.
package main

import (
	"os"
	"os/exec"
	"strconv"
	"time"
)

const (
	childBytes = 30 << 20
	childLives = 400 * time.Millisecond
	// childWaits is until the others have begun. One that is killed while it begins shares its memory with its parent, which dies with it.
	childWaits = 300 * time.Millisecond
	pause      = 100 * time.Millisecond
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "child" { // an image of this kind has an argument of its own
		child()
		return
	}
	workers, err := strconv.Atoi(os.Getenv("WORKERS"))
	if err != nil {
		panic(err)
	}
	for {
		var children []*exec.Cmd
		for range workers {
			c := exec.Command("/proc/self/exe", "child")
			if c.Start() == nil {
				children = append(children, c)
			}
		}
		for _, c := range children {
			_ = c.Wait() // that it was killed is what this is for
		}
		time.Sleep(pause)
	}
}

func child() {
	time.Sleep(childWaits)
	memory := make([]byte, childBytes)
	for i := range memory {
		memory[i] = 1
	}
	time.Sleep(childLives)
	_ = memory[0]
}
