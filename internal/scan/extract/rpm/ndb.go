package rpm

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The ndb format is rpm's own (lib/backend/ndb/rpmpkg.c in its source). The first pages hold a header and
// slots, one per record, with number, place and length of its blob in blocks; a
// blob stands between a head and a tail. All numbers are little-endian.
const (
	ndbMagic    = "RpmP"
	ndbHeader   = 32
	ndbPage     = 4096
	ndbSlot     = 16
	ndbBlock    = 16
	ndbBlobHead = 16
	ndbBlobTail = 12
)

// ndb reads all records of an ndb file.
func (d *database) ndb() error {
	slots := d.src.window(minWindow)
	blobs := d.src.window(minWindow)
	head, err := slots.at(0, ndbHeader)
	if err != nil {
		return fmt.Errorf("the rpm database (ndb) is cut off: %w", err)
	}
	if v := binary.LittleEndian.Uint32(head[4:]); v != 0 {
		return fmt.Errorf("the rpm database (ndb) has version %d, which is not known", v)
	}
	end := int64(binary.LittleEndian.Uint32(head[12:])) * ndbPage
	if end == 0 || end > d.src.size {
		return fmt.Errorf("the rpm database (ndb) is corrupt: it states %d bytes of slots in a file of %d bytes", end, d.src.size)
	}
	for off := int64(ndbHeader); off < end; off += ndbSlot {
		if off%ndbPage == 0 {
			if err := d.stopped(); err != nil {
				return err
			}
		}
		raw, err := slots.at(off, ndbSlot)
		if err != nil {
			return err
		}
		sound, number := string(raw[:4]) == "Slot", binary.LittleEndian.Uint32(raw[4:])
		if sound && number == 0 {
			continue // not in use
		}
		if !sound {
			err = errors.New("it does not begin as a slot does")
		} else {
			err = d.ndbRecord(blobs, number, int64(binary.LittleEndian.Uint32(raw[8:])), int64(binary.LittleEndian.Uint32(raw[12:])))
		}
		if err := d.tolerate(err, "the slot at byte %d of the rpm database was left out", off); err != nil {
			return err
		}
	}
	return nil
}

// ndbRecord reads the record whose blob is in count blocks from block first.
func (d *database) ndbRecord(w *window, number uint32, first, count int64) error {
	off := first * ndbBlock
	head, err := w.at(off, ndbBlobHead)
	if err != nil {
		return err
	}
	size := int64(binary.LittleEndian.Uint32(head[12:]))
	if string(head[:4]) != "BlbS" || binary.LittleEndian.Uint32(head[4:]) != number {
		return fmt.Errorf("record %d does not begin at byte %d", number, off)
	}
	if count != (ndbBlobHead+size+ndbBlobTail+ndbBlock-1)/ndbBlock {
		return fmt.Errorf("record %d has %d bytes, and %d blocks are stated", number, size, count)
	}
	tail, err := w.at(off+count*ndbBlock-ndbBlobTail, ndbBlobTail)
	if err != nil {
		return err
	}
	if string(tail[8:]) != "BlbE" || int64(binary.LittleEndian.Uint32(tail[4:])) != size {
		return fmt.Errorf("record %d does not end after the %d bytes that it states", number, size)
	}
	if err := d.spend(size); err != nil {
		return err
	}
	at, left := off+ndbBlobHead, size
	return d.record(uint64(number), &blob{size: size, left: size, next: func() ([]byte, error) {
		n := min(left, minWindow)
		c, err := w.at(at, int(n))
		at, left = at+n, left-n
		return c, err
	}})
}
