package victims

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// ErrNotHere is matched by errors that say that this kernel does not do it, or not for this user.
var ErrNotHere = errors.New("the kernel keeps no notes of OOM kills here")

// missing says what is not here, and what that means.
func missing(what string, err error) error {
	return fmt.Errorf("%w: %s: %w; of kills in a burst while the agent is away, the cgroup will follow from counts alone, or not be known", ErrNotHere, what, err)
}

// refused says why the kernel refused to do something, as far as it can be told. An error of missing stays as it is.
func refused(what string, err error) error {
	verifier := errors.As(err, new(*ebpf.VerifierError)) // its EACCES is about the program
	switch {
	case errors.Is(err, ErrNotHere):
		return err
	case isLockedDown():
		return missing(lockedDown, err)
	case errors.Is(err, unix.ENOSYS):
		return missing("the kernel has no bpf() (CONFIG_BPF_SYSCALL)", err)
	case errors.Is(err, fs.ErrPermission) && !verifier:
		return missing(whyNotAllowed(), err)
	case errors.Is(err, ebpf.ErrNotSupported):
		return missing("the kernel does not keep programs that no process holds (bpf_link, Linux 5.7)", err)
	}
	return fmt.Errorf("keep notes of OOM kills in the kernel: %s: %w", what, err)
}

const lockedDown = "the kernel is locked down for confidentiality, so that programs cannot read its memory"

func isLockedDown() bool {
	text, err := os.ReadFile("/sys/kernel/security/lockdown")
	return err == nil && strings.Contains(string(text), "[confidentiality]")
}

// whyNotAllowed explains EPERM and EACCES.
func whyNotAllowed() string {
	have, err := capabilities()
	has := func(c uint) bool { return have&(1<<c) != 0 }
	if err == nil && !has(unix.CAP_SYS_ADMIN) && (!has(unix.CAP_BPF) || !has(unix.CAP_PERFMON)) {
		return "this process lacks the capabilities CAP_BPF and CAP_PERFMON (or CAP_SYS_ADMIN)"
	}
	return "it is not allowed, by a seccomp filter, a security module, or who owns the directory"
}

// capabilities are those that this process has in effect, a bit each.
func capabilities() (uint64, error) {
	text, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), "CapEff:")
	value, _, _ := strings.Cut(rest, "\n")
	return strconv.ParseUint(strings.TrimSpace(value), 16, 64)
}
