package outlog

// layout says how many blocks a log has, and how many lines they may have together. It is fixed when the
// log is created.
type layout struct {
	Head      uint64 `json:"head"` // blocks
	Ring      uint64 `json:"ring"`
	HeadLines int64  `json:"head_lines"`
	RingLines int64  `json:"ring_lines"`
}

// ringSteps is into how many blocks the lines of a ring are divided at least: with few lines allowed, so much of them goes at a time.
const ringSteps = 8

func (l Limits) layout() layout {
	bytes, lines := l.Bytes, l.Lines
	if bytes == 0 {
		bytes = DefaultBytes
	}
	bytes = min(max(bytes, MinBytes), MaxBytes)
	if lines == 0 {
		lines = max(DefaultLines, bytes*DefaultLines/DefaultBytes)
	}
	lines = max(lines, MinLines)
	blocks := uint64((bytes - blocksAt) / blockSize)
	head := max(blocks/4, 1)
	return layout{Head: head, Ring: blocks - head, HeadLines: lines / 4, RingLines: lines - lines/4}
}

// valid says whether a layout from a file can be one.
func (y layout) valid() bool {
	return y.Head > 0 && y.Ring > 0 && y.Head <= MaxBytes/blockSize && y.Ring <= MaxBytes/blockSize && y.RingLines > 0
}

// size is the most that a file takes, in bytes.
func (y layout) size() int64 { return blocksAt + int64(y.Head+y.Ring)*blockSize }

// slot is where in the file a block is.
func (y layout) slot(number uint64) uint64 {
	if number < y.Head {
		return number
	}
	return y.Head + (number-y.Head)%y.Ring
}

// at is the offset of a block in the file.
func (y layout) at(number uint64) int64 { return blocksAt + int64(y.slot(number))*blockSize }

// stepLines is how many lines one block of the ring may have.
func (y layout) stepLines() int64 { return max(y.RingLines/ringSteps, 1) }
