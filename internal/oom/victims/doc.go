// Package victims has the kernel itself note each process that it kills for want of memory: in which cgroup it was,
// and whose limit fired. The kernel log says so of ten kills in five seconds; the notes are there for all, and
// for those of the time when no agent ran.
//
// Words: a note is what the kernel keeps of one kill, in a ring of 2,048. The pins are the files in a bpffs (the file
// system of eBPF) that hold programs and notes without a process: they outlive the agent, and end with the machine
// or by [Remove]. Two programs of eBPF make a note. One, at the tracepoint signal_generate, remembers whom the
// kernel sends SIGKILL; the other, at mark_victim, which the OOM killer passes next, makes the note of it. Both
// are before the kernel logs the kill. The programs are written here (package asm of cilium/ebpf), with the places of the fields as
// this very kernel has them (BTF), so nothing is compiled, here or there.
//
// The notes are 3.3 MiB of kernel memory, of the cgroup of the agent that began. What a signal costs more, see
// BenchmarkSignal.
//
// Hazards:
//
//   - The kernel writes down cgroups and counts, not whose limit fired: that follows from them (see the function
//     fired), and can be wrong where several on the way to the root ran out at the same moment. Nor does a note tell a
//     kill for want of the machine's memory from one for a cgroup's, if that one is full and ran out
//     before. The line in the kernel log does, for every kill.
//   - A cgroup deeper than 12 levels, or with a name of more than 94 bytes above it, has no path in the note.
//   - The pid is that of a thread, as in the kernel log, and of the machine's PID namespace. Pids come
//     again, so a note has to fit in time.
//   - A bpffs that is mounted in a container ends with it, and so do the notes. A container needs the machine's.
//   - It takes CAP_BPF and CAP_PERFMON, or CAP_SYS_ADMIN; Linux 5.7 with BTF; and a kernel that is not locked down for
//     confidentiality. It does not take kprobes, fentry or tracefs.
package victims
