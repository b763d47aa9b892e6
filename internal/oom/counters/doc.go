// Package counters is the witness that counts: what the kernel's counters of OOM
// kills tell, of every cgroup and of the node.
//
// Words: a look reads the counters of a cgroup; what they rose by since the look
// before is told as an [oom.Rise]. An alarm is the kernel's word that a limit was hit,
// which comes before the kill (v1: an eventfd on memory.oom_control; v2: inotify on
// memory.events.local). At an alarm the processes of the cgroups below that limit are
// noted at once, because the victim is still among them: [Counters.Lookup] knows them
// later, when the kernel log names a pid and nothing else. A round looks at all
// cgroups. It is made only after the node's counter (oom_kill in /proc/vmstat) rose by more than the
// looks after alarms have told, since no cgroup can count a kill that the node does not: a quiet
// machine costs one read each half second, and no descriptors are kept for it.
//
// What the kernel counts (mm/memcontrol.c, mm/oom_kill.c; Linux 4.13 and later): a kill
// is counted before the victim gets its signal, first for the node, then in the victim's
// cgroup; on v2 then in all above, up to but not in the root.
//
//   - v1: a cgroup that is removed takes its count along. After an alarm its counter
//     is read every half millisecond, so that the kill is seen before the victim is gone.
//     An alarm goes to the cgroup whose limit fired and to all below it: one that was alarmed
//     more often than the cgroup above it was over its own limit.
//   - v2: what a cgroup counted beyond its own and that of the known ones below it was
//     counted in cgroups that were removed, or were never seen. It is told, with
//     Gone, of the nearest cgroup above them that is still there, after two rounds
//     have found the same, since a cgroup could still be about to be made known.
//
// Hazards:
//
//   - Alarms are answered on a thread with a real-time priority, if this process may have one: it
//     has to be there before the victim is gone.
//   - The kernel's word for several alarms or counts at once is one event: alarms are
//     hints, the counters are the truth.
//   - There is no alarm when the node itself has no memory left, and on v1 none
//     while another one is being handled. The round finds those kills.
//   - On v2 the same file tells of every time that a limit made the kernel look for
//     memory. A cgroup that is at its limit all the time is only polled (maxIdle).
//   - Pids are those of the PID namespace of this process: in a pod it needs hostPID.
//   - On v2 a cgroup has counters only while the one above it hands it the memory controller. Each time they begin
//     at 0, in new files; without them its processes count in the nearest cgroup above that has some.
//   - With memory.oom.group (v2) the kernel can count a victim twice.
package counters
