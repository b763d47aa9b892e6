package trace

import (
	"bytes"
	"strconv"

	"stella/internal/oom"
)

// parse reads a line of trace_pipe: who was running when it happened, and behind that the fields of the
// tracepoint (include/trace/events/oom.h). A name has at most 15 bytes, so none can hold the marker; but it can look
// like the fields that follow it, so those are searched from the end.
func parse(line []byte) (oom.Process, bool) {
	p := oom.Process{UID: -1}
	_, fields, ok := bytes.Cut(line, []byte(": mark_victim: pid="))
	if !ok {
		return p, false
	}
	pid, rest, _ := bytes.Cut(bytes.TrimRight(fields, "\n"), []byte(" "))
	n, err := strconv.Atoi(string(pid))
	if err != nil || n <= 0 {
		return p, false
	}
	p.PID = n
	comm, ok := bytes.CutPrefix(rest, []byte("comm="))
	if !ok {
		return p, true
	}
	if i := bytes.LastIndex(comm, []byte(" total-vm=")); i >= 0 {
		sizes(comm[i+1:], &p)
		comm = comm[:i]
	}
	p.Comm = string(comm)
	return p, true
}

// sizes reads "total-vm=1kB anon-rss=1kB file-rss:1kB shmem-rss:1kB uid=0 pgtables=1kB oom_score_adj=0". The
// kernel mixes = and :.
func sizes(text []byte, p *oom.Process) {
	for field := range bytes.FieldsSeq(text) {
		i := bytes.IndexAny(field, "=:")
		if i < 0 {
			continue
		}
		value, inKB := bytes.CutSuffix(field[i+1:], []byte("kB"))
		n, err := strconv.ParseInt(string(value), 10, 53)
		if err != nil {
			continue
		}
		if inKB {
			n <<= 10
		}
		switch string(field[:i]) {
		case "total-vm":
			p.Total = n
		case "anon-rss":
			p.Anon = n
		case "file-rss":
			p.File = n
		case "shmem-rss":
			p.Shmem = n
		case "pgtables":
			p.PageTables = n
		case "uid":
			p.UID = int(n)
		case "oom_score_adj":
			p.ScoreAdj = int(n)
		}
	}
}
