package worker

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"stella/internal/bytesize"
	"stella/internal/scan"
	"stella/internal/scanner"
)

const (
	// tellEvery is how often a worker tells how far it is, between the steps that it
	// tells at once.
	tellEvery = 200 * time.Millisecond
	// maxTaskLogs is how many lines one task may log. An image can make an
	// extractor complain of each of its files.
	maxTaskLogs = 500
)

// progress tells the server how far a scan is.
type progress struct {
	monitor scan.Monitor
	out     *teller
	log     *slog.Logger

	stopped chan struct{}
	ticking sync.WaitGroup

	mu    sync.Mutex // so that what is told comes in order
	phase string
	peak  int64
}

func newProgress(out *teller, log *slog.Logger) *progress {
	p := &progress{out: out, log: log, stopped: make(chan struct{})}
	p.monitor.Notify = p.tell
	return p
}

func (p *progress) start() {
	// From here on the kernel's high-water mark is of this task (proc_pid_clear_refs(5));
	// where it cannot be set, it is of the worker's life.
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0)
	p.tell()
	p.ticking.Go(func() {
		t := time.NewTicker(tellEvery)
		defer t.Stop()
		for {
			select {
			case <-p.stopped:
				return
			case <-t.C:
				p.tell()
			}
		}
	})
}

// stop ends the telling, and returns what would be told last.
func (p *progress) stop() progressMessage {
	close(p.stopped)
	p.ticking.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now()
}

func (p *progress) tell() {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.now()
	if m.Phase != p.phase {
		p.phase = m.Phase
		p.log.Debug("sbom: phase "+m.Phase, "resident", bytesize.Text(m.RSS), "peak", bytesize.Text(m.Peak), "packages", m.Packages)
	}
	// When the server is gone, the end of standard input says so.
	_ = p.out.tell(message{Progress: &m})
}

// now is the state of the scan. Of several files that are being read, the largest is told.
func (p *progress) now() progressMessage {
	s := p.monitor.Snapshot()
	m := progressMessage{Progress: scanner.Progress{
		Phase: string(s.Phase), Layers: s.Layers, Done: s.Done, Cached: s.Cached,
		Read: s.Read, Total: s.Total, Packages: s.Packages, Layer: -1,
	}}
	if m.Phase == "" {
		m.Phase = "opening"
	}
	size := int64(-1)
	for _, a := range s.Active {
		if m.Layer < 0 || a.Path != "" && a.Size > size {
			m.Layer, m.Path = a.Layer, cut(a.Path)
		}
		if a.Path != "" {
			size = max(size, a.Size)
		}
	}
	if text, err := os.ReadFile("/proc/self/status"); err == nil {
		m.RSS, p.peak = parseStatus(string(text), "VmRSS"), parseStatus(string(text), "VmHWM")
	}
	m.Peak = p.peak
	return m
}

// parseStatus returns an amount of /proc/PID/status, in bytes, and 0 where there is none.
func parseStatus(text, key string) int64 {
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, key+":")
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
		if err != nil || n < 0 || n > 1<<50 {
			return 0
		}
		return n << 10
	}
	return 0
}

// quota counts down the lines that a task may still log.
type quota struct{ used atomic.Int64 }

// logHandler tells the server log lines: the message, and attributes behind it.
type logHandler struct {
	out   *teller
	left  *quota
	attrs string
}

// Enabled implements slog.Handler: the server chooses.
func (h *logHandler) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler.
func (h *logHandler) Handle(_ context.Context, r slog.Record) error {
	m := logMessage{Level: r.Level, Text: r.Message + h.attrs}
	switch n := h.left.used.Add(1); {
	case n > maxTaskLogs:
		return nil
	case n == maxTaskLogs:
		m.Text = fmt.Sprintf("this task has logged %d lines; the rest is left out", maxTaskLogs)
	default:
		r.Attrs(func(a slog.Attr) bool {
			m.Text += attrText(a)
			return true
		})
	}
	m.Text = cut(m.Text)
	return h.out.tell(message{Log: &m})
}

// WithAttrs implements slog.Handler.
func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	for _, a := range attrs {
		c.attrs += attrText(a)
	}
	return &c
}

// WithGroup implements slog.Handler. A person needs no groups.
func (h *logHandler) WithGroup(string) slog.Handler { return h }

func attrText(a slog.Attr) string {
	text := a.Value.String()
	if text == "" || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == '"' || r == 0x7f }) {
		text = strconv.Quote(text)
	}
	return " " + a.Key + "=" + text
}
