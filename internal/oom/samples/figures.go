package samples

import (
	"time"

	"stella/internal/oom"
)

// The figures of a sample as a ring keeps them. Those that differ in nearly every sample come
// first: their part of the mask that says what changed is then one byte.
const (
	clock      = iota // wall time in milliseconds since 1970
	usage             // memory in KiB
	workingSet        // memory in KiB
	anon              // memory in KiB
	cpu               // processor time so far in milliseconds
	kernel            // memory in KiB
	file              // memory in KiB
	limit             // memory in KiB
	shmem             // memory in KiB
	sock              // memory in KiB
	swap              // memory in KiB
	pids
	pressureSome // waited so far in milliseconds
	pressureFull // waited so far in milliseconds
	figureCount
)

// unknown is a figure that the kernel does not tell.
const unknown = -1

// figures are one sample without its processes.
type figures [figureCount]int64

// commLength is what the kernel keeps of a process's name (TASK_COMM_LEN without the final zero).
const commLength = 15

// comm is a process's name; the bytes after it are zero.
type comm [commLength]byte

func (c *comm) set(name []byte) {
	*c = comm{}
	copy(c[:], name)
}

func (c *comm) length() int {
	for i, b := range c {
		if b == 0 {
			return i
		}
	}
	return commLength
}

func (c *comm) String() string { return string(c[:c.length()]) }

// leader is one of the processes with the most memory, in KiB. Without one, pid is 0 and all else is zero.
type leader struct {
	pid               int32
	comm              comm
	anon, file, shmem int64
}

func (l *leader) resident() int64 { return l.anon + l.file + l.shmem }

// leaders are those of one container, the largest first.
type leaders [oom.TopProcesses]leader

// offer puts a process in its place, if it has one.
func (t *leaders) offer(l *leader) {
	for i := range t {
		if t[i].pid == 0 || l.resident() > t[i].resident() {
			copy(t[i+1:], t[i:])
			t[i] = *l
			return
		}
	}
}

// sample is one sample as rings keep it.
type sample struct {
	figures
	top leaders
}

// export makes what the wire has of a sample.
func (s *sample) export() oom.Sample {
	memory := func(i int) int64 {
		if s.figures[i] < 0 {
			return unknown
		}
		return s.figures[i] << 10
	}
	duration := func(i int) time.Duration {
		if s.figures[i] < 0 {
			return unknown
		}
		return time.Duration(s.figures[i]) * time.Millisecond
	}
	out := oom.Sample{
		Time:  time.UnixMilli(s.figures[clock]),
		Usage: memory(usage), WorkingSet: memory(workingSet), Limit: memory(limit),
		Anon: memory(anon), File: memory(file), Shmem: memory(shmem),
		Kernel: memory(kernel), Sock: memory(sock), Swap: memory(swap),
		PIDs: s.figures[pids], CPU: duration(cpu),
		PressureSome: duration(pressureSome), PressureFull: duration(pressureFull),
	}
	for i := range s.top {
		l := &s.top[i]
		if l.pid == 0 {
			break
		}
		out.Top = append(out.Top, oom.Process{
			PID: int(l.pid), Comm: l.comm.String(), UID: unknown,
			Anon: l.anon << 10, File: l.file << 10, Shmem: l.shmem << 10,
		})
	}
	return out
}
