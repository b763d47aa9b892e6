package victims

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// The maps, as the programs name them.
const (
	notesMap = "notes"
	// stateMap has how many notes were made, a u64.
	stateMap = "state"
	// killMap has, for each processor, the last signal that could be the OOM killer's.
	killMap = "kill"
)

// The programs.
const (
	signalProgram = "signal"
	victimProgram = "victim"
)

// Where a value of killMap has what.
const (
	killSender = 0 // u64, who sent it, by bpf_get_current_pid_tgid
	killTask   = 8 // u64, struct task_struct to whom
	killSize   = 16
)

const (
	// wordSize is the size of a pointer, and of a long. Kernels of 32 bits are not for this.
	wordSize  = 8
	stateSize = 8
	// fromKernel is SEND_SIG_PRIV (include/linux/sched/signal.h): no process sends such a signal.
	fromKernel = 1
)

// Registers that are kept over calls, and what the programs have in them.
const (
	regTask  = asm.R6 // the victim
	regNote  = asm.R7
	regAt    = asm.R8 // what is looked at now
	regState = asm.R9 // the value of stateMap, or of killMap
)

// Where the stack has what.
const (
	stackWord = -8  // anything, for a moment
	stackUp   = -16 // the next cgroup above
)

// programs are what is loaded, for a kernel with these offsets.
func programs(o offsets) *ebpf.CollectionSpec {
	spec := &ebpf.CollectionSpec{
		Maps: map[string]*ebpf.MapSpec{
			notesMap: {Type: ebpf.Array, ValueSize: noteSize, MaxEntries: maxNotes},
			stateMap: {Type: ebpf.Array, ValueSize: stateSize, MaxEntries: 1},
			killMap:  {Type: ebpf.PerCPUArray, ValueSize: killSize, MaxEntries: 1},
		},
		Programs: map[string]*ebpf.ProgramSpec{
			signalProgram: {Instructions: signal()},
			victimProgram: {Instructions: victim(o)},
		},
	}
	for name, m := range spec.Maps {
		m.Name, m.KeySize = "stella_"+name, 4
	}
	for name, p := range spec.Programs {
		// Reading the kernel's memory takes a license that goes with the GPL.
		p.Name, p.Type, p.License = "stella_"+name, ebpf.RawTracepoint, "GPL"
	}
	return spec
}

// signal runs at every signal: signal_generate(sig, info, task, group, result). It remembers whom the kernel kills.
func signal() asm.Instructions {
	return join(
		asm.Instructions{
			asm.LoadMem(asm.R2, asm.R1, 0, asm.DWord),
			asm.JNE.Imm(asm.R2, int32(unix.SIGKILL), leaveLabel),
			asm.LoadMem(asm.R2, asm.R1, 8, asm.DWord),
			asm.JNE.Imm(asm.R2, fromKernel, leaveLabel),
			asm.LoadMem(regTask, asm.R1, 16, asm.DWord),
		},
		lookUp(regState, killMap),
		asm.Instructions{
			asm.FnGetCurrentPidTgid.Call(),
			asm.StoreMem(regState, killSender, asm.R0, asm.DWord),
			asm.StoreMem(regState, killTask, regTask, asm.DWord),
		},
		leave(),
	)
}

// victim runs when a task becomes the OOM killer's victim: mark_victim(task, uid), before Linux 6.10 mark_victim(pid). The
// kernel holds two locks there: that of the task, so that the signal before it came on this processor, and
// oom_lock, so that there is one victim at a time on the machine.
func victim(o offsets) asm.Instructions {
	return join(
		wasKilled(o),
		lookUp(regState, stateMap),
		asm.Instructions{
			asm.LoadMem(asm.R1, regState, 0, asm.DWord),
			asm.And.Imm(asm.R1, maxNotes-1),
		},
		lookUpAt(regNote, notesMap),
		noteTask(o),
		noteCgroup(o),
		noteInvoker(o),
		asm.Instructions{ // first the note, then that it is there
			asm.LoadMem(asm.R1, regState, 0, asm.DWord).WithSymbol(closeLabel),
			asm.Add.Imm(asm.R1, 1),
			asm.StoreMem(regNote, atSerial, asm.R1, asm.DWord),
			asm.StoreMem(regState, 0, asm.R1, asm.DWord),
		},
		leave(),
	)
}

// wasKilled goes on where the task is the one that this thread has sent the kernel's SIGKILL just now. Others are
// marked because they are ending already.
func wasKilled(o offsets) asm.Instructions {
	const it = "it"
	return join(
		asm.Instructions{asm.LoadMem(regAt, asm.R1, 0, asm.DWord)},
		lookUp(regState, killMap),
		asm.Instructions{
			asm.FnGetCurrentPidTgid.Call(),
			asm.LoadMem(asm.R1, regState, killSender, asm.DWord),
			asm.JNE.Reg(asm.R0, asm.R1, leaveLabel),
			asm.LoadMem(regTask, regState, killTask, asm.DWord),
			asm.Mov.Imm(asm.R1, 0),
			asm.StoreMem(regState, killTask, asm.R1, asm.DWord),
			asm.JEq.Imm(regTask, 0, leaveLabel),
			asm.JEq.Reg(regTask, regAt, it),
		},
		read(asm.RFP, stackWord, 4, regTask, o.taskPID),
		asm.Instructions{
			asm.LoadMem(asm.R1, asm.RFP, stackWord, asm.Word),
			asm.JNE.Reg(asm.R1, regAt, leaveLabel),
			asm.Mov.Imm(asm.R0, 0).WithSymbol(it),
		},
	)
}

func noteTask(o offsets) asm.Instructions {
	const known = "uid"
	return join(
		asm.Instructions{
			asm.Mov.Imm(asm.R1, 0),
			asm.StoreMem(regNote, atSerial, asm.R1, asm.DWord),
			asm.StoreImm(regNote, atDepth, -1, asm.Word),
			asm.StoreImm(regNote, atInvokers, -1, asm.Word),
			asm.FnKtimeGetNs.Call(),
			asm.StoreMem(regNote, atTime, asm.R0, asm.DWord),
			asm.Mov.Reg(regAt, regTask),
		},
		read(regNote, atPID, 4, regAt, o.taskPID),
		read(regNote, atComm, commSize, regAt, o.taskComm),
		follow(regAt, o.taskCred),
		read(regNote, atUID, 4, regAt, o.credUID),
		asm.Instructions{
			asm.JEq.Imm(asm.R0, 0, known),
			asm.StoreImm(regNote, atUID, -1, asm.Word),
			asm.Mov.Reg(regAt, regTask).WithSymbol(known),
		},
	)
}

// noteCgroup notes the victim's cgroup and all above it. Where that cannot be done up to the root, the depth stays unknown.
func noteCgroup(o offsets) asm.Instructions {
	code := join(
		follow(regAt, o.taskCgroups, o.setMemory),
		asm.Instructions{asm.Mov.Reg(regTask, regAt)}, // the task is noted
		follow(regAt, o.stateCgroup, o.cgroupDir),
		read(regNote, atCgroup, 8, regAt, o.dirID),
		asm.Instructions{asm.Mov.Reg(regAt, regTask)},
	)
	const invoker = "invoker"
	for i := range maxLevels {
		code = join(code, upOrRoot(o, i, atDepth, "level", invoker), noteLevel(o, atLevels+int32(i)*levelSize, invoker))
	}
	code = join(code, upOrRoot(o, maxLevels, atDepth, "level", invoker))
	return append(code, asm.Mov.Imm(asm.R0, 0).WithSymbol(invoker))
}

// noteInvoker notes in which cgroups this thread is, which asked for the memory.
func noteInvoker(o offsets) asm.Instructions {
	code := join(
		asm.Instructions{asm.FnGetCurrentTask.Call(), asm.Mov.Reg(regAt, asm.R0)},
		follow(regAt, o.taskCgroups, o.setMemory),
	)
	for i := range maxLevels {
		code = join(code,
			upOrRoot(o, i, atInvokers, "invoker", closeLabel),
			follow(regAt, o.stateCgroup, o.cgroupDir),
			read(regNote, atInvoker+8*int32(i), 8, regAt, o.dirID),
			asm.Instructions{asm.LoadMem(regAt, asm.RFP, stackUp, asm.DWord)},
		)
	}
	return join(code, upOrRoot(o, maxLevels, atInvokers, "invoker", closeLabel))
}

// upOrRoot finds the cgroup above. Only the root has none; there it notes how many levels were below, and goes to
// done, as it does where it cannot tell, or where there are too many.
func upOrRoot(o offsets, level int, count int32, label, done string) asm.Instructions {
	further := fmt.Sprintf("%s%d", label, level)
	if level == maxLevels {
		further = done
	}
	code := join(
		read(asm.RFP, stackUp, 8, regAt, o.stateUp),
		asm.Instructions{
			asm.JNE.Imm(asm.R0, 0, done),
			asm.LoadMem(asm.R1, asm.RFP, stackUp, asm.DWord),
			asm.JNE.Imm(asm.R1, 0, further),
			asm.StoreImm(regNote, int16(count), int64(level), asm.Word),
			asm.Ja.Label(done),
		},
	)
	if level < maxLevels {
		code = append(code, asm.Mov.Imm(asm.R0, 0).WithSymbol(further))
	}
	return code
}

// noteLevel notes one cgroup and goes up. A name that fills its room may have been cut.
func noteLevel(o offsets, at int32, done string) asm.Instructions {
	return join(
		read(regNote, at+levelUsage, 8, regAt, o.memoryUsage),
		read(regNote, at+levelLimit, 8, regAt, o.memoryLimit),
		read(regNote, at+levelOOMs, 8, regAt, o.memoryOOM),
		follow(regAt, o.stateCgroup, o.cgroupDir),
		read(regNote, at+levelID, 8, regAt, o.dirID),
		follow(regAt, o.dirName),
		asm.Instructions{
			asm.Mov.Reg(asm.R1, regNote),
			asm.Add.Imm(asm.R1, at+levelName),
			asm.Mov.Imm(asm.R2, nameSize),
			asm.Mov.Reg(asm.R3, regAt),
			asm.FnProbeReadKernelStr.Call(),
			asm.JSLE.Imm(asm.R0, 1, done), // its length with the NUL, or an error
			asm.JSGE.Imm(asm.R0, nameSize, done),
			asm.LoadMem(regAt, asm.RFP, stackUp, asm.DWord),
		},
	)
}
