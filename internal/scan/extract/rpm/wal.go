package rpm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"stella/internal/scan/extract"
)

const (
	walHeader = 32
	walFrame  = 24 // the head of a frame; a page follows
	walMagic  = 0x377f0682
)

// wal looks at the write-ahead log beside a database. Its changes cannot be applied: database and log come one by one. That
// the database is in WAL mode says nothing, as rpm always sets it; rpm cuts the
// log to nothing when it closes the database, so that a log that holds
// something was left by an rpm that did not finish.
func wal(f *extract.File, out extract.Output) error {
	head := make([]byte, walHeader+walFrame)
	if _, err := io.ReadFull(f, head); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil // no frame, so nothing is missing
		}
		return fmt.Errorf("read the write-ahead log of the rpm database: %w", err)
	}
	// A frame whose salt is not the log's was written before the log began anew: it is in the database already.
	magic := binary.BigEndian.Uint32(head)
	if magic&^1 != walMagic || !bytes.Equal(head[16:24], head[walHeader+8:][:8]) {
		return nil
	}
	out.Partial(fmt.Sprintf("the rpm database has a write-ahead log of %d bytes, which is not read: packages that were installed, updated or removed last may be missing or wrong", f.Size))
	return nil
}
