package guest

import (
	"encoding/json"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// consoleLevel lets warnings through to the console, with them the kernel's
// account of an OOM kill, but not what it says in good times (syslog(2)).
const consoleLevel = "5"

// Init is the first process of the guest. It ends by switching the machine off.
// What it cannot report otherwise goes to the console; if it panicked, so
// would the kernel, and the machine would end without a result.
func Init() {
	result, err := boot()
	if err != nil {
		result.Error = err.Error()
	}
	if err := report(result); err != nil {
		fmt.Fprintln(os.Stderr, "init: report the result:", err)
	}
	fmt.Fprintln(os.Stderr, "init: switch off:", syscall.Reboot(syscall.LINUX_REBOOT_CMD_POWER_OFF))
}

// boot prepares the system and runs the plan.
func boot() (Result, error) {
	plan, err := readPlan()
	if err != nil {
		return Result{}, err
	}
	if err := mountAll(); err != nil {
		return Result{}, err
	}
	if err := tell(nil); err != nil {
		return Result{}, fmt.Errorf("say that init runs: %w", err)
	}
	if err := os.WriteFile("/proc/sys/kernel/printk", []byte(consoleLevel), 0); err != nil {
		return Result{}, fmt.Errorf("choose what the console shows: %w", err)
	}
	for _, file := range plan.Modules {
		if err := load(file); err != nil {
			return Result{}, err
		}
	}
	if err := syscall.Sethostname([]byte("vm")); err != nil {
		return Result{}, fmt.Errorf("set the host name: %w", err)
	}
	if err := loopbackUp(); err != nil {
		return Result{}, fmt.Errorf("bring the loopback device up: %w", err)
	}
	cgroup, err := delegate()
	if err != nil {
		return Result{}, err
	}
	return run(plan, cgroup)
}

func readPlan() (Plan, error) {
	var plan Plan
	text, err := os.ReadFile(PlanPath)
	if err != nil {
		return plan, err
	}
	if err := json.Unmarshal(text, &plan); err != nil {
		return plan, fmt.Errorf("read %s: %w", PlanPath, err)
	}
	return plan, nil
}

// load loads one kernel module.
func load(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("load module: %w", err)
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil {
		return fmt.Errorf("load module %s: %w", file, err)
	}
	return nil
}

// loopbackUp switches lo on; the kernel gives it 127.0.0.1 by itself.
func loopbackUp() error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, request)
}
