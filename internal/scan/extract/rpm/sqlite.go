package rpm

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The SQLite file format (https://www.sqlite.org/fileformat2.html), as far as
// it takes to read one table from its beginning to its end. A table is a tree
// of pages: interior ones hold page numbers, leaves hold rows ("cells"). A row that does not
// fit goes on in a chain of overflow pages. Numbers are big-endian.
const (
	sqliteMagic  = "SQLite format 3\x00"
	sqliteHeader = 100

	sqliteInterior = 0x05 // page types of tables
	sqliteLeaf     = 0x0d

	// maxDepth is how deep a tree is followed. A table of 2^64 rows needs less.
	maxDepth = 20

	// maxColumns is the most columns of a row that are looked at: those of
	// sqlite_schema, which has the most of the tables that are read.
	maxColumns = 5
)

// sqliteFile is one open SQLite file.
type sqliteFile struct {
	*database
	pageSize int
	usable   int // bytes of a page that hold data
	tree     *window
	chain    *window
	row      func(id uint64, b *blob) error // what is done with each row
}

// sqlite reads all records of a SQLite file.
func (d *database) sqlite() error {
	s := &sqliteFile{database: d}
	if err := s.open(); err != nil {
		return err
	}
	var root uint32
	s.row = func(_ uint64, b *blob) error {
		n, err := packagesRoot(b)
		if n != 0 {
			root = n
		}
		return err
	}
	if err := s.walk(1, 0); err != nil {
		return err
	}
	if root == 0 {
		return errors.New("the SQLite file has no table Packages: it is not an rpm database, or what made it one is in its write-ahead log")
	}
	s.row = s.packageRow
	return s.walk(root, 0)
}

// open reads the header of the file.
func (s *sqliteFile) open() error {
	h, err := s.src.window(minWindow).at(0, sqliteHeader)
	if err != nil {
		return fmt.Errorf("the rpm database (SQLite) is cut off: %w", err)
	}
	s.pageSize = int(binary.BigEndian.Uint16(h[16:]))
	if s.pageSize == 1 {
		s.pageSize = 64 << 10
	}
	s.usable = s.pageSize - int(h[20])
	if s.pageSize < 512 || s.pageSize&(s.pageSize-1) != 0 || s.usable < 480 {
		return fmt.Errorf("the rpm database (SQLite) is corrupt: it states pages of %d bytes, %d of them usable", s.pageSize, s.usable)
	}
	if e := binary.BigEndian.Uint32(h[56:]); e > 1 {
		return fmt.Errorf("the rpm database (SQLite) is in UTF-16 (encoding %d), which rpm never makes: it cannot be read", e)
	}
	// The number of pages is valid where the version that wrote it is the file's.
	pages := int64(binary.BigEndian.Uint32(h[28:]))
	valid := binary.BigEndian.Uint32(h[24:]) == binary.BigEndian.Uint32(h[92:])
	if have := s.src.size / int64(s.pageSize); valid && have < pages {
		s.out.Partial(fmt.Sprintf("the rpm database (SQLite) is cut off: it has %d of its %d pages", have, pages))
	}
	s.tree, s.chain = s.src.window(s.pageSize), s.src.window(s.pageSize)
	return nil
}

// page gives page n of a tree, and where its own header begins.
func (s *sqliteFile) page(n uint32) (page []byte, start int, err error) {
	if n == 1 {
		start = sqliteHeader
	}
	page, err = s.tree.at((int64(n)-1)*int64(s.pageSize), s.pageSize)
	return page, start, err
}

// walk reads the rows below page n. What is wrong with one page or row is a partial result.
func (s *sqliteFile) walk(n uint32, depth int) error {
	if err := s.spend(int64(s.pageSize)); err != nil {
		return err
	}
	err := s.walkPage(n, depth)
	return s.tolerate(err, "page %d of the rpm database was left out", n)
}

func (s *sqliteFile) walkPage(n uint32, depth int) error {
	page, start, err := s.page(n)
	if err != nil {
		return err
	}
	cells := int(binary.BigEndian.Uint16(page[start+3:]))
	switch kind := page[start]; {
	case depth > maxDepth:
		return fmt.Errorf("it is more than %d levels deep", maxDepth)
	case kind == sqliteLeaf && start+8+2*cells <= s.usable:
		return s.leaf(n, page, page[start+8:][:2*cells])
	case kind == sqliteInterior && start+12+2*cells <= s.usable:
		return s.interior(n, cells, depth)
	default:
		return fmt.Errorf("it has type %d and %d cells, which a table does not have", kind, cells)
	}
}

// interior walks the pages that page n leads to. It asks for the page again for each of
// them: the window has moved, and a copy for every level would cost more.
func (s *sqliteFile) interior(n uint32, cells, depth int) error {
	for i := range cells + 1 {
		page, start, err := s.page(n)
		if err != nil {
			return err
		}
		child := binary.BigEndian.Uint32(page[start+8:]) // the last one
		if i < cells {
			at := int(binary.BigEndian.Uint16(page[start+12+2*i:]))
			if at+4 > s.usable {
				err = fmt.Errorf("it is stated to be at byte %d of the page", at)
				if err := s.tolerate(err, "cell %d of page %d of the rpm database was left out", i, n); err != nil {
					return err
				}
				continue
			}
			child = binary.BigEndian.Uint32(page[at:])
		}
		if err := s.walk(child, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// leaf reads the rows of a page, whose places are listed in cells.
func (s *sqliteFile) leaf(n uint32, page, cells []byte) error {
	for i := 0; i < len(cells); i += 2 {
		err := s.cell(page[:s.usable], int(binary.BigEndian.Uint16(cells[i:])))
		if err := s.tolerate(err, "cell %d of page %d of the rpm database was left out", i/2, n); err != nil {
			return err
		}
	}
	return nil
}

// cell reads the row at a place of a leaf: its length, its number, its content,
// and the number of the page where that goes on.
func (s *sqliteFile) cell(page []byte, at int) error {
	if at >= len(page) {
		return fmt.Errorf("it is stated to be at byte %d of the page", at)
	}
	c := page[at:]
	size, k := varint(c)
	id, l := varint(c[k:])
	c = c[k+l:]
	if k == 0 || l == 0 || size > uint64(s.src.size) {
		return fmt.Errorf("it states %d bytes in a file of %d bytes", size, s.src.size)
	}
	local := s.local(int(size))
	var next uint32
	if local < int(size) {
		if local+4 > len(c) {
			return errShort
		}
		next = binary.BigEndian.Uint32(c[local:])
	} else if local > len(c) {
		return errShort
	}
	first := c[:local]
	b := &blob{size: int64(size), left: int64(size)}
	b.next = func() ([]byte, error) {
		if p := first; len(p) > 0 {
			first = nil
			return p, nil
		}
		return s.overflow(&next)
	}
	return s.row(id, b)
}

// local is how many bytes of a row of that size stand in the leaf itself.
func (s *sqliteFile) local(size int) int {
	most := s.usable - 35
	if size <= most {
		return size
	}
	least := (s.usable-12)*32/255 - 23
	if k := least + (size-least)%(s.usable-4); k <= most {
		return k
	}
	return least
}

// overflow gives the content of overflow page n and moves n to the one after it.
func (s *sqliteFile) overflow(n *uint32) ([]byte, error) {
	if *n == 0 {
		return nil, errShort
	}
	if err := s.spend(int64(s.pageSize)); err != nil {
		return nil, err
	}
	page, err := s.chain.at((int64(*n)-1)*int64(s.pageSize), s.pageSize)
	if err != nil {
		return nil, err
	}
	*n = binary.BigEndian.Uint32(page)
	return page[4:s.usable], nil
}

// packageRow reads a row of Packages(hnum, blob).
func (s *sqliteFile) packageRow(id uint64, b *blob) error {
	cols, err := columns(b)
	if err != nil {
		return err
	}
	if len(cols) < 2 || cols[1].kind != blobColumn {
		return errors.New("it is not a row of the table Packages: a number and a blob")
	}
	if err := b.skip(cols[0].size); err != nil {
		return err
	}
	if cols[1].size > b.left {
		return errShort
	}
	b.size, b.left = cols[1].size, cols[1].size
	return s.record(id, b)
}

// packagesRoot reads a row of sqlite_schema(type, name, tbl_name, rootpage, sql)
// and gives the first page of the table Packages, 0 for other rows.
func packagesRoot(b *blob) (uint32, error) {
	cols, err := columns(b)
	if err != nil || len(cols) < 4 {
		return 0, err
	}
	const kind, name = "table", "Packages"
	if cols[0].size != int64(len(kind)) || cols[1].size != int64(len(name)) || cols[3].size > 8 {
		return 0, nil
	}
	text := make([]byte, len(kind)+len(name))
	if err := b.full(text); err != nil || string(text) != kind+name {
		return 0, err
	}
	if err := b.skip(cols[2].size); err != nil {
		return 0, err
	}
	var raw [8]byte
	if err := b.full(raw[8-cols[3].size:]); err != nil {
		return 0, err
	}
	return uint32(binary.BigEndian.Uint64(raw[:])), nil
}
