// Package guest is what runs inside the machine: its first process, which
// prepares a system, runs one program and reports how it ended.
//
// Vocabulary: the [Plan] is a file in the guest that says what to run. The
// console is the first serial port, for the kernel's messages and those of
// init. The output, of the program, goes to the second. The [Result] is one line
// on the third, written when all output is out; an empty line there says that init runs.
//
// The program sees what a service of systemd with Delegate=yes and
// DelegateSubgroup=main sees: a cgroup of its own, below one to which it may add
// others. On v2 a cgroup that has processes cannot hand controllers to children
// (the root alone can), so a program at the root would see less of the real rules.
//
// Hazards:
//
//   - The root file system is memory. Files that the program writes count
//     against the machine's memory, and are gone with it.
//   - The program gets no input, and no network but the loopback device.
//   - Processes that the program leaves behind die with the machine.
package guest

import "encoding/json"

// Where things are in the guest.
const (
	// InitPath is where the kernel looks for the first process.
	InitPath = "/init"
	// PlanPath is where the plan is.
	PlanPath = "/vm/plan.json"
	// ModulesDir is for the kernel modules of the plan.
	ModulesDir = "/vm/modules"
)

// KernelArgs are the kernel's parameters: only v2 cgroups, pressure figures,
// and an oops or a panic ends the machine at once. The kernel's ciphers are not tested at its
// start, which is where a machine hung. From quiet on the kernel
// prints errors only; see consoleLevel. The last means nothing to the kernel: by it
// a test knows that the machine is its own (testkit.OwnMachine).
const KernelArgs = "console=ttyS0 quiet cgroup_no_v1=all psi=1 tsc=reliable clocksource=tsc oops=panic panic=-1 cryptomgr.notests stella.vm"

// Plan says what to run.
type Plan struct {
	Args    []string // the program's absolute path and its arguments
	Env     []string
	Dir     string   // the working directory
	Modules []string // files of kernel modules, in the order to load them
}

// Result says how the program ended. One of its fields is set, or none for success.
type Result struct {
	Exit   int    `json:",omitempty"` // exit code
	Signal int    `json:",omitempty"` // number of the signal that ended it
	Error  string `json:",omitempty"` // why it was not run
}

// ParseResult reads the line that a guest wrote.
func ParseResult(line []byte) (Result, error) {
	var r Result
	err := json.Unmarshal(line, &r)
	return r, err
}
