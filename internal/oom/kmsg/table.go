package kmsg

import (
	"bytes"
	"cmp"
	"slices"

	"stella/internal/oom"
)

// column is what a column of the task table has. Those that no report needs are columnOther.
type column byte

const (
	columnOther column = iota
	columnUID
	columnTotal      // pages
	columnRSS        // pages
	columnAnon       // pages, since 6.8
	columnFile       // pages
	columnShmem      // pages
	columnTables     // page tables: a page each (nr_ptes)
	columnTableBytes // bytes, since 4.15
	columnAdj
)

// maxColumns bounds the columns of the table; the longest (6.8) has 12.
const maxColumns = 16

// maxRows bounds the processes whose pids are kept for telling which of two open headers a line belongs to.
const maxRows = 1024

// table is the task table of one header. Sizes are as the kernel writes them: most are in pages.
type table struct {
	columns []column // without the first, the pid
	tasks   []row    // the largest first, at most oom.MaxTasks
	rows    int
	pids    []int32 // at most maxRows
}

type row struct {
	pid, uid, adj                               int
	total, rss, anon, file, shmem, tables, size int64
	split                                       bool // whether anon, file and shmem are told
	comm                                        []byte
}

func (t *table) reset() {
	t.columns, t.rows, t.pids = t.columns[:0], 0, t.pids[:0]
	t.tasks = t.tasks[:0]
}

// head reads "[ pid ]   uid  tgid total_vm …", and reports whether it is that.
func (t *table) head(text []byte) bool {
	rest, ok := cutPrefix(text, "[")
	if !ok {
		return false
	}
	if rest, ok = cutPrefix(space(rest), "pid"); !ok {
		return false
	}
	if rest, ok = cutPrefix(space(rest), "]"); !ok {
		return false
	}
	t.reset()
	for {
		var word []byte
		if word, rest = token(rest); len(word) == 0 || len(t.columns) == maxColumns {
			break
		}
		t.columns = append(t.columns, columnOf(word))
	}
	if n := len(t.columns); n > 0 {
		t.columns = t.columns[:n-1] // the name is what is left
	}
	return true
}

func columnOf(word []byte) column {
	switch string(word) {
	case "uid":
		return columnUID
	case "total_vm":
		return columnTotal
	case "rss":
		return columnRSS
	case "rss_anon":
		return columnAnon
	case "rss_file":
		return columnFile
	case "rss_shmem":
		return columnShmem
	case "nr_ptes":
		return columnTables
	case "pgtables_bytes":
		return columnTableBytes
	case "oom_score_adj":
		return columnAdj
	}
	return columnOther
}

// rowPID is the pid of a line of the table, or 0.
func rowPID(text []byte) int {
	rest, ok := cutPrefix(text, "[")
	if !ok {
		return 0
	}
	pid, rest, ok := number(space(rest))
	if !ok || pid > maxPID || !hasPrefix(rest, "]") {
		return 0
	}
	return int(pid)
}

// row reads a line of the table, and reports whether it is one. A line that was cut within the numbers counts as a row.
func (t *table) row(text []byte) bool {
	pid := rowPID(text)
	if pid == 0 || len(t.columns) == 0 {
		return false
	}
	r := row{pid: pid, uid: -1}
	rest := text[bytes.IndexByte(text, ']')+1:]
	for _, c := range t.columns {
		n, tail, ok := integer(space(rest))
		if !ok || len(tail) > 0 && tail[0] != ' ' {
			t.rows++
			return true
		}
		r.set(c, n)
		rest = tail
	}
	r.comm, _ = cutPrefix(rest, " ")
	t.add(&r)
	return true
}

func (r *row) set(c column, n int64) {
	switch c {
	case columnUID:
		r.uid = int(min(max(n, -1), 1<<32-1))
	case columnTotal:
		r.total = n
	case columnRSS:
		r.rss = n
	case columnAnon:
		r.anon, r.split = n, true
	case columnFile:
		r.file = n
	case columnShmem:
		r.shmem = n
	case columnTables:
		r.tables = n
	case columnTableBytes:
		r.size = n
	case columnAdj:
		r.adj = int(min(max(n, -1000), 1000))
	case columnOther:
	}
}

// add keeps the row if it is one of the largest.
func (t *table) add(r *row) {
	t.rows++
	if len(t.pids) < maxRows {
		t.pids = append(t.pids, int32(r.pid))
	}
	n := len(t.tasks)
	if n == oom.MaxTasks && t.tasks[n-1].rss >= r.rss {
		return
	}
	// The place that becomes free, or the smallest, lends its buffer for the name.
	if n < oom.MaxTasks {
		t.tasks = slices.Grow(t.tasks, 1)[:n+1]
		n++
	}
	buffer := t.tasks[n-1].comm[:0]
	i, _ := slices.BinarySearchFunc(t.tasks[:n-1], r.rss, func(a row, rss int64) int {
		if a.rss >= rss {
			return -1 // behind those of the same size
		}
		return cmp.Compare(rss, a.rss)
	})
	copy(t.tasks[i+1:n], t.tasks[i:n-1])
	r.comm = append(buffer, r.comm[:min(len(r.comm), maxComm)]...)
	t.tasks[i] = *r
}

func (t *table) has(pid int) bool { return slices.Contains(t.pids, int32(pid)) }

// find is the row of a process, if it was kept.
func (t *table) find(pid int) (*row, bool) {
	i := slices.IndexFunc(t.tasks, func(r row) bool { return r.pid == pid })
	if i < 0 {
		return nil, false
	}
	return &t.tasks[i], true
}

// process is the row in bytes. Before 6.8 the table does not tell the kinds of resident memory.
func (r *row) process(page int64) oom.Process {
	p := oom.Process{
		PID: r.pid, Comm: name(r.comm), UID: r.uid, ScoreAdj: r.adj, Total: product(r.total, page),
		Anon: product(r.anon, page), File: product(r.file, page), Shmem: product(r.shmem, page),
		PageTables: r.size,
	}
	if !r.split {
		p.RSS = product(r.rss, page)
	}
	if r.tables > 0 {
		p.PageTables = product(r.tables, page)
	}
	return p
}

// processes are the rows that were kept, and with them the victim. It says how many rows it leaves out.
func (t *table) processes(victim oom.Process, page int64) (all []oom.Process, left int) {
	if t.rows == 0 {
		return nil, 0
	}
	all = make([]oom.Process, 0, len(t.tasks)+1)
	for i := range t.tasks {
		all = append(all, t.tasks[i].process(page))
	}
	if !slices.ContainsFunc(all, func(p oom.Process) bool { return p.PID == victim.PID }) {
		if len(all) == oom.MaxTasks {
			all = all[:oom.MaxTasks-1]
		}
		all = append(all, victim)
	}
	return all, max(0, t.rows-len(all))
}

// pageSize guesses the size of a page from the victim, whose address space the table has in pages and
// the line "Killed process" in kB.
func (t *table) pageSize(victim oom.Process) (int64, bool) {
	r, ok := t.find(victim.PID)
	if !ok || r.total <= 0 || victim.Total <= 0 {
		return 0, false
	}
	for _, page := range []int64{4 << 10, 16 << 10, 64 << 10} {
		if guess := product(r.total, page); guess > victim.Total/4*3 && guess < victim.Total/4*5 {
			return page, true
		}
	}
	return 0, false
}
