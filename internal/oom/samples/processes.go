package samples

import (
	"errors"
	"io/fs"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"stella/internal/oom"
)

const (
	// maxProcesses bounds the processes that are known, at some 250 bytes each.
	maxProcesses = 8192
	// readsPerTick bounds the processes that are read in a tick: a read is some 30 µs.
	readsPerTick = 60
	// readMoved and readQuiet are how many ticks a process's figures are good for, in a container whose usage
	// moved since, and in one that is quiet.
	readMoved, readQuiet = 2, 30
	// lookEvery is how many ticks pass between two looks at who is in a cgroup that is quiet.
	lookEvery = 4
	// stay is how many ticks a process is known after its end: a kill is asked about when
	// its victim is gone. Where half of the table is taken, it is shortStay.
	stay, shortStay = 30, 5
	// settled is how old, in seconds, a process must be to be taken for a cgroup's first
	// one, where no PID namespace tells: a runtime's helpers are there before it, for milliseconds.
	settled = 2
	// procsBytes bounds what is read of cgroup.procs: some 2,000 pids.
	procsBytes = 16 << 10
	// statBytes is more than /proc/PID/stat and the wanted part of status ever have.
	statBytes = 4 << 10
)

// process is what is known of a process. Memory is in KiB.
type process struct {
	leader
	uid               int32
	group             *group
	total, pageTables int64
	start             int64 // ticks of the kernel's clock since boot; with the pid it says who it is
	ticks             int64 // processor time
	readAt            int64 // wall time in milliseconds
	cores             float64
	threads           int32
	seen, read, gone  int32 // ticks: last seen in its cgroup, last read, found gone (0: it is there)
	reads             int32
}

// table has the processes. Only the goroutine that samples writes it.
type table struct {
	mu    sync.Mutex
	byPID map[int32]*process
}

// first is the first process of a cgroup.
type first struct {
	pid   int32
	start int64
	sure  bool // it is process 1 of a PID namespace
}

// lookAtProcesses finds out who is in the cgroups, reads those whose figures are old, and
// ranks them. It goes on where the tick before ran out of reads.
func (s *Sampler) lookAtProcesses(now time.Time) {
	s.mu.Lock()
	s.round = append(s.round[:0], s.order...)
	s.mu.Unlock()
	reads, begin := readsPerTick, s.cursor
	for n := range s.round {
		at := (begin + n) % len(s.round)
		before := reads
		s.look(s.round[at], &reads, now)
		if before > 0 && reads == 0 {
			s.cursor = at
		}
	}
	clear(s.round) // so that it keeps none that are gone
	s.rank()
}

// look finds out who is in a cgroup, if it is time to.
func (s *Sampler) look(g *group, reads *int, now time.Time) {
	s.mu.Lock()
	moved := int32(0)
	if home := g.home; home != nil && home.container != nil {
		moved = home.container.movedAt
	}
	if moved != s.tick && (s.tick+int32(g.ID))%lookEvery != 0 && g.looked != 0 {
		s.mu.Unlock()
		return
	}
	text, err := readList(g.procs, g.Dir, "cgroup.procs", s.pids[:])
	s.mu.Unlock()
	if err != nil {
		return // it is gone
	}
	g.looked = s.tick
	eachPID(text, func(pid int32) {
		p := s.table.see(pid, g, s.tick)
		if p == nil || *reads == 0 || !p.due(s.tick, moved) {
			return
		}
		*reads--
		s.readProcess(p, now)
	})
}

// see notes that a process is in a cgroup. It is nil where no more can be known.
func (t *table) see(pid int32, g *group, tick int32) *process {
	p := t.byPID[pid]
	if p != nil && p.gone == 0 && p.group == g {
		p.seen = tick
		return p
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case p == nil && len(t.byPID) >= maxProcesses:
		return nil
	case p == nil || p.gone != 0: // the pid is used again
		p = &process{leader: leader{pid: pid}, uid: unknown}
		t.byPID[pid] = p
	}
	p.group, p.seen, p.read = g, tick, tick-readQuiet // another cgroup can mean another process
	return p
}

// due reports whether a process's figures are too old, where its container moved last at that tick. The
// second read comes soon: before it there is no processor use of now.
func (p *process) due(tick, moved int32) bool {
	age := tick - p.read
	return p.reads == 0 || age >= readQuiet || age >= readMoved && (p.reads == 1 || moved > p.read)
}

// readProcess asks the kernel about a process. One that has just ended stays as it was.
func (s *Sampler) readProcess(p *process, now time.Time) {
	b, err := readPath(processPath(s.proc, p.pid, "/stat"), s.text[:])
	if err != nil {
		return
	}
	stat, ok := parseProcessStat(b)
	if !ok || stat.ended() {
		return
	}
	if b, err = readPath(processPath(s.proc, p.pid, "/status"), s.text[:]); err != nil {
		return
	}
	status := parseProcessStatus(b)
	s.table.mu.Lock()
	defer s.table.mu.Unlock()
	if p.reads > 0 && p.start != stat.start { // the pid was used again between two looks
		*p = process{leader: leader{pid: p.pid}, group: p.group, seen: p.seen}
	}
	p.cores = s.clock.cores(p, &stat, now)
	p.comm, p.uid, p.start, p.ticks, p.threads = stat.comm, int32(status.uid), stat.start, stat.ticks, int32(stat.threads)
	p.anon, p.file, p.shmem, p.total, p.pageTables = status.anon, status.file, status.shmem, status.total, status.pageTables
	p.readAt, p.read = now.UnixMilli(), s.tick
	p.reads++
	p.group.owner().main.consider(p, status.first, s.clock.age(p.start, now))
}

// owner is the container that a cgroup is part of, or the cgroup itself.
func (g *group) owner() *group {
	if g.home != nil {
		return g.home
	}
	return g
}

// consider takes a process for the first one if it began before the one known: of those that are
// process 1 of a namespace, or where there is none of all.
func (f *first) consider(p *process, sure bool, age float64) {
	better := f.pid == 0 || sure && !f.sure || sure == f.sure && p.start < f.start
	if better && (sure || age >= settled) {
		*f = first{p.pid, p.start, sure}
	}
}

// rank finds the largest processes of each container, and forgets those that ended some time ago.
func (s *Sampler) rank() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.table.mu.Lock()
	defer s.table.mu.Unlock()
	for _, g := range s.containers {
		c := g.container
		c.top, c.threads, c.cores = leaders{}, 0, 0
	}
	most := int32(stay)
	if len(s.table.byPID) > maxProcesses/2 {
		most = shortStay
	}
	for pid, p := range s.table.byPID {
		switch {
		case p.gone == 0 && (p.group.removed || p.seen != p.group.looked):
			p.gone = s.tick
		case p.gone != 0 && s.tick-p.gone > most:
			delete(s.table.byPID, pid)
		}
		if home := p.group.home; p.gone == 0 && p.reads > 0 && home != nil && home.container != nil {
			c := home.container
			c.top.offer(&p.leader)
			c.threads += int64(p.threads)
			c.cores += p.cores
		}
	}
}

// export makes what the wire has of a process.
func (p *process) export() oom.Process {
	return oom.Process{
		PID: int(p.pid), Comm: p.comm.String(), UID: int(p.uid),
		Total: p.total << 10, Anon: p.anon << 10, File: p.file << 10, Shmem: p.shmem << 10, PageTables: p.pageTables << 10,
	}
}

// Lookup says in which cgroup a process is, or was until some seconds ago, and what it used when
// it was last read. Its name is empty where it was seen, but never read.
func (s *Sampler) Lookup(pid int) (cgroup string, p oom.Process, ok bool) {
	s.table.mu.Lock()
	defer s.table.mu.Unlock()
	found := s.table.byPID[int32(pid)]
	if found == nil || pid > maxPID {
		return "", oom.Process{}, false
	}
	return found.group.Path, found.export(), true
}

// Main is the first process of a cgroup, and whether it is alive now: not ended, though nobody may have
// waited for it yet. Where the cgroup has no PID namespace of its own it is the process that began first. Of a
// container so young that no round has come to it, one that is gone had a first process that is not
// alive (pid 0). It is not ok where none was seen.
func (s *Sampler) Main(cgroup string) (pid int, alive, ok bool) {
	s.mu.Lock()
	g := s.paths[cgroup]
	s.mu.Unlock()
	if g == nil {
		return 0, false, false
	}
	s.table.mu.Lock()
	owner := g.owner()
	m := owner.main
	s.table.mu.Unlock()
	if m.pid == 0 {
		return s.lookForMain(owner.Dir)
	}
	var buf [statBytes]byte
	b, err := readPath(processPath(s.proc, m.pid, "/stat"), buf[:])
	stat, parsed := parseProcessStat(b)
	return int(m.pid), err == nil && parsed && !stat.ended() && stat.start == m.start, true
}

// lookForMain is Main for a container of which no process was read yet: only process 1 of a PID namespace
// is taken for the first one.
func (s *Sampler) lookForMain(dir string) (pid int, alive, ok bool) {
	var buf [statBytes]byte // some 500 pids: it is young
	pids, err := readPath(dir+"/cgroup.procs", buf[:])
	if err != nil {
		return 0, false, errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV)
	}
	reads := readsPerTick
	eachPID(pids, func(p int32) {
		if reads--; reads < 0 || ok {
			return
		}
		var buf [statBytes]byte
		if b, err := readPath(processPath(s.proc, p, "/status"), buf[:]); err == nil && parseProcessStatus(b).first {
			pid, alive, ok = int(p), true, true
		}
	})
	return pid, alive, ok
}

// Processes are those with the most memory, the largest first.
func (s *Sampler) Processes(limit int) []oom.ProcessUsage {
	s.table.mu.Lock()
	all := make([]*process, 0, len(s.table.byPID))
	for _, p := range s.table.byPID {
		if p.gone == 0 && p.reads > 0 {
			all = append(all, p)
		}
	}
	defer s.table.mu.Unlock()
	slices.SortFunc(all, func(a, b *process) int {
		if d := b.resident() - a.resident(); d != 0 {
			return sign(d)
		}
		return int(a.pid) - int(b.pid)
	})
	all = all[:min(max(limit, 0), len(all))]
	out := make([]oom.ProcessUsage, len(all))
	for i, p := range all {
		out[i] = oom.ProcessUsage{
			Process: p.export(), Cgroup: p.group.Path, Cores: p.cores, Started: s.clock.time(p.start),
		}
	}
	return out
}

func sign(n int64) int {
	if n < 0 {
		return -1
	}
	return 1
}
