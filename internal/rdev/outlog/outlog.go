// Package outlog keeps what commands print, each in a log of its own: a file of bounded size,
// which is written once and read by many while it grows, in memory that does not grow with it.
//
// Words: a log is a sequence of [Record]s, numbered from 1. The number of the last record that a reader was told is
// its cursor. Of a long log the head and the tail are kept; what is between them is dropped, and a reader whose cursor
// is there gets a gap. The [rdev.End] of the command is the last that a log is told.
//
// # The file
//
// A log is one file: a page of what it is, a page for its end, and then blocks of the same size. A quarter of them is
// the head; the others are a ring, in which the newest block overwrites the oldest. A block begins with a
// header that says the number of its first record, and how many lines and bytes came before it, so that any record
// and any line is found by the headers alone. Every record has a checksum which its number is a part of: what
// is left of the block that was there before, or of a write that did not finish, is not taken for a record.
//
// # What is shown when
//
// Lines get their order from where they end, as they are given to the log; streams are not cut into each other's lines.
// What was written to stdout and to stderr within a moment may have changed places before it came here: they
// are two pipes, each read on its own.
//
// A record is at the latest [Batch] behind what was written; a line that is not finished is shown as it is after [PartialWait]. A carriage
// return ends a record only where one has to be cut off, by its length or after [PartialWait]: so a progress bar that is
// drawn a thousand times in a second costs twenty records in it, each with the states it went through. The data of all
// records of a stream and their ends, one behind the other, are what the program wrote, byte for byte.
//
// Hazards: a killed process loses what is not yet in the file, at most the last [Batch] and unfinished lines of
// [PartialWait]; a power cut loses more of a log that has not ended, as only [Log.End] waits for the disk. Two
// processes must not have the same directory open.
package outlog

import (
	"errors"
	"time"

	"stella/internal/rdev"
)

// What is kept of one command where nothing else is asked for. Who asks for more bytes alone may have as many more lines.
const (
	DefaultBytes = 16 << 20
	DefaultLines = 1_000_000
)

// The bounds of what can be asked for.
const (
	MinBytes = 1 << 20 // a few blocks in the head and in the ring
	MaxBytes = 2 << 30 // what is known of the blocks of such a log takes 400 KiB
	MinLines = 64
)

// MaxRecord is the most bytes of data in one record: a longer line becomes several records.
const MaxRecord = 64 << 10

// MinBuffer is the least that [Log.Read] can work with: the longest record, with its header.
const MinBuffer = MaxRecord + recordHeader

const (
	// Batch is how long records are collected before they are written to the file and
	// readers are woken; the first after a pause does not wait. It is what keeps a fast writer from waking every reader for each line.
	Batch = 20 * time.Millisecond
	// PartialWait is how long a line may be unfinished before it is shown as it is: a prompt, or a row of dots.
	PartialWait = 50 * time.Millisecond
)

var (
	// ErrEnded says that a log has its end: nothing comes behind it.
	ErrEnded = errors.New("the log has ended")
	// ErrBeyond says that a cursor is behind the last record, so that it was never given by this log.
	ErrBeyond = errors.New("there is no such record yet")
	// ErrNoRoom says that running commands have reserved all space that there is for logs.
	ErrNoRoom = errors.New("no room for another log")
)

// Limits are what is kept of one log: a quarter of them at its head and the rest at its
// tail. 0 is the default; what is out of bounds is brought within them.
type Limits struct {
	// Bytes is the size of the file, with the 12 bytes that each record takes beside its data.
	Bytes int64
	// Lines is how many lines that end with a line feed.
	Lines int64
}

// Record is a line, or a piece of one.
type Record struct {
	Seq    uint64
	Stream rdev.Stream
	Time   time.Time // of when the last byte of it was written, in milliseconds
	// End is the byte that ended it, which is not in Data: "\n", "\r", or "" where more of the line follows or
	// the program wrote no more.
	End string
	// Data is any bytes, also carriage returns, valid until the function that it was given to returns.
	Data []byte
}

// Position says where a reader is.
type Position struct {
	// Next is the cursor to go on from: the number of the last record that was told, or that is known not to be there.
	Next uint64
	// Gap is how many records behind the old cursor are not kept, before the first that was told.
	Gap uint64
	// Last is the number of the last record that there is.
	Last uint64
	// End is set where Next is Last and nothing follows. It must not be changed.
	End *rdev.End
}

// State is what is known of a log.
type State struct {
	rdev.Output
	// Lost is how many records could not be written, and Failure why the last of them could not; it is empty while writing works.
	Lost    int64  `json:"lost,omitempty"`
	Failure string `json:"failure,omitempty"`
	// Ended is when the log got its end; it is zero before.
	Ended time.Time `json:"ended,omitzero"`
}
