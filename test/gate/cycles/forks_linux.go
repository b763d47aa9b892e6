package main

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Offsets in the kernel's struct seccomp_data (include/uapi/linux/seccomp.h); the first argument's lower half is first on what Go's two
// architectures here are, which are little-endian.
const (
	offsetNumber   = 0
	offsetArch     = 4
	offsetArgument = 16
)

// arches are what the kernel calls the architecture, and the calls by which a process becomes two, or another program.
var arches = map[string]struct {
	audit uint32
	kill  []uint32
}{
	"amd64": {unix.AUDIT_ARCH_X86_64, []uint32{57, 58, unix.SYS_EXECVE, unix.SYS_EXECVEAT, unix.SYS_CLONE3}}, // 57 is fork, 58 is vfork
	"arm64": {unix.AUDIT_ARCH_AARCH64, []uint32{unix.SYS_EXECVE, unix.SYS_EXECVEAT, unix.SYS_CLONE3}},
}

// forbidForks has the kernel kill this process at its first fork, vfork, execve, execveat or clone3, and at a clone that makes no thread. It cannot be undone, and
// holds for all threads. Go makes its threads by clone; clone3 has its flags in memory, where a filter cannot look.
func forbidForks() error {
	arch, ok := arches[runtime.GOARCH]
	if !ok {
		return fmt.Errorf("the calls of %s are not known here", runtime.GOARCH)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	filter := forkFilter(arch.audit, arch.kill)
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
	runtime.KeepAlive(filter)
	if errno != 0 {
		return errno
	}
	return nil
}

// forkFilter is the filter, in the kernel's classic BPF.
func forkFilter(audit uint32, kill []uint32) []unix.SockFilter {
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	const equal, set, give = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, unix.BPF_RET | unix.BPF_K
	die := unix.SockFilter{Code: give, K: unix.SECCOMP_RET_KILL_PROCESS}
	allow := unix.SockFilter{Code: give, K: unix.SECCOMP_RET_ALLOW}
	filter := []unix.SockFilter{load(offsetArch), {Code: equal, K: audit, Jt: 1}, die, load(offsetNumber)}
	for _, number := range kill {
		filter = append(filter, unix.SockFilter{Code: equal, K: number, Jf: 1}, die)
	}
	return append(filter,
		unix.SockFilter{Code: equal, K: unix.SYS_CLONE, Jt: 1}, allow,
		load(offsetArgument), unix.SockFilter{Code: set, K: unix.CLONE_THREAD, Jf: 1}, allow, die)
}
