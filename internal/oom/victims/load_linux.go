package victims

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
)

// tracepoints are where each program runs.
var tracepoints = map[string]string{signalProgram: "signal_generate", victimProgram: "mark_victim"}

// load puts maps and programs into the kernel, and pins them in dir, which is empty.
func load(dir string) error {
	if err := rlimit.RemoveMemlock(); err != nil {
		return fmt.Errorf("lock memory for maps (before Linux 5.11): %w", err)
	}
	types := btf.NewCache()
	spec, err := types.Kernel()
	if err != nil {
		return missing("the kernel has no type information in /sys/kernel/btf (CONFIG_DEBUG_INFO_BTF)", err)
	}
	where, err := findOffsets(spec)
	if err != nil {
		return missing("the kernel has not the structs of Linux 5.7 to 6.18", err)
	}
	all, err := ebpf.NewCollectionWithOptions(programs(where), ebpf.CollectionOptions{Cache: types})
	if err != nil {
		return err
	}
	defer all.Close()
	for _, name := range []string{notesMap, stateMap} { // the third is the programs' own
		if err := all.Maps[name].Pin(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("pin map %s: %w", name, err)
		}
	}
	for name, tracepoint := range tracepoints {
		if err := attach(all.Programs[name], tracepoint, filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("attach program %s: %w", name, err)
		}
	}
	return nil
}

// attach makes the kernel run a program for as long as the pin is there.
func attach(p *ebpf.Program, tracepoint, pin string) error {
	l, err := link.AttachRawTracepoint(link.RawTracepointOptions{Name: tracepoint, Program: p})
	if err != nil {
		return err
	}
	defer l.Close()
	return l.Pin(pin)
}

// errOther says that what is pinned is not what was expected.
var errOther = errors.New("another layout")

// take opens what is pinned in dir. The error says whether it is not there or not whole ([fs.ErrNotExist], errOther),
// or cannot be had.
func take(dir string) (*Victims, error) {
	for name := range tracepoints {
		l, err := link.LoadPinnedLink(filepath.Join(dir, name), nil)
		if err != nil {
			return nil, fmt.Errorf("program %s: %w", name, err)
		}
		_ = l.Close() // the pin holds it
	}
	notes, err := takeMap(dir, notesMap, noteSize, maxNotes)
	if err != nil {
		return nil, err
	}
	state, err := takeMap(dir, stateMap, stateSize, 1)
	if err != nil {
		return nil, errors.Join(err, notes.Close())
	}
	return &Victims{notes: notes, state: state, newest: map[uint32]uint64{}}, nil
}

func takeMap(dir, name string, valueSize, entries uint32) (*ebpf.Map, error) {
	m, err := ebpf.LoadPinnedMap(filepath.Join(dir, name), &ebpf.LoadPinOptions{ReadOnly: true})
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", name, err)
	}
	if m.Type() != ebpf.Array || m.KeySize() != 4 || m.ValueSize() != valueSize || m.MaxEntries() != entries {
		_ = m.Close()
		return nil, fmt.Errorf("map %s: %w: %v", name, errOther, m)
	}
	return m, nil
}
