package worker

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"stella/internal/scanner"
)

const (
	// protocol grows with every change of Task or message that the other side must
	// know of: the program may be replaced while stellad runs.
	protocol = 1

	// maxTask is the longest line to a worker, in bytes: a reference and a policy of
	// some hundred paths, many times over.
	maxTask = 1 << 20
	// maxMessage is the longest line from a worker, in bytes: maxText many times over.
	maxMessage = 64 << 10
	// maxText is the longest text or path in a message, in bytes.
	maxText = scanner.MaxLogLine
	// maxMessages is how many messages a worker may send within messageWindow: ten
	// times what its progress and maxTaskLogs come to.
	maxMessages   = 20_000
	messageWindow = 10 * time.Second
)

// message is one line from a worker. One of its fields is set.
type message struct {
	Hello    *hello           `json:"hello,omitempty"`
	Progress *progressMessage `json:"progress,omitempty"`
	Log      *logMessage      `json:"log,omitempty"`
	Ended    *ended           `json:"ended,omitempty"`
}

// hello says that the worker is ready.
type hello struct {
	Protocol int    `json:"protocol"`
	Version  string `json:"version"`
}

type progressMessage struct {
	scanner.Progress
	// Peak is the highest resident set in this task, in bytes.
	Peak int64 `json:"peak"`
}

type logMessage struct {
	Level slog.Level `json:"level"`
	Text  string     `json:"text"`
}

// ended is how a task ended in a worker that lives on.
type ended struct {
	Outcome   scanner.Outcome `json:"outcome"` // succeeded, memory or error
	Message   string          `json:"message,omitempty"`
	Retryable bool            `json:"retryable,omitempty"`
	Result    *scanner.Result `json:"result,omitempty"`
	Last      progressMessage `json:"last"`
}

// decode reads a line into v, and refuses what v does not know.
func decode(line []byte, v any) error {
	d := json.NewDecoder(strings.NewReader(string(line)))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("there is more behind it")
	}
	return nil
}

// parseMessage reads a line of a worker.
func parseMessage(line []byte) (*message, error) {
	var m message
	if err := decode(line, &m); err != nil {
		return nil, fmt.Errorf("wrote what is no message: %w", err)
	}
	n := 0
	for _, set := range []bool{m.Hello != nil, m.Progress != nil, m.Log != nil, m.Ended != nil} {
		if set {
			n++
		}
	}
	switch {
	case n != 1:
		return nil, fmt.Errorf("wrote a message with %d parts", n)
	case m.Ended == nil:
		return &m, nil
	}
	switch m.Ended.Outcome {
	case scanner.OutcomeSucceeded:
		if m.Ended.Result == nil {
			return nil, errors.New("said that it has succeeded, without a result")
		}
	case scanner.OutcomeMemory, scanner.OutcomeError:
	default:
		return nil, fmt.Errorf("said that its task ended as %q", cut(string(m.Ended.Outcome)))
	}
	return &m, nil
}

// readMessages reads what the worker tells, until its end.
func (p *Process) readMessages(r io.ReadCloser) {
	defer r.Close()
	s := bufio.NewScanner(r)
	s.Buffer(nil, maxMessage)
	window, n := time.Now(), 0
	for s.Scan() {
		if n++; n > maxMessages {
			if time.Since(window) < messageWindow {
				p.refuse(fmt.Sprintf("sent %d messages within %v", n, messageWindow))
				break
			}
			window, n = time.Now(), 0
		}
		m, err := parseMessage(s.Bytes())
		if err == nil {
			err = p.take(m)
		}
		if err != nil {
			p.refuse(err.Error())
			break
		}
	}
	if errors.Is(s.Err(), bufio.ErrTooLong) {
		p.refuse(fmt.Sprintf("wrote a line of more than %d bytes", maxMessage))
	}
	_, _ = io.Copy(io.Discard, r) // so that it can end
}

// refuse kills a worker that does not keep to the protocol.
func (p *Process) refuse(what string) {
	p.kill(killing{scanner.OutcomeKilled, "the worker " + what + ", and was killed for it"})
}

// take acts on a message.
func (p *Process) take(m *message) error {
	switch {
	case m.Hello != nil:
		return p.greet(m.Hello)
	case m.Log != nil:
		p.cfg.Log(m.Log.Level, "worker", cut(m.Log.Text))
		return nil
	}
	p.mu.Lock()
	a := p.current
	p.mu.Unlock()
	if a == nil {
		return errors.New("told of a task that it does not have")
	}
	if m.Progress != nil {
		p.noteProgress(a, m.Progress)
		return nil
	}
	p.noteProgress(a, &m.Ended.Last)
	p.mu.Lock()
	p.current = nil
	p.mu.Unlock()
	a.end = m.Ended
	close(a.done)
	return nil
}

func (p *Process) greet(h *hello) error {
	select {
	case <-p.ready:
		return errors.New("said hello twice")
	default:
	}
	if h.Protocol != protocol {
		return fmt.Errorf("is of another version (%s, protocol %d instead of %d): %s was replaced, restart the server", cut(h.Version), h.Protocol, protocol, p.cfg.Program)
	}
	close(p.ready)
	return nil
}

// cut bounds a text, and makes it valid.
func cut(s string) string {
	if len(s) > maxText {
		return strings.ToValidUTF8(s[:maxText-len("…")], "") + "…"
	}
	return strings.ToValidUTF8(s, "?") // not longer than what was there
}
