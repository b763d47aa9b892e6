package tree

import (
	"bytes"
	"encoding/binary"
	"iter"
)

// inotifyEvent is one event of inotify(7). The name is valid until the next read.
type inotifyEvent struct {
	wd   int32
	mask uint32
	name []byte
}

// inotifyEvents are the records in what one read gave: wd, mask, cookie and the length of
// the name, 4 bytes each, and the name with NULs behind it.
func inotifyEvents(buf []byte) iter.Seq[inotifyEvent] {
	const header = 16
	return func(yield func(inotifyEvent) bool) {
		for len(buf) >= header {
			length := uint64(binary.NativeEndian.Uint32(buf[12:]))
			if length > uint64(len(buf)-header) {
				return
			}
			e := inotifyEvent{
				wd:   int32(binary.NativeEndian.Uint32(buf)),
				mask: binary.NativeEndian.Uint32(buf[4:]),
				name: untilNUL(buf[header : header+length]),
			}
			buf = buf[header+length:]
			if !yield(e) {
				return
			}
		}
	}
}

// entry is one entry of a directory.
type entry struct {
	kind byte // DT_DIR and the like
	name []byte
}

// directoryEntries are the records in what one getdents64(2) gave: inode and offset, 8
// bytes each, the length of the record in 2, the kind in 1, and the name with NULs behind it.
func directoryEntries(buf []byte) iter.Seq[entry] {
	const header = 19
	return func(yield func(entry) bool) {
		for len(buf) >= header {
			length := int(binary.NativeEndian.Uint16(buf[16:]))
			if length < header || length > len(buf) {
				return
			}
			e := entry{kind: buf[18], name: untilNUL(buf[header:length])}
			buf = buf[length:]
			if !yield(e) {
				return
			}
		}
	}
}

func untilNUL(b []byte) []byte {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		return b[:i]
	}
	return b
}
