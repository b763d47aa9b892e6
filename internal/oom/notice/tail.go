package notice

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"stella/internal/oom"
)

// LogFiles are where the logs of runtimes, the kubelet and systemd are, where they are text files.
var LogFiles = []string{"/var/log/syslog", "/var/log/messages", "/var/log/containerd.log", "/var/log/kubelet.log", "/var/log/crio.log", "/var/log/docker.log"}

const (
	// glance is how often a log is looked at. It is a witness that comes late anyway.
	glance = time.Second
	// maxGlance bounds the bytes that are read each time: that costs 0.4 % of a core. What a log grows more is left out.
	maxGlance = 4 << 20
	// tailBuffer is what is read at once. It has room for the longest line that is looked at.
	tailBuffer = MaxLine
)

// Tail follows a log file, through rotation and truncation, until ctx ends, and tells of each line that tells of a kill. It begins at the end:
// what was written before is for package analyze.
func Tail(ctx context.Context, name string, tell func(oom.Notice), state func(error)) error {
	t := tail{name: name, tell: tell}
	defer t.close()
	r := reporter{state: state}
	for atEnd := true; ; atEnd = false { // of the file that is there now, and not of one that comes later
		r.report(t.look(atEnd))
		if !pause(ctx.Done(), glance) {
			return ctx.Err()
		}
	}
}

// tail is one log file, of which a part was read.
type tail struct {
	name string
	tell func(oom.Notice)
	file *os.File
	at   int64
	// buffer is a line that is not complete yet; long says that its beginning was looked at and the rest is to be skipped.
	buffer []byte
	long   bool
}

func (t *tail) close() {
	if t.file != nil {
		t.file.Close()
		t.file, t.buffer = nil, nil
	}
}

// look reads what is new.
func (t *tail) look(atEnd bool) error {
	if t.file == nil {
		if err := t.open(atEnd); err != nil {
			return err
		}
	}
	if err := t.read(); err != nil {
		return err
	}
	now, err := os.Stat(t.name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // rotated, and the new one is not there yet
	}
	if err != nil {
		return fmt.Errorf("follow the log: %w", err)
	}
	if was, err := t.file.Stat(); err == nil && os.SameFile(was, now) {
		return nil
	}
	// Rotated: the rest of the old one was read above, unless it was written since.
	if err := t.read(); err != nil {
		return err
	}
	t.close()
	if err := t.open(false); err != nil {
		return err
	}
	return t.read()
}

func (t *tail) open(atEnd bool) error {
	f, err := os.Open(t.name)
	if err != nil {
		return fmt.Errorf("follow the log: %w", err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no file", t.name)
	}
	if err != nil {
		f.Close()
		return fmt.Errorf("follow the log: %w", err)
	}
	// Most machines have one or two of these files: there is no buffer for the others.
	t.file, t.at, t.buffer, t.long = f, 0, make([]byte, 0, tailBuffer), false
	if atEnd {
		t.at = info.Size()
	}
	return nil
}

// read reads up to the end of the file.
func (t *tail) read() error {
	info, err := t.file.Stat()
	if err != nil {
		return fmt.Errorf("follow the log: %w", err)
	}
	switch size := info.Size(); {
	case size < t.at: // truncated
		t.at, t.buffer, t.long = 0, t.buffer[:0], false
	case size-t.at > maxGlance:
		left := size - t.at - maxGlance
		t.at += left
		t.buffer, t.long = t.buffer[:0], true // in the middle of a line
		err = fmt.Errorf("follow the log %s: it grows too fast; %d bytes were left out", t.name, left)
	}
	for {
		free := t.buffer[len(t.buffer):cap(t.buffer)]
		n, readErr := t.file.ReadAt(free, t.at)
		t.at += int64(n)
		t.buffer = t.buffer[:len(t.buffer)+n]
		t.lines()
		if errors.Is(readErr, io.EOF) || readErr == nil && n == 0 {
			return err
		}
		if readErr != nil {
			return fmt.Errorf("follow the log: %w", readErr)
		}
	}
}

// lines looks at the lines that are complete, and keeps the rest. Of a line that is too long, the beginning is looked at.
func (t *tail) lines() {
	rest := t.buffer
	for {
		line, after, ok := bytes.Cut(rest, []byte("\n"))
		if !ok {
			break
		}
		if !t.long {
			t.line(line)
		}
		t.long = false
		rest = after
	}
	if len(rest) == cap(t.buffer) {
		if !t.long {
			t.line(rest)
		}
		t.long, rest = true, nil
	}
	t.buffer = t.buffer[:copy(t.buffer[:cap(t.buffer)], rest)]
}

func (t *tail) line(text []byte) {
	if n, ok := Line(text, time.Now()); ok {
		t.tell(n)
	}
}
