// Command up holds a test cluster for a person, or for one command.
//
//	go run ./up                          a cluster until Ctrl-C; says how to reach it
//	go run ./up -- kubectl get nodes     a cluster for one command, with its exit code
//	go run ./up -build                   only builds Kubernetes, as tests would
//	go run ./up -programs DIR            puts all that a cluster is built from into
//	                                     DIR, for STELLA_TEST_PROGRAMS elsewhere
//
// The command runs on this machine with KUBECONFIG set and a kubectl of the
// cluster's version first on PATH.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"stella/test/cluster"
)

func main() {
	cluster.Supervise()
	level := flag.String("level", string(cluster.Full), "how much of a cluster, as a `level`: api, node or full")
	build := flag.Bool("build", false, "build Kubernetes into the cache and start nothing")
	programs := flag.String("programs", "", "build what a machine without Go needs into the `directory` and start nothing")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var code int
	var err error
	switch {
	case *build:
		err = cluster.Build(ctx, os.Stderr)
	case *programs != "":
		err = cluster.Programs(ctx, *programs, os.Stderr)
	default:
		code, err = run(ctx, cluster.Level(*level), flag.Args())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "up:", err)
		code = 1
	}
	stop()
	os.Exit(code)
}

// run returns the exit code of the command, if there is one.
func run(ctx context.Context, level cluster.Level, command []string) (code int, err error) {
	c, err := cluster.New(ctx, cluster.Options{Level: level}, os.Stderr)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if len(command) == 0 {
		fmt.Printf("export KUBECONFIG=%s PATH=%s:$PATH\n", c.Kubeconfig, c.Programs)
		fmt.Fprintln(os.Stderr, "up: the cluster runs until Ctrl-C; the line above is for another shell")
		<-ctx.Done()
		return 0, nil
	}
	if err := os.Setenv("PATH", c.Programs+":"+os.Getenv("PATH")); err != nil {
		return 0, err
	}
	if err := os.Setenv("KUBECONFIG", c.Kubeconfig); err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err = cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	return 0, err
}
