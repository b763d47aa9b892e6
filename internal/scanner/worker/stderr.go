package worker

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"stella/internal/scanner"
)

const (
	// maxStderr is how much a worker may write to standard error in its life, in bytes.
	// The runtime's account of a crash is some ten KiB.
	maxStderr = 4 << 20
	// maxStderrLines is how many lines of it are logged: the reason, and a stack or two.
	maxStderrLines = 200
)

// stderr is what is kept of a worker's standard error.
type stderr struct {
	first string // the first line
	crash string // the first line that says why a Go program dies
	fatal string // the first line that says that it dies for want of memory
}

// readStderr logs what the worker writes to standard error, until its end.
func (p *Process) readStderr(r io.ReadCloser) {
	defer r.Close()
	b := bufio.NewReaderSize(r, scanner.MaxLogLine)
	for bytes, n := 0, 0; ; n++ {
		line, _, err := b.ReadLine() // in pieces, where it is longer than the buffer
		bytes += len(line) + 1
		if bytes > maxStderr {
			p.refuse(fmt.Sprintf("wrote more than %d bytes to standard error", maxStderr))
			_, _ = io.Copy(io.Discard, r) // so that it can end
			return
		}
		if err != nil {
			return
		}
		text := cut(strings.TrimRight(string(line), " \t\r"))
		p.noteStderr(text)
		switch {
		case n < maxStderrLines && text != "":
			p.cfg.Log(slog.LevelError, "stderr", text)
		case n == maxStderrLines:
			p.cfg.Log(slog.LevelError, "stderr", fmt.Sprintf("more than %d lines; the rest is left out", maxStderrLines))
		}
	}
}

func (p *Process) noteStderr(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &p.stderr
	if s.first == "" {
		s.first = line
	}
	if s.crash == "" && isCrash(line) {
		s.crash = line
	}
	if s.fatal == "" && isOutOfMemory(line) {
		s.fatal = line
	}
}

// isCrash knows the lines with which the Go runtime begins to say why it ends.
func isCrash(line string) bool {
	for _, begin := range []string{"fatal error: ", "panic: ", "runtime: ", "SIG"} {
		if strings.HasPrefix(line, begin) {
			return true
		}
	}
	return false
}

// isOutOfMemory knows the lines with which the Go runtime ends when the kernel gives
// it no memory: the throws of runtime/malloc.go, mem_linux.go and their like.
func isOutOfMemory(line string) bool {
	said, ok := strings.CutPrefix(line, "fatal error: ")
	return ok && (strings.Contains(said, "out of memory") || strings.Contains(said, "cannot allocate memory") || strings.Contains(said, "cannot map pages"))
}
