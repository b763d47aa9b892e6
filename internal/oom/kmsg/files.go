package kmsg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/klauspost/compress/gzip"

	"stella/internal/oom"
)

// MaxLine is the most bytes of a line that are looked at; the rest is skipped, and [Summary.Cut] counts the line. A
// record of the kernel has 1 KiB and, as an array of numbers in the journal's JSON, less than 16. It is also the
// size of the buffer, and that fits into the cache of a processor.
const MaxLine = 256 << 10

// FileOptions says what a log itself does not.
type FileOptions struct {
	// Location is the zone of times without one; nil is UTC.
	Location *time.Location
	// Year is that of the first time without one. With 0 such times are the latest that are not after now.
	Year int
	// Written is when the log was last written, if that is known: with Year 0, times without a year are the latest that are
	// not after it.
	Written time.Time
	// PageSize is that of the machine in bytes; 0 is what the log tells, or else 4096.
	PageSize int64
	// Other is given lines that are not of the kernel (containerd, kubelet…), or may not be: only those that have
	// one of OtherWords, if there are any, which is much faster than all.
	Other      func(Line)
	OtherWords []string
	// Unanswered is given each header for which no line says who was killed, nor that nobody was. It has no process.
	Unanswered func(oom.Report)
}

// Summary says what was in a log.
type Summary struct {
	Bytes      int64 // decompressed
	Lines      int64
	Cut        int64 // lines longer than MaxLine
	Reports    int64
	Unfinished int64 // headers for which no line says who was killed
	// First and Last are the first and the last time that was seen, roughly: not all lines are looked at.
	First, Last time.Time
}

// words are what the lines have that begin a report or make one; those between are looked at when one is open. An array of
// bytes in the journal's JSON may be anything.
var words = []string{
	"oom-kill", "Killed process ", " killed as a result of limit of ", "memory.oom.group set", "OOM victim ", "no killable process",
	"Linux version ", `MESSAGE":[`, `MESSAGE" : [`,
}

// Files reads a log to its end and gives each kill to emit, in order, with what more the log says of it (its group, that it
// is told of again) joined into one. The log may be in any form in docs/oom-formats.md, in several, and compressed with
// gzip. It needs about 1 MiB. An error of emit ends it and is returned as it is; any other tells how far it came, and
// what was found until then has been given.
func Files(ctx context.Context, r io.Reader, o FileOptions, emit func(oom.Report) error) (Summary, error) {
	if o.Location == nil {
		o.Location = time.UTC
	}
	if o.Written.IsZero() {
		o.Written = time.Now()
	}
	in, err := decompressed(r)
	if err != nil {
		return Summary{}, fmt.Errorf("read log: %w", err)
	}
	f := &file{
		options: o, reports: Reports{PageSize: o.PageSize, Unanswered: o.Unanswered}, buffer: make([]byte, MaxLine), lead: leadLines,
		prefixes: prefixes{clock: clock{location: o.Location, year: o.Year, now: o.Written}},
		finder:   newFinder(slices.Concat(words, o.OtherWords)),
		kills:    merger{emit: emit},
	}
	err = f.read(ctx, in)
	if err == nil || !errors.As(err, new(*emitError)) {
		err = errors.Join(err, f.kills.flush())
	}
	f.summary.Reports = f.kills.emitted
	f.reports.Reset() // what is open stays so
	f.summary.Unfinished = int64(f.reports.Unfinished())
	if failed := new(emitError); errors.As(err, &failed) {
		return f.summary, failed.err
	}
	if err != nil {
		return f.summary, fmt.Errorf("read log, after %d bytes: %w", f.summary.Bytes, err)
	}
	return f.summary, nil
}

// decompressed looks at the first bytes.
func decompressed(r io.Reader) (io.Reader, error) {
	head := make([]byte, 2)
	n, err := io.ReadFull(r, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	whole := io.MultiReader(bytes.NewReader(head[:n]), r)
	if n == 2 && head[0] == 0x1f && head[1] == 0x8b {
		return gzip.NewReader(whole) // several of them, one behind the other, are one
	}
	return whole, nil
}

// leadLines are looked at one by one: a log may begin in the middle of a report, whose first line is gone. The table of a
// report with more processes than that is not worth the time.
const leadLines = 2000

// file is one log being read.
type file struct {
	options  FileOptions
	reports  Reports
	prefixes prefixes
	journal  journal
	finder   *finder
	kills    merger
	summary  Summary
	buffer   []byte
	lead     int  // lines until only those with words are looked at
	cut      bool // the rest of a line is to be skipped
}

// read fills the buffer again and again, and takes out all whole lines.
func (f *file) read(ctx context.Context, in io.Reader) error {
	have := 0
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, failed := in.Read(f.buffer[have:])
		f.summary.Bytes += int64(n)
		have += n
		end := have
		if failed == nil {
			end = f.whole(have, n)
		}
		if err := f.take(f.buffer[:end], failed != nil); err != nil {
			return err
		}
		if errors.Is(failed, io.EOF) {
			return nil
		}
		if failed != nil {
			return failed
		}
		have = copy(f.buffer, f.buffer[end:have])
	}
}

// whole is how much of what is in the buffer is whole lines, or is to go because the buffer is full. The last n bytes are new.
func (f *file) whole(have, n int) int {
	if i := bytes.LastIndexByte(f.buffer[have-n:have], '\n'); i >= 0 {
		return have - n + i + 1
	}
	if have == len(f.buffer) {
		return have
	}
	return 0
}

// take takes in whole lines, or the beginning or the middle of a line that is too long. atEnd says that no more comes.
func (f *file) take(b []byte, atEnd bool) error {
	if f.cut {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			return nil
		}
		b, f.cut = b[i+1:], false
	}
	if len(b) == 0 {
		return nil
	}
	if !atEnd && b[len(b)-1] != '\n' {
		f.cut = true
		f.summary.Cut++
	}
	return f.lines(b)
}

// lines takes in whole lines: one by one as long as a header is open, otherwise those with words.
func (f *file) lines(b []byte) error {
	f.summary.Lines += int64(bytes.Count(b, []byte("\n")))
	if b[len(b)-1] != '\n' {
		f.summary.Lines++
	}
	wanted := f.options.Other != nil && len(f.options.OtherWords) == 0
	f.finder.reset(b)
	skipped := false
	for at := 0; at < len(b); {
		if f.lead > 0 {
			f.lead--
		} else if !wanted && !f.prefixes.relative && !f.reports.Open() {
			next := f.finder.from(b, at)
			start := bytes.LastIndexByte(b[at:next], '\n') + 1 + at
			skipped = next == len(b)
			if at = start; skipped {
				break
			}
		}
		line, _, _ := bytes.Cut(b[at:], []byte("\n"))
		if err := f.line(line); err != nil {
			return err
		}
		at += len(line) + 1
	}
	if skipped { // for the time
		line := bytes.TrimSuffix(b, []byte("\n"))
		l, _ := f.apart(line[bytes.LastIndexByte(line, '\n')+1:])
		f.note(l.Time)
	}
	return nil
}
