package victims

import (
	"fmt"

	"github.com/cilium/ebpf/btf"
)

// offsets are where this kernel has, in its structs, what the programs read. They differ from build to build.
type offsets struct {
	taskPID, taskComm, taskCred, taskCgroups int32 // struct task_struct
	credUID                                  int32 // struct cred
	setMemory                                int32 // struct css_set: the state of its cgroup for the memory controller
	// What follows is counted from that state, which is a struct cgroup_subsys_state in a struct mem_cgroup.
	stateUp, stateCgroup                int32
	memoryUsage, memoryLimit, memoryOOM int32
	cgroupDir                           int32 // struct cgroup
	dirID, dirName                      int32 // struct kernfs_node
}

// findOffsets asks the kernel's type information.
func findOffsets(spec *btf.Spec) (offsets, error) {
	var o offsets
	var state int32
	for _, f := range []struct {
		to     *int32
		in     string
		fields []string
	}{
		{&o.taskPID, "task_struct", []string{"pid"}},
		{&o.taskComm, "task_struct", []string{"comm"}},
		{&o.taskCred, "task_struct", []string{"real_cred"}},
		{&o.taskCgroups, "task_struct", []string{"cgroups"}},
		{&o.credUID, "cred", []string{"uid"}},
		{&o.setMemory, "css_set", []string{"subsys"}},
		{&o.stateUp, "cgroup_subsys_state", []string{"parent"}},
		{&o.stateCgroup, "cgroup_subsys_state", []string{"cgroup"}},
		{&state, "mem_cgroup", []string{"css"}},
		{&o.memoryUsage, "mem_cgroup", []string{"memory", "usage"}},
		{&o.memoryLimit, "mem_cgroup", []string{"memory", "max"}},
		{&o.memoryOOM, "mem_cgroup", []string{"memory_events_local"}},
		{&o.cgroupDir, "cgroup", []string{"kn"}},
		{&o.dirID, "kernfs_node", []string{"id"}},
		{&o.dirName, "kernfs_node", []string{"name"}},
	} {
		var err error
		if *f.to, err = offset(spec, f.in, f.fields...); err != nil {
			return o, err
		}
	}
	controller, err := enumerator(spec, "cgroup_subsys_id", "memory_cgrp_id")
	if err != nil {
		return o, err
	}
	event, err := enumerator(spec, "memcg_memory_event", "MEMCG_OOM")
	if err != nil {
		return o, err
	}
	o.setMemory += int32(controller) * wordSize
	o.memoryUsage -= state
	o.memoryLimit -= state
	o.memoryOOM += int32(event)*wordSize - state
	return o, nil
}

// offset is where a field is in a struct, in bytes; each further name is one in the field before.
func offset(spec *btf.Spec, in string, fields ...string) (int32, error) {
	var s *btf.Struct
	if err := spec.TypeByName(in, &s); err != nil {
		return 0, fmt.Errorf("struct %s: %w", in, err)
	}
	var t btf.Type = s
	var at int32
	for _, name := range fields {
		m, base, ok := member(t, name)
		if !ok {
			return 0, fmt.Errorf("struct %s has no %s", in, name)
		}
		at += base
		t = m
	}
	return at, nil
}

// member finds a field, also in structs and unions without a name.
func member(t btf.Type, name string) (field btf.Type, at int32, ok bool) {
	var all []btf.Member
	switch t := btf.UnderlyingType(t).(type) {
	case *btf.Struct:
		all = t.Members
	case *btf.Union:
		all = t.Members
	}
	for _, m := range all {
		here := int32(m.Offset.Bytes())
		if m.Name == name && m.BitfieldSize == 0 {
			return m.Type, here, true
		}
		if m.Name != "" {
			continue
		}
		if field, at, ok = member(m.Type, name); ok {
			return field, here + at, true
		}
	}
	return nil, 0, false
}

// enumerator is the value of a name in an enum.
func enumerator(spec *btf.Spec, in, name string) (uint64, error) {
	var e *btf.Enum
	if err := spec.TypeByName(in, &e); err != nil {
		return 0, fmt.Errorf("enum %s: %w", in, err)
	}
	for _, v := range e.Values {
		if v.Name == name {
			return v.Value, nil
		}
	}
	return 0, fmt.Errorf("enum %s has no %s", in, name)
}
