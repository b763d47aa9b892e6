package cli

import (
	"io"
	"sync"
	"time"

	"stella/internal/client"
	"stella/internal/rdev"
)

const (
	// printPause is the least time between two writes while a command prints fast: a write takes some microseconds, however
	// long it is, and who writes a million of them falls behind what the service keeps.
	printPause = 5 * time.Millisecond
	// maxPrint is how many bytes are collected in it, at most.
	maxPrint = 64 << 10
)

// printer writes what a command prints: at once after a pause, and else collected for [printPause].
type printer struct {
	app            *app
	stdout, stderr io.Writer
	only           rdev.Stream // empty for both
	end            *rdev.End   // set by the event

	mu     sync.Mutex
	to     io.Writer // where what was collected goes
	buf    []byte
	pause  *time.Timer // runs while it is collected
	pauses bool
	err    error // of the first write that failed
}

// show lets follow tell events, and writes what is left when it returns.
func (p *printer) show(follow func(event func(client.OutputEvent) error) error) error {
	p.pause = time.AfterFunc(time.Hour, p.paused)
	p.pause.Stop()
	err := follow(p.event)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pause.Stop()
	p.pauses = false
	if p.flush(); err == nil {
		err = p.err
	}
	return err
}

func (p *printer) event(e client.OutputEvent) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case e.Gap != nil:
		p.flush()
		p.app.warn(countOf(int64(e.Gap.Dropped), "record") + " of the output were dropped before they came here: the command printed more than is kept (--output-limit)")
	case e.End != nil:
		p.end = e.End
	case p.only == "" || p.only == e.Output.Stream:
		p.add(e)
	}
	return p.err
}

func (p *printer) add(e client.OutputEvent) {
	w := p.stdout
	if e.Output.Stream == rdev.Stderr {
		w = p.stderr
	}
	if w != p.to { // in the order in which it was printed
		p.flush()
		p.to = w
	}
	p.buf = append(append(append(p.buf, e.Output.Text...), e.Output.Base64...), e.Output.End...)
	if p.pauses && len(p.buf) < maxPrint {
		return
	}
	p.flush()
	p.begin()
}

func (p *printer) begin() {
	p.pauses = true
	p.pause.Reset(printPause)
}

// paused writes what came during a pause, if anything did, and then begins another.
func (p *printer) paused() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.pauses {
		return // it was the last
	}
	if p.pauses = len(p.buf) > 0; p.pauses {
		p.flush()
		p.begin()
	}
}

func (p *printer) flush() {
	if p.err == nil && len(p.buf) > 0 {
		_, p.err = p.to.Write(p.buf)
	}
	p.buf = p.buf[:0]
}
