package ledger

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"time"

	"stella/internal/oom/ledger/join"
)

// record is what one record of the journal holds: versions of kills, and how far everything was read
// when that was known.
type record struct {
	// Number counts records. One that comes after a checkpoint with a greater number is in that already, but for its kills.
	Number uint64 `json:"r"`
	// First is the number of the first version here.
	First uint64 `json:"v"`
	join.State
	Kills []join.Entry `json:"kills,omitempty"`
	// Tag is set where it changed: what IDs begin with.
	Tag        string      `json:"tag,omitempty"`
	Checkpoint *checkpoint `json:"checkpoint,omitempty"`
}

// checkpoint is what all records before it come to.
type checkpoint struct {
	Time time.Time `json:"time"`
	// First is the number of the first kill in the segment, and Before how many there were before it.
	First  uint64 `json:"first"`
	Before int64  `json:"before"`
	// Kills is how many there were ever, and Dropped how many of them were never written.
	Kills   int64  `json:"kills"`
	Dropped int64  `json:"dropped,omitempty"`
	Totals  totals `json:"totals"`
}

func (r *record) encode() []byte {
	b, err := json.Marshal(r)
	if err != nil {
		panic("ledger: a record cannot be written as JSON: " + err.Error()) // its types can always be
	}
	return b
}

// tagLen is the length of the tag: another boot of the machine has another, so that a kill has no ID
// of one that was lost with the power.
const tagLen = 4

func newTag() string {
	var b [tagLen / 2]byte
	_, _ = rand.Read(b[:]) // it never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}

// id is the name of the nth kill.
func (l *Ledger) id(n uint64) string { return l.store.tag + strconv.FormatUint(n, 16) }

// number is the number of the kill with that name.
func number(id string) (uint64, bool) {
	if len(id) <= tagLen {
		return 0, false
	}
	n, err := strconv.ParseUint(id[tagLen:], 16, 64)
	return n, err == nil
}

// Later reports whether a kill was numbered after another one of the same ledger and boot; IDs of which one is none are not.
func Later(id, than string) bool {
	n, ok := number(id)
	m, known := number(than)
	return ok && known && id[:tagLen] == than[:tagLen] && n > m
}
