package victims

import (
	"encoding/binary"
	"math"
	"path"
	"strings"
	"testing"
	"time"

	"stella/internal/oom"
)

const page = 4096

// testLevel is a level as the program writes it.
type testLevel struct {
	id                 uint64
	name               string
	usage, limit, ooms uint64
}

// encode writes a note like the program.
func encode(serial uint64, pid uint32, levels []testLevel, invoker ...uint64) []byte {
	raw := make([]byte, noteSize)
	order := binary.NativeEndian
	order.PutUint64(raw[atSerial:], serial)
	order.PutUint64(raw[atTime:], 5e9)
	order.PutUint32(raw[atPID:], pid)
	order.PutUint32(raw[atUID:], 1000)
	order.PutUint32(raw[atDepth:], uint32(len(levels)))
	order.PutUint32(raw[atInvokers:], uint32(len(invoker)))
	copy(raw[atComm:], "a comm, 15 byte")
	for i, id := range invoker {
		order.PutUint64(raw[atInvoker+8*i:], id)
	}
	for i, l := range levels {
		at := raw[atLevels+i*levelSize:]
		order.PutUint64(at[levelID:], l.id)
		order.PutUint64(at[levelUsage:], l.usage)
		order.PutUint64(at[levelLimit:], l.limit)
		order.PutUint64(at[levelOOMs:], l.ooms)
		copy(at[levelName:levelSize], l.name)
	}
	if len(levels) > 0 {
		order.PutUint64(raw[atCgroup:], levels[0].id)
	}
	return raw
}

func TestDecode(t *testing.T) {
	got, serial, ok := decode(encode(9, 7, []testLevel{{3, "leaf", 10, 10, 1}, {2, "up", 0, 99, 0}}, 3, 2), page)
	want := oom.Victim{
		Monotonic: 5 * time.Second,
		Process:   oom.Process{PID: 7, UID: 1000, Comm: "a comm, 15 byte"},
		Cgroup:    "/up/leaf", CgroupID: 3,
		Limit: oom.Limit{Scope: oom.ScopeCgroup, Cgroup: "/up/leaf", Bytes: 10 * page},
	}
	if got != want || serial != 9 || !ok {
		t.Errorf("%+v, %d, %t; want %+v", got, serial, ok, want)
	}
	if got, _, ok := decode(encode(9, 7, nil), page); !ok || got.Cgroup != "/" || got.Limit.Scope != oom.ScopeNode {
		t.Errorf("in the root: %+v, %t", got, ok)
	}
}

func TestDecodeHostile(t *testing.T) {
	order := binary.NativeEndian
	leaf := []testLevel{{3, "leaf", 10, 10, 1}}
	for name, spoil := range map[string]func([]byte) []byte{
		"empty":               func(raw []byte) []byte { return raw[:0] },
		"short":               func(raw []byte) []byte { return raw[1:] },
		"being written":       func(raw []byte) []byte { order.PutUint64(raw[atSerial:], 0); return raw },
		"no pid":              func(raw []byte) []byte { order.PutUint32(raw[atPID:], 0); return raw },
		"a pid that is none":  func(raw []byte) []byte { order.PutUint32(raw[atPID:], 1<<31); return raw },
		"a time that is none": func(raw []byte) []byte { order.PutUint64(raw[atTime:], 1<<63); return raw },
	} {
		if got, _, ok := decode(spoil(encode(1, 7, leaf)), page); ok {
			t.Errorf("%s: %+v", name, got)
		}
	}
	for name, spoil := range map[string]func([]byte){
		"unknown depth":   func(raw []byte) { order.PutUint32(raw[atDepth:], unknown) },
		"too deep":        func(raw []byte) { order.PutUint32(raw[atDepth:], maxLevels+1) },
		"a level missing": func(raw []byte) { order.PutUint32(raw[atDepth:], 2) },
		"a name cut":      func(raw []byte) { copy(raw[atLevels+levelName:], strings.Repeat("n", nameSize)) },
		"a name of two":   func(raw []byte) { copy(raw[atLevels+levelName:], "a/b") },
	} {
		raw := encode(1, 7, leaf)
		spoil(raw)
		if got, _, ok := decode(raw, page); !ok || got.Cgroup != "" || got.CgroupID != 3 || got.Limit != (oom.Limit{Scope: oom.ScopeUnknown}) {
			t.Errorf("%s: %+v, %t", name, got, ok)
		}
	}
	raw := encode(1, 7, leaf)
	order.PutUint32(raw[atUID:], unknown)
	if got, _, _ := decode(raw, page); got.Process.UID != -1 {
		t.Errorf("no uid: %d", got.Process.UID)
	}
}

func TestFired(t *testing.T) {
	const none = math.MaxInt64 / page
	cgroup := func(path string, pages int64) oom.Limit {
		return oom.Limit{Scope: oom.ScopeCgroup, Cgroup: path, Bytes: pages * page}
	}
	for _, c := range []struct {
		name    string
		levels  []testLevel // ids 1, 2, 3: /c/b/a
		invoker []uint64
		want    oom.Limit
	}{
		{"none ever ran out", []testLevel{{usage: 100, limit: 100}, {usage: 200, limit: 200}}, []uint64{1, 2}, oom.Limit{Scope: oom.ScopeNode}},
		{"one above, for the first time", []testLevel{{usage: 100, limit: 100}, {usage: 200, limit: 200, ooms: 1}}, []uint64{1, 2}, cgroup("/b", 200)},
		{"one that is full, and not the leaf that ran out before", []testLevel{{usage: 99, limit: 100, ooms: 5}, {usage: 200, limit: 200, ooms: 1}}, []uint64{1, 2}, cgroup("/b", 200)},
		{"both full, asked in the leaf", []testLevel{{usage: 100, limit: 100, ooms: 5}, {usage: 200, limit: 200, ooms: 9}}, []uint64{1, 2}, cgroup("/b/a", 100)},
		{"both full, asked beside the leaf", []testLevel{{usage: 100, limit: 100, ooms: 5}, {usage: 200, limit: 200, ooms: 9}}, []uint64{7, 2}, cgroup("/b", 200)},
		{"asked from outside", []testLevel{{usage: 50, limit: 100}, {usage: 200, limit: 100, ooms: 1}}, []uint64{7, 8}, cgroup("/b", 100)},
		{"not known who asked", []testLevel{{usage: 100, limit: 100, ooms: 1}}, nil, cgroup("/a", 100)},
		{"ran out before, and has room", []testLevel{{usage: 50, limit: 100, ooms: 1}}, []uint64{1}, oom.Limit{Scope: oom.ScopeUnknown}},
		{"a little was freed since", []testLevel{{usage: 90, limit: 100, ooms: 1}}, []uint64{1}, cgroup("/a", 100)},
		{"ran out, without a limit now", []testLevel{{usage: 50, limit: none, ooms: 1}}, []uint64{1}, oom.Limit{Scope: oom.ScopeUnknown}},
		{"above all that can be", []testLevel{{usage: math.MaxUint64, limit: math.MaxUint64, ooms: 1}}, []uint64{1}, cgroup("/a", 0)},
	} {
		for i := range c.levels {
			c.levels[i].id, c.levels[i].name = uint64(i+1), string(rune('a'+i))
		}
		got, _, ok := decode(encode(1, 7, c.levels, c.invoker...), page)
		if !ok || got.Limit != c.want {
			t.Errorf("%s: %+v, %t; want %+v", c.name, got.Limit, ok, c.want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(encode(9, 7, []testLevel{{3, "leaf", 10, 10, 1}, {2, "up", 0, 99, 0}}, 3, 2), int64(page))
	f.Add(encode(1, 1, make([]testLevel, maxLevels), 1), int64(64<<10))
	f.Fuzz(func(t *testing.T, raw []byte, size int64) {
		if size < 1 || size > 1<<20 {
			return
		}
		v, serial, ok := decode(raw, size)
		if !ok {
			return
		}
		if serial == 0 || v.Process.PID <= 0 || v.Process.UID < -1 || v.Monotonic < 0 || len(v.Process.Comm) > commSize {
			t.Errorf("%+v, %d", v, serial)
		}
		if v.Cgroup != "" && (v.Cgroup[0] != '/' || strings.Count(v.Cgroup, "/") > maxLevels || len(v.Cgroup) > maxLevels*nameSize) {
			t.Errorf("path %q", v.Cgroup)
		}
		limit := v.Limit
		if limit.Bytes < 0 || limit.Cgroup != "" && limit.Cgroup != v.Cgroup && !strings.HasPrefix(v.Cgroup, limit.Cgroup+"/") {
			t.Errorf("limit %+v of %q (%s)", limit, v.Cgroup, path.Base(limit.Cgroup))
		}
	})
}
