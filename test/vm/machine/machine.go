// Package machine boots a guest in QEMU, which emulates the processor: no
// virtualization of the host's is used or needed.
//
// Vocabulary: the machine has three serial ports. The console, with the kernel's
// messages, is kept in a bounded tail for errors. The output goes to the caller as
// it comes. The result is one line, and its end is the end of the machine; before it comes an
// empty line, when the guest's first process runs.
//
// Hazards: QEMU must not outlive this process. It is killed by its pid when the
// context ends, and by the kernel when the thread that started it ends, which
// happens also when this process is killed with SIGKILL.
package machine

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// program is QEMU for the only processor that there is a kernel for.
	program = "qemu-system-x86_64"
	// maxResult bounds the result in bytes; an error message in it names a few paths.
	maxResult = 64 << 10
	// resultFD and initramfsFD are the numbers of QEMU's descriptors for them.
	resultFD, initramfsFD = 3, 4
	// boots is how often it is started.
	boots = 3
)

// bootTime is how long a guest has until its first process runs: it takes 5 s, and 20 beside much
// else. Once in some hundred times the two emulated processors wait for each other in the
// kernel's start, for ever. Nothing has run by then, so the machine is started again.
var bootTime = 90 * time.Second

// errBoot is the cause of the end of a machine that does not get as far as its first process.
var errBoot = errors.New("the guest's first process does not run")

// Machine is what to boot.
type Machine struct {
	Kernel     string   // file of a bzImage
	KernelArgs string   // its parameters
	Initramfs  *os.File // need not have a name any more
	Memory     int      // MiB
	CPUs       int
	// Disk is a file with the content of a disk, /dev/vda in the machine; empty is none.
	// DiskLog is a file for a log of all that is written to it, in the format of the
	// kernel's dm-log-writes; empty is none.
	Disk, DiskLog string
}

// Run boots the machine and copies its output to out while it runs. It returns the
// result, without the newline, and the end of the console, for people. When ctx
// ends before there is a result, the error wraps the cause.
func (m Machine) Run(ctx context.Context, out io.Writer) (result []byte, console string, err error) {
	for range boots {
		if result, console, err = m.boot(ctx, out); !errors.Is(err, errBoot) {
			break
		}
	}
	return result, console, err
}

// boot is Run, once.
func (m Machine) boot(ctx context.Context, out io.Writer) (result []byte, console string, err error) {
	// The thread must live as long as QEMU; see Pdeathsig in package syscall.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)

	results, write, err := os.Pipe()
	if err != nil {
		return nil, "", err
	}
	defer results.Close()
	var end tail
	cmd := exec.CommandContext(ctx, program, m.args()...)
	// A writer that is no file makes exec copy: QEMU would truncate a file.
	cmd.Stdout, cmd.Stderr = struct{ io.Writer }{out}, &end
	cmd.ExtraFiles = []*os.File{write, m.Initramfs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		write.Close()
		return nil, "", fmt.Errorf("start the machine: %w; QEMU is in the Debian package qemu-system-x86", err)
	}
	write.Close()

	hung := time.AfterFunc(bootTime, func() { stop(errBoot) })
	defer hung.Stop()
	s := bufio.NewScanner(results)
	s.Buffer(nil, maxResult)
	complete := s.Scan()
	hung.Stop()
	if complete && len(s.Bytes()) == 0 {
		complete = s.Scan()
	}
	if complete {
		stop(nil) // all output is out: the machine need not switch itself off
	}
	ended := cmd.Wait()
	if !complete {
		return nil, end.report(), failure(ctx, ended)
	}
	return s.Bytes(), end.report(), nil
}

// failure says why the machine ended without a result.
func failure(ctx context.Context, ended error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if ended == nil {
		ended = errors.New("it stopped or restarted by itself")
	}
	return fmt.Errorf("the machine ended before the program in it did: %w", ended)
}

// args are QEMU's arguments. Files are given as descriptors, so that nothing has a name that could be left behind.
func (m Machine) args() []string {
	fd := func(n int) string { return "/dev/fd/" + strconv.Itoa(n) }
	return append([]string{
		"-no-user-config", "-nodefaults", "-display", "none", "-no-reboot",
		"-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max",
		"-m", strconv.Itoa(m.Memory), "-smp", strconv.Itoa(m.CPUs),
		"-serial", "file:" + fd(2), "-serial", "file:" + fd(1), "-serial", "file:" + fd(resultFD),
		"-kernel", m.Kernel, "-append", m.KernelArgs, "-initrd", fd(initramfsFD),
	}, m.disk()...)
}

// disk are QEMU's arguments for the disk. Paths with commas have them twice in QEMU.
func (m Machine) disk() []string {
	if m.Disk == "" {
		return nil
	}
	file := func(node, path string) string {
		return "driver=file,node-name=" + node + ",filename=" + strings.ReplaceAll(path, ",", ",,")
	}
	args := []string{"-blockdev", file("disk", m.Disk)}
	device := "disk"
	if m.DiskLog != "" {
		device = "logged"
		args = append(args, "-blockdev", file("log", m.DiskLog), "-blockdev", "driver=blklogwrites,node-name=logged,file=disk,log=log")
	}
	return append(args, "-device", "virtio-blk-pci,drive="+device)
}
