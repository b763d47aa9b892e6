package trace

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"stella/internal/oom"
)

const (
	// bufferKiB is what the kernel keeps for each processor: a hundred kills that nobody has read.
	bufferKiB = 64
	// maxLine is more than a line has: some 300 bytes.
	maxLine = 4 << 10
)

// ErrNotHere is matched by errors that say that this machine does not offer the tracepoint.
var ErrNotHere = errors.New("the tracepoint oom:mark_victim is not here")

// Options say where to trace.
type Options struct {
	// Dir is where tracefs is mounted; "" is /sys/kernel/tracing.
	Dir string
	// Name is the name of the instance, of which one at a time can be used. "" is stella-agent.
	Name string
	// Log is for events that were lost.
	Log *slog.Logger
	// Began is called when victims are told from now on; nil calls nobody.
	Began func()
}

// Follow tells of each victim until ctx ends, which is no error. Emit is called from one goroutine.
// An error that matches [ErrNotHere] says why this machine cannot be traced, and what to do.
func Follow(ctx context.Context, o Options, emit func(oom.Notice)) (err error) {
	if o.Dir == "" {
		o.Dir = "/sys/kernel/tracing"
	}
	if o.Name == "" {
		o.Name = "stella-agent"
	}
	if _, err := os.Stat(filepath.Join(o.Dir, "events/oom/mark_victim")); err != nil {
		return fmt.Errorf("%w: %w; mount it with: mount -t tracefs none %s", ErrNotHere, err, o.Dir)
	}
	dir := filepath.Join(o.Dir, "instances", o.Name)
	// An agent that was killed leaves its instance. One that is in use cannot be removed.
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("trace OOM kills: %w; another agent may use it", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("%w: %w; it takes root, and a kernel that is not locked down", ErrNotHere, err)
	}
	defer func() { err = errors.Join(err, os.Remove(dir)) }()
	pipe, err := open(dir)
	if err != nil {
		return fmt.Errorf("trace OOM kills: %w", err)
	}
	defer pipe.Close()
	if o.Began != nil {
		o.Began()
	}
	stop := context.AfterFunc(ctx, func() { _ = pipe.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := read(pipe, o.Log, emit); ctx.Err() == nil {
		return fmt.Errorf("trace OOM kills: read %s: %w", pipe.Name(), err)
	}
	return nil
}

// open switches the tracepoint on and opens the pipe.
func open(dir string) (*os.File, error) {
	for _, s := range []struct{ file, value string }{
		{"buffer_size_kb", strconv.Itoa(bufferKiB)},
		{"buffer_percent", "0"}, // how full it must be before a reader is woken; since Linux 5.0
		{"events/oom/mark_victim/enable", "1"},
	} {
		err := os.WriteFile(filepath.Join(dir, s.file), []byte(s.value), 0)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	name := filepath.Join(dir, "trace_pipe")
	// A file opened so, and not by os.Open, can be waited for and given up.
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// read tells of the lines of the pipe until it cannot be read.
func read(pipe io.Reader, log *slog.Logger, emit func(oom.Notice)) error {
	lines := bufio.NewReaderSize(pipe, maxLine)
	for {
		line, err := lines.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			if err == io.EOF {
				err = errors.New("somebody switched tracing off")
			}
			return err
		}
		if bytes.Contains(line, []byte("[LOST ")) {
			log.Warn("the kernel dropped events of the tracepoint oom:mark_victim", "line", string(bytes.TrimSpace(line)))
		}
		if p, ok := parse(line); ok {
			emit(oom.Notice{Witness: oom.WitnessTrace, Time: time.Now(), Process: p})
		}
	}
}
