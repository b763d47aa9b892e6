// Package trace is the witness that stands beside the OOM killer: the kernel's
// tracepoint oom:mark_victim, which fires for every process that may use the last
// of the memory in order to end.
//
// Words: an instance is a trace buffer of its own in tracefs, so that nobody else's tracing is
// touched; it is removed at the end. It holds 64 KiB for each processor.
//
// Hazards:
//
//   - A victim is no kill: a process that was ending already is marked too, and neither
//     logged nor counted. What is told here confirms a kill; it does not make one.
//   - Older kernels (6.1 is one) tell the pid and nothing else.
//   - The pid is that of a thread, which need not be the first of its process, as in the kernel log; and
//     it is of the machine's PID namespace.
//   - Many machines have no tracefs mounted, and a locked-down kernel allows no one to use it.
package trace
