package worker

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
)

// ServeOptions are what [Serve] takes from the process around it.
type ServeOptions struct {
	// Stdin gives tasks, Stdout takes messages: the two ends of pipes to the server.
	Stdin  io.Reader
	Stdout io.Writer
	// Version is Stella's, which documents and registries are told.
	Version string
}

// ErrAlone says that the server went away while there was a task.
var ErrAlone = errors.New("the server has ended; the scan ends with it")

// Serve is a worker: it does one task after the other, until standard input ends.
// Then it returns at once, also in the middle of a task, which is left behind: the
// caller must end the process.
func Serve(ctx context.Context, o ServeOptions) error {
	t := &teller{w: o.Stdout}
	lines := readTasks(o.Stdin)
	if err := t.tell(message{Hello: &hello{Protocol: protocol, Version: o.Version}}); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case line, more := <-lines:
			if !more {
				return nil
			}
			if line.err != nil {
				return line.err
			}
			if err := serveTask(ctx, t, line.task, lines, o.Version); err != nil {
				return err
			}
		}
	}
}

// serveTask does one task, and meanwhile looks for the end of standard input.
func serveTask(ctx context.Context, t *teller, task Task, lines <-chan taskLine, version string) error {
	done := make(chan ended, 1)
	go func() { done <- newScan(task, t, version).run(ctx) }()
	select {
	case end := <-done:
		return t.tell(message{Ended: &end})
	case <-ctx.Done():
		return context.Cause(ctx)
	case line, more := <-lines:
		if !more {
			return ErrAlone
		}
		return errors.Join(errors.New("there came another task before the end of the first"), line.err)
	}
}

type taskLine struct {
	task Task
	err  error
}

// readTasks reads standard input to its end in a goroutine, which lives as long as the process.
func readTasks(r io.Reader) <-chan taskLine {
	lines := make(chan taskLine)
	go func() {
		defer close(lines)
		s := bufio.NewScanner(r)
		s.Buffer(nil, maxTask)
		for s.Scan() {
			var l taskLine
			if err := decode(s.Bytes(), &l.task); err != nil {
				l.err = fmt.Errorf("what came on standard input is no task: %w; this command is for stellad alone", err)
			}
			lines <- l
		}
		if err := s.Err(); err != nil {
			lines <- taskLine{err: fmt.Errorf("read a task: %w", err)}
		}
	}()
	return lines
}

// teller writes messages, each in one piece. It is safe for concurrent use.
type teller struct {
	mu sync.Mutex
	w  io.Writer
}

func (t *teller) tell(m message) error {
	line, err := json.Marshal(m)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, err := t.w.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("tell the server: %w", err)
	}
	return nil
}
