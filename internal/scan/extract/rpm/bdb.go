package rpm

import (
	"encoding/binary"
	"fmt"
)

// A Berkeley DB hash is a file of pages (dbinc/db_page.h in its source). Page 0
// describes the file. A hash page holds pairs of items, key and value, that
// grow from its end towards the list of their places; a large value stands in a chain of overflow pages.
// Which bucket a page serves does not matter here: all hash pages are read in
// their order. Numbers are in the byte order of the machine that wrote them.
const (
	bdbHashMagic  = 0x061561
	bdbMetaSize   = 72
	bdbPageHeader = 26

	bdbInvalid      = 0 // page not in use
	bdbHashUnsorted = 2
	bdbOverflow     = 7
	bdbHashMeta     = 8
	bdbHash         = 13

	bdbItemData    = 1 // item on the page itself
	bdbItemOffPage = 3 // item in overflow pages
)

// bdbFile is one open Berkeley DB file.
type bdbFile struct {
	*database
	order    binary.ByteOrder
	pageSize int
	last     int64   // number of the last page
	pages    *window // on the hash page that is being read
	chain    *window // on its overflow pages
}

// bdb reads all records of a Berkeley DB hash.
func (d *database) bdb(order binary.ByteOrder) error {
	b := &bdbFile{database: d, order: order}
	if err := b.open(); err != nil {
		return err
	}
	for n := int64(1); n <= b.last; n++ {
		if err := d.tolerate(b.page(n), "page %d of the rpm database was left out", n); err != nil {
			return err
		}
	}
	return nil
}

// open reads page 0.
func (b *bdbFile) open() error {
	meta, err := b.src.window(minWindow).at(0, bdbMetaSize)
	if err != nil {
		return fmt.Errorf("the rpm database (Berkeley DB) is cut off: %w", err)
	}
	b.pageSize = int(b.order.Uint32(meta[20:]))
	b.last = int64(b.order.Uint32(meta[32:]))
	switch p := b.pageSize; {
	case p < 512 || p > 64<<10 || p&(p-1) != 0:
		return fmt.Errorf("the rpm database (Berkeley DB) is corrupt: it states pages of %d bytes", p)
	case meta[24] != 0 || meta[26]&1 != 0:
		return fmt.Errorf("the rpm database (Berkeley DB) is encrypted or has checksums, which rpm never makes: it cannot be read")
	}
	if have := b.src.size/int64(b.pageSize) - 1; have < b.last {
		b.out.Partial(fmt.Sprintf("the rpm database (Berkeley DB) is cut off: it has %d of its %d pages", have+1, b.last+1))
		b.last = have
	}
	b.pages, b.chain = b.src.window(b.pageSize), b.src.window(b.pageSize)
	return nil
}

// page reads the records of page n, if it has any.
func (b *bdbFile) page(n int64) error {
	page, err := b.pages.at(n*int64(b.pageSize), b.pageSize)
	if err != nil {
		return err
	}
	switch kind := page[25]; kind {
	case bdbHash, bdbHashUnsorted:
	case bdbInvalid, bdbOverflow, bdbHashMeta:
		return nil
	default:
		return fmt.Errorf("it has type %d, which a hash does not have", kind)
	}
	items := int(b.order.Uint16(page[20:]))
	if items%2 != 0 || bdbPageHeader+2*items > b.pageSize {
		return fmt.Errorf("it states %d items, which is not possible", items)
	}
	for i := 0; i < items; i += 2 {
		err := b.pair(page, i)
		if err := b.tolerate(err, "item %d of page %d of the rpm database was left out", i, n); err != nil {
			return err
		}
	}
	return nil
}

// item gives the bytes of item i of a page: a type, then what the type says.
func (b *bdbFile) item(page []byte, i int) ([]byte, error) {
	place := func(i int) int { return int(b.order.Uint16(page[bdbPageHeader+2*i:])) }
	end := b.pageSize
	if i > 0 {
		end = place(i - 1)
	}
	start := place(i)
	if start < bdbPageHeader || start >= end || end > b.pageSize {
		return nil, fmt.Errorf("it is stated to be at bytes %d to %d of the page", start, end)
	}
	return page[start:end], nil
}

// pair reads the record whose key is item i and whose value is the one after it.
func (b *bdbFile) pair(page []byte, i int) error {
	key, err := b.item(page, i)
	if err != nil {
		return err
	}
	value, err := b.item(page, i+1)
	if err != nil {
		return err
	}
	if key[0] != bdbItemData || len(key) != 5 {
		return fmt.Errorf("its key is not a number of 4 bytes")
	}
	number := b.order.Uint32(key[1:])
	// Under 0 rpm keeps the highest number that it has given.
	if number == 0 {
		return nil
	}
	switch {
	case value[0] == bdbItemData:
		size := int64(len(value) - 1)
		rest := value[1:]
		return b.record(uint64(number), &blob{size: size, left: size, next: func() ([]byte, error) {
			c := rest
			rest = nil
			return c, nil
		}})
	case value[0] == bdbItemOffPage && len(value) == 12:
		size := int64(b.order.Uint32(value[8:]))
		return b.record(uint64(number), &blob{size: size, left: size, next: b.overflow(b.order.Uint32(value[4:]))})
	}
	return fmt.Errorf("its value has type %d and %d bytes, which is not known", value[0], len(value))
}

// overflow gives the content of a chain of overflow pages, page by page.
func (b *bdbFile) overflow(first uint32) func() ([]byte, error) {
	n := int64(first)
	return func() ([]byte, error) {
		if n == 0 {
			return nil, errShort
		}
		if err := b.spend(int64(b.pageSize)); err != nil {
			return nil, err
		}
		page, err := b.chain.at(n*int64(b.pageSize), b.pageSize)
		if err != nil {
			return nil, err
		}
		used := int(b.order.Uint16(page[22:]))
		if page[25] != bdbOverflow || used > b.pageSize-bdbPageHeader {
			return nil, fmt.Errorf("page %d is not an overflow page", n)
		}
		n = int64(b.order.Uint32(page[16:]))
		return page[bdbPageHeader:][:used], nil
	}
}
