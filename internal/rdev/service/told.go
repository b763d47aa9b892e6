package service

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"time"

	"stella/internal/rdev"
)

// sampleEvery is the least time between two lines of the service's own log about the output of one stream of a command.
const sampleEvery = 100 * time.Millisecond

// told says at level debug, in lines with the words "output line", how much a command prints: who looks for one that
// prints too much finds it by them. They are sampled, and say how many lines of the command each stands for. The
// function that it returns says the rest, and is to be called once nothing writes any more.
func (s *Service) told(id string, stream rdev.Stream, w io.Writer) (_ io.Writer, rest func()) {
	if !s.log.Enabled(context.Background(), slog.LevelDebug) {
		return w, func() {}
	}
	t := &teller{Writer: w, log: s.log.With("command", id, "stream", stream)}
	return t, func() {
		if t.bytes > 0 {
			t.say()
		}
	}
}

type teller struct {
	io.Writer
	log          *slog.Logger
	said         time.Time
	lines, bytes int
}

// Write writes, and counts.
func (t *teller) Write(b []byte) (int, error) {
	t.lines += bytes.Count(b, []byte{'\n'})
	t.bytes += len(b)
	if now := time.Now(); now.Sub(t.said) >= sampleEvery {
		t.say()
		t.said = now
	}
	return t.Writer.Write(b)
}

func (t *teller) say() {
	t.log.Debug("output line", "lines", t.lines, "bytes", t.bytes)
	t.lines, t.bytes = 0, 0
}
