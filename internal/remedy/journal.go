package remedy

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"stella/internal/incident"
)

const (
	// maxJournal bounds the file: some ten thousand changes. What is full refuses, as nothing of an audit log is thrown away by itself.
	maxJournal = 64 << 20
	// maxLine bounds one event: its data, its texts, and the rest.
	maxLine = incident.MaxData + 4*incident.MaxText
)

// Journal is the audit log: a file of events, a JSON object on each line, that is only ever added to. Several processes can use it at a time.
type Journal struct{ Path string }

// Append implements [Record]. The events are on the disk when it returns.
func (j *Journal) Append(_ context.Context, events []incident.Event) (err error) {
	if err := os.MkdirAll(filepath.Dir(j.Path), 0o700); err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	f, err := os.OpenFile(j.Path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil { // until it is closed
		return fmt.Errorf("audit log %s: %w", j.Path, err)
	}
	var text bytes.Buffer
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("audit log %s: %w", j.Path, err)
	}
	last := []byte{'\n'}
	if end > 0 {
		if _, err := f.ReadAt(last, end-1); err != nil {
			return fmt.Errorf("audit log %s: %w", j.Path, err)
		}
	}
	if last[0] != '\n' {
		text.WriteByte('\n') // after a line that a crash tore
	}
	for i := range events {
		line, err := json.Marshal(&events[i])
		if err != nil {
			return err
		}
		if len(line) > maxLine {
			return fmt.Errorf("audit log: an event of %d bytes; at most %d", len(line), maxLine)
		}
		text.Write(append(line, '\n'))
	}
	if end+int64(text.Len()) > maxJournal {
		return fmt.Errorf("audit log %s has %d bytes, of at most %d: move it to where you keep such logs, and a new one begins", j.Path, end, maxJournal)
	}
	if _, err := f.Write(text.Bytes()); err != nil {
		return fmt.Errorf("audit log %s: %w", j.Path, err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("audit log %s: %w", j.Path, err)
	}
	return nil
}

// History is what became of a plan. Lines that are torn, or no events, are passed over: a crash leaves such.
func (j *Journal) History(plan string) (History, error) {
	f, err := os.Open(j.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return History{}, fmt.Errorf("there is no audit log %s yet: nothing was applied by this user", j.Path)
	}
	if err != nil {
		return History{}, fmt.Errorf("audit log: %w", err)
	}
	defer f.Close()
	var events []incident.Event
	name := []byte(`"plan":"` + plan + `"`)
	in := bufio.NewScanner(io.LimitReader(f, maxJournal))
	in.Buffer(nil, maxLine+1)
	for in.Scan() {
		var e incident.Event
		if bytes.Contains(in.Bytes(), name) && json.Unmarshal(in.Bytes(), &e) == nil {
			events = append(events, e)
		}
	}
	if err := in.Err(); err != nil {
		return History{}, fmt.Errorf("audit log %s: %w", j.Path, err)
	}
	h, err := Recall(events, plan)
	if err != nil {
		return h, fmt.Errorf("audit log %s: %w", j.Path, err)
	}
	return h, nil
}
