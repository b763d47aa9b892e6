// Command vm runs a test, or another program, in a machine of its own: QEMU with
// Debian's kernel and nothing but cgroup v2. It is made for go test:
//
//	CGO_ENABLED=0 go build -o bin/vm ./test/vm
//	CGO_ENABLED=0 go test -count=1 -exec "$PWD/bin/vm" ./internal/cgroup
//
// Usage: vm [-memory MiB] [-cpus N] [-timeout DURATION] [-with PROGRAM,…]
// [-file HOST[:GUEST]]… [-modules NAME,…] [-disk FILE [-disk-log FILE]] PROGRAM [ARGUMENT]…
//
// The program and the current directory are at the same paths in the machine as
// here, so that a test finds its testdata. It gets the variables STELLA_*,
// GODEBUG and GOTRACEBACK of the environment, and PATH, HOME and TMPDIR as they
// are right in the machine. What it prints comes out here while it runs.
//
// A disk is a file of the host's, made and formatted there; the guest may mount /dev/vda
// as ext4. It has a cache that only flushes empty, as far as its log says: that has all
// writes and flushes in their order, so that what a power cut can leave is known.
//
// The exit status is the program's, 128 and its number for a signal, as in a
// shell, or 125 where the machine itself failed; then the end of the kernel's messages
// is shown.
//
// Vocabulary: the host is where vm was started, the guest is in the machine. See
// stella/test/vm/guest for what a program finds there, and the hazards.
//
// Hazards:
//
//   - Files that the program writes elsewhere than on a disk are gone with the
//     machine: no coverage and no profiles come out of it.
//   - Only amd64, and a host with the Debian packages qemu-system-x86, dpkg and apt.
//   - The processor is emulated: expect a tenth of the speed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"stella/internal/spool"
	"stella/test/vm/guest"
	"stella/test/vm/kernel"
	"stella/test/vm/machine"
)

// exitMachine says that the machine failed, and not the program in it.
const exitMachine = 125

func main() {
	// In the guest, this same program is the first process.
	if os.Getpid() == 1 && os.Args[0] == guest.InitPath {
		guest.Init()
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	code, err := run(ctx, os.Args[1:])
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "vm:", err)
	}
	os.Exit(code)
}

// run boots the machine and returns the exit status.
func run(ctx context.Context, commandLine []string) (int, error) {
	o, err := parse(commandLine)
	if err != nil {
		return exitMachine, err
	}
	if runtime.GOARCH != "amd64" {
		return exitMachine, fmt.Errorf("programs for %s cannot run in the machine, which is amd64", runtime.GOARCH)
	}
	k, err := kernel.Get(ctx)
	if err != nil {
		return exitMachine, err
	}
	archive, err := spool.TempFile(os.TempDir())
	if err != nil {
		return exitMachine, fmt.Errorf("pack the guest's files: %w", err)
	}
	defer archive.Close()
	if err := pack(archive, o, k); err != nil {
		return exitMachine, err
	}
	ctx, stop := context.WithTimeoutCause(ctx, o.timeout, fmt.Errorf("%s did not end within %v (-timeout)", o.args[0], o.timeout))
	defer stop()
	m := machine.Machine{Kernel: k.Image, KernelArgs: guest.KernelArgs, Initramfs: archive, Memory: o.memory, CPUs: o.cpus, Disk: o.disk, DiskLog: o.diskLog}
	result, console, err := m.Run(ctx, os.Stdout)
	if err != nil {
		return exitMachine, fmt.Errorf("%w\n%s", err, console)
	}
	return exitCode(o.args[0], result, console)
}

// exitCode says how the program ended: the exit status, and what to tell people
// where that does not say it all.
func exitCode(program string, result []byte, console string) (int, error) {
	r, err := guest.ParseResult(result)
	switch {
	case err != nil:
		return exitMachine, fmt.Errorf("the guest's result %q: %w\n%s", result, err, console)
	case r.Error != "":
		return exitMachine, fmt.Errorf("in the guest: %s\n%s", r.Error, console)
	case r.Signal != 0:
		return 128 + r.Signal, fmt.Errorf("%s was ended by a signal: %v\n%s", program, syscall.Signal(r.Signal), console)
	}
	return r.Exit, nil
}
