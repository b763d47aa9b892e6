package outlog

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"stella/internal/rdev"
)

// The places in a file.
const (
	endAt     = 4 << 10
	endSize   = 8 << 10
	blocksAt  = endAt + endSize
	blockSize = 132 << 10 // whole pages that two of the longest records fit into, so that at least half of a block is of use
)

const (
	blockMagic  = 0x316b6c62 // "blk1"
	blockHeader = 64
	// recordHeader is a checksum, a word of length and flags, and the milliseconds since the block's time, each of four bytes.
	recordHeader = 12
)

// The word of a record: the length of its data in the lower bits, then what is said of it.
const (
	lengthMask  = 1<<24 - 1
	flagRecord  = 1 << 31 // so that zeros are no record
	flagStderr  = 1 << 24
	flagNewline = 1 << 25
	flagReturn  = 1 << 26
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// header begins a block. The counts are of what came before it.
type header struct {
	number   uint64 // of the block, counted over the whole log
	first    uint64 // number of its first record
	lines    int64
	bytes    int64 // what the program wrote
	lost     int64
	headLast uint64 // last record before the ring; 0 in the head
	time     int64  // that its records' times are counted from, in milliseconds since 1970
}

func (h header) append(b []byte) []byte {
	start := len(b)
	b = binary.LittleEndian.AppendUint32(b, blockMagic)
	b = binary.LittleEndian.AppendUint32(b, 0)
	for _, v := range [...]uint64{h.number, h.first, uint64(h.lines), uint64(h.bytes), uint64(h.lost), h.headLast, uint64(h.time)} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	binary.LittleEndian.PutUint32(b[start+4:], crc32.Checksum(b[start+8:start+blockHeader], castagnoli))
	return b
}

// parseHeader also says whether there is one.
func parseHeader(b []byte) (header, bool) {
	if len(b) < blockHeader || binary.LittleEndian.Uint32(b) != blockMagic ||
		binary.LittleEndian.Uint32(b[4:]) != crc32.Checksum(b[8:blockHeader], castagnoli) {
		return header{}, false
	}
	at := func(i int) uint64 { return binary.LittleEndian.Uint64(b[8+8*i:]) }
	return header{at(0), at(1), int64(at(2)), int64(at(3)), int64(at(4)), at(5), int64(at(6))}, true
}

// checksum of a record behind its checksum. The number is in it, so that a record of an
// older round of the ring, in the same place, is not taken for one of this round.
func checksum(seq uint64, b []byte) uint32 {
	return crc32.Update(uint32(seq)^uint32(seq>>32), castagnoli, b)
}

func appendRecord(b []byte, seq uint64, stream rdev.Stream, since int64, end string, data []byte) []byte {
	word := uint32(len(data)) | flagRecord
	if stream == rdev.Stderr {
		word |= flagStderr
	}
	switch end {
	case "\n":
		word |= flagNewline
	case "\r":
		word |= flagReturn
	}
	start := len(b)
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint32(b, word)
	b = binary.LittleEndian.AppendUint32(b, uint32(since))
	b = append(b, data...)
	binary.LittleEndian.PutUint32(b[start:], checksum(seq, b[start+4:]))
	return b
}

// recordSize is how long the record at the beginning of b is, 0 where there is none. b has at least its header.
func recordSize(b []byte) int {
	word := binary.LittleEndian.Uint32(b[4:])
	if n := int(word & lengthMask); word&flagRecord != 0 && n <= MaxRecord {
		return recordHeader + n
	}
	return 0
}

// parseRecord reads the record with the number seq from b, which has just its size. base is the block's time.
func parseRecord(b []byte, seq uint64, base int64) (Record, bool) {
	if binary.LittleEndian.Uint32(b) != checksum(seq, b[4:]) {
		return Record{}, false
	}
	word := binary.LittleEndian.Uint32(b[4:])
	r := Record{Seq: seq, Stream: rdev.Stdout, Data: b[recordHeader:]}
	r.Time = time.UnixMilli(base + int64(binary.LittleEndian.Uint32(b[8:])))
	if word&flagStderr != 0 {
		r.Stream = rdev.Stderr
	}
	switch {
	case word&flagNewline != 0:
		r.End = "\n"
	case word&flagReturn != 0:
		r.End = "\r"
	}
	return r, true
}

// meta is the first page of a file.
type meta struct {
	Version int `json:"version"`
	layout
}

// endPage is written when the log ends, and says what a reader would else have to look for.
type endPage struct {
	Time   time.Time `json:"time"`
	End    rdev.End  `json:"end"`
	Last   uint64    `json:"last"`
	Lines  int64     `json:"lines"`
	Bytes  int64     `json:"bytes"`
	Lost   int64     `json:"lost"`
	Open   bool      `json:"open"`
	Oldest uint64    `json:"oldest"`
	Used   int64     `json:"used"`
}

// errNoPage says that a page is empty or damaged.
var errNoPage = errors.New("no valid page")

// writePage writes v with a checksum, so that a page which was not written as a whole is known.
func writePage(w io.WriterAt, at int64, size int, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(text) > size-8 {
		return fmt.Errorf("%d bytes, more than the %d that fit", len(text), size-8)
	}
	page := make([]byte, size)
	binary.LittleEndian.PutUint32(page, uint32(len(text)))
	binary.LittleEndian.PutUint32(page[4:], crc32.Checksum(text, castagnoli))
	copy(page[8:], text)
	_, err = w.WriteAt(page, at)
	return err
}

func readPage(r io.ReaderAt, at int64, size int, v any) error {
	page := make([]byte, size)
	if n, err := r.ReadAt(page, at); err != nil && err != io.EOF {
		return err
	} else if n < size {
		return errNoPage
	}
	n := binary.LittleEndian.Uint32(page)
	if n == 0 || int(n) > size-8 || binary.LittleEndian.Uint32(page[4:]) != crc32.Checksum(page[8:8+n], castagnoli) {
		return errNoPage
	}
	return json.Unmarshal(page[8:8+n], v)
}
