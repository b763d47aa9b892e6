package main

import (
	"errors"
	"flag"
	"fmt"
	"strings"
	"time"
)

// minMemory in MiB is what the kernel boots in, with a small program.
const minMemory = 128

// diskModules are what a disk needs of the kernel: that its controller is found, the
// disk, the file system and its checksums.
var diskModules = []string{"virtio_pci", "virtio_blk", "ext4", "crc32c_generic"}

// options are what to run, and on what.
type options struct {
	memory, cpus int // MiB, number
	timeout      time.Duration
	programs     []string // of the host, by name or path
	files        []string // HOST or HOST:GUEST
	modules      []string
	disk         string // file of the host; empty for none
	diskLog      string
	args         []string // the program and its arguments
}

// parse reads the command line.
func parse(commandLine []string) (options, error) {
	var o options
	list := func(to *[]string) func(string) error {
		return func(text string) error {
			*to = append(*to, strings.Split(text, ",")...)
			return nil
		}
	}
	f := flag.NewFlagSet("vm", flag.ContinueOnError)
	f.Usage = func() {
		fmt.Fprintln(f.Output(), "Usage: vm [flags] PROGRAM [ARGUMENT]...")
		f.PrintDefaults()
	}
	f.IntVar(&o.memory, "memory", 1024, "memory of the machine in `MiB`")
	f.IntVar(&o.cpus, "cpus", 2, "`number` of processors")
	f.DurationVar(&o.timeout, "timeout", 5*time.Minute, "end the machine after this `time`")
	f.Func("with", "`PROGRAM,...` of the host to have in the machine, with their libraries; always there: "+strings.Join(basics, ", "), list(&o.programs))
	f.Func("modules", "kernel modules `NAME,...` to load, after those that they depend on", list(&o.modules))
	f.Func("file", "file or directory to have in the machine, `HOST[:GUEST]`, at the same path or another; may be repeated", func(text string) error {
		o.files = append(o.files, text)
		return nil
	})
	f.StringVar(&o.disk, "disk", "", "`file` with the content of a disk, /dev/vda in the machine")
	f.StringVar(&o.diskLog, "disk-log", "", "`file` for a log of all writes to the disk and of its flushes, in the format of the kernel's dm-log-writes")
	if err := f.Parse(commandLine); err != nil {
		return o, err
	}
	o.args = f.Args()
	if o.disk != "" {
		o.modules = append(o.modules, diskModules...)
	}
	switch {
	case len(o.args) == 0:
		return o, errors.New("say which program to run; vm -help says more")
	case o.memory < minMemory:
		return o, fmt.Errorf("-memory %d: the kernel needs at least %d MiB", o.memory, minMemory)
	case o.cpus < 1:
		return o, fmt.Errorf("-cpus %d: at least one is needed", o.cpus)
	case o.diskLog != "" && o.disk == "":
		return o, errors.New("-disk-log: there is no -disk")
	case o.timeout <= 0:
		return o, fmt.Errorf("-timeout %v: it must be positive", o.timeout)
	}
	return o, nil
}
