package victims

import (
	"bytes"
	"encoding/binary"
	"math"
	"strings"
	"time"

	"stella/internal/oom"
)

// What there is room for. A change of any of these, or of the places below, is a new [pinsName].
const (
	// maxNotes are the last kills that are kept: storms that were seen had a hundred a second, for the
	// twenty seconds that an upgrade takes. They are 3.3 MiB that the kernel holds for good.
	maxNotes = 2048 // a power of two: the program reckons by mask
	// maxLevels are the levels of the hierarchy. A container's process in systemd's cgroups, on a node that is a container
	// itself, is at the ninth.
	maxLevels = 12
	// nameSize is room for a name and its end: cri-containerd-<64 digits>.scope has 85, a pod's slice 79.
	nameSize = 96
	commSize = 16
	// fullShare says when a cgroup counts as full: an eighth of its limit is more than others free while the kernel looks
	// for a victim.
	fullShare = 8
)

// Where a note has what, in bytes. The program writes it, and decode reads it, in the machine's byte order.
const (
	atSerial   = 0  // u64, from 1; 0 while the note is written
	atTime     = 8  // u64, bpf_ktime_get_ns
	atCgroup   = 16 // u64, inode of the victim's cgroup
	atPID      = 24 // u32, of the thread that the kernel logs
	atUID      = 28 // u32
	atDepth    = 32 // u32, levels of the victim's cgroup below the root; unknown
	atInvokers = 36 // u32, levels of the cgroup of who asked for memory; unknown
	atComm     = 40
	atInvoker  = atComm + commSize       // u64 each, inodes of those levels, from the leaf upwards
	atLevels   = atInvoker + 8*maxLevels // the victim's levels, from the leaf upwards
	noteSize   = atLevels + maxLevels*levelSize

	unknown = math.MaxUint32
)

// Where a level has what, in bytes.
const (
	levelID    = 0  // u64, inode
	levelUsage = 8  // u64, pages
	levelLimit = 16 // u64, pages
	levelOOMs  = 24 // u64, how often it had no memory left by its own limit, whoever was killed then
	levelName  = 32
	levelSize  = levelName + nameSize
)

// level is one cgroup on the way from the victim's to the root.
type level struct {
	id                 uint64
	usage, limit, ooms uint64
	// end is where its path ends in the victim's.
	end int
	// asked says that who asked for memory was in it, or below.
	asked bool
}

// decode reads a note. It reports false for one that is empty, or is written right now. It takes any bytes: what
// makes no sense is not known.
func decode(raw []byte, pageSize int64) (v oom.Victim, serial uint64, ok bool) {
	if len(raw) != noteSize {
		return v, 0, false
	}
	order := binary.NativeEndian
	pid, at := order.Uint32(raw[atPID:]), order.Uint64(raw[atTime:])
	serial = order.Uint64(raw[atSerial:])
	if serial == 0 || pid == 0 || pid > math.MaxInt32 || at > math.MaxInt64 {
		return v, 0, false
	}
	path, levels := decodeLevels(raw)
	return oom.Victim{
		Monotonic: time.Duration(at),
		Process: oom.Process{
			PID:  int(pid),
			UID:  max(-1, int(int32(order.Uint32(raw[atUID:])))),
			Comm: string(upToNUL(raw[atComm : atComm+commSize])),
		},
		Cgroup:   path,
		CgroupID: order.Uint64(raw[atCgroup:]),
		Limit:    fired(path, levels, pageSize),
	}, serial, true
}

// decodeLevels makes a path of names. It is empty where one is missing.
func decodeLevels(raw []byte) (path string, levels []level) {
	depth := binary.NativeEndian.Uint32(raw[atDepth:])
	if depth > maxLevels {
		return "", nil
	}
	if depth == 0 {
		return "/", nil
	}
	var b strings.Builder
	levels = make([]level, depth)
	for i := int(depth) - 1; i >= 0; i-- {
		at := raw[atLevels+i*levelSize:][:levelSize]
		name := upToNUL(at[levelName:])
		if len(name) == 0 || len(name) == nameSize || bytes.IndexByte(name, '/') >= 0 {
			return "", nil
		}
		b.WriteByte('/')
		b.Write(name)
		u64 := func(at []byte) uint64 { return binary.NativeEndian.Uint64(at) }
		levels[i] = level{id: u64(at[levelID:]), usage: u64(at[levelUsage:]), limit: u64(at[levelLimit:]), ooms: u64(at[levelOOMs:]), end: b.Len()}
	}
	markAsked(raw, levels)
	return b.String(), levels
}

// markAsked marks the levels in which the invoker was. Where it was in none of them, or that is not known, it marks all:
// somebody outside asked, as who lowers a limit does.
func markAsked(raw []byte, levels []level) {
	ids := raw[atInvoker:atLevels]
	n := binary.NativeEndian.Uint32(raw[atInvokers:])
	if n > maxLevels {
		n = 0
	}
	within := map[uint64]bool{}
	for i := range n {
		within[binary.NativeEndian.Uint64(ids[8*i:])] = true
	}
	common := false
	for i := range levels {
		levels[i].asked = within[levels[i].id]
		common = common || levels[i].asked
	}
	for i := range levels {
		levels[i].asked = levels[i].asked || !common
	}
}

// fired says whose limit it was. The kernel counts at each cgroup how often its own limit was the one (MEMCG_OOM),
// and that before it kills; so one that never counted is not it, and if none did, it was the machine's
// memory. Of several it is the fullest that holds who asked, and of equals the lowest, which is where the kernel charges
// first. One that counted before and has room now can be innocent: that is not known.
func fired(path string, levels []level, pageSize int64) oom.Limit {
	if path == "" {
		return oom.Limit{Scope: oom.ScopeUnknown}
	}
	best := -1
	for i := range levels {
		l := &levels[i]
		if l.ooms > 0 && l.asked && (best < 0 || l.room() < levels[best].room()) {
			best = i
		}
	}
	if best < 0 {
		return oom.Limit{Scope: oom.ScopeNode}
	}
	l := &levels[best]
	if l.room() > l.limit/fullShare {
		return oom.Limit{Scope: oom.ScopeUnknown}
	}
	return oom.Limit{Scope: oom.ScopeCgroup, Cgroup: path[:l.end], Bytes: limitBytes(l.limit, pageSize)}
}

// room is how many pages there were left.
func (l *level) room() uint64 { return max(l.limit, l.usage) - l.usage }

// limitBytes is 0 for no limit, which the kernel keeps as the most pages that fit (PAGE_COUNTER_MAX).
func limitBytes(pages uint64, pageSize int64) int64 {
	if pages >= uint64(math.MaxInt64/pageSize) {
		return 0
	}
	return int64(pages) * pageSize
}

func upToNUL(b []byte) []byte {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		return b[:i]
	}
	return b
}
