package rpm

import (
	"encoding/binary"
	"fmt"
	"hash/adler32"
	"io"
	"strings"
)

// Writers of the three formats, for databases that are too large or too wrong
// to be had from rpm. Each gives a file of n records, all of the same length, made
// while it is read. That of SQLite passes the integrity check of sqlite3; that of Berkeley DB has
// all that a reader of pages needs and no hash table, so that the real files of testdata are the proof for that format.

// tagData is a tag as a test states it: a string, []string or uint32.
type tagData struct {
	tag   uint32
	value any
}

// makeHeader builds a header as it is in a database.
func makeHeader(tags ...tagData) []byte {
	var index, data []byte
	for _, t := range tags {
		kind, count := uint32(typeString), 1
		switch v := t.value.(type) {
		case uint32:
			kind = typeInt32
			for len(data)%4 != 0 {
				data = append(data, 0)
			}
			index = entryBytes(index, t.tag, kind, len(data), count)
			data = binary.BigEndian.AppendUint32(data, v)
			continue
		case []string:
			kind, count = typeArray, len(v)
			index = entryBytes(index, t.tag, kind, len(data), count)
			for _, s := range v {
				data = append(append(data, s...), 0)
			}
		case string:
			index = entryBytes(index, t.tag, kind, len(data), count)
			data = append(append(data, v...), 0)
		}
	}
	head := binary.BigEndian.AppendUint32(nil, uint32(len(tags)))
	head = binary.BigEndian.AppendUint32(head, uint32(len(data)))
	return append(append(head, index...), data...)
}

func entryBytes(b []byte, tag, kind uint32, offset, count int) []byte {
	for _, v := range []uint32{tag, kind, uint32(offset), uint32(count)} {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	return b
}

// plain is a header of one package, name and number having a fixed length, with
// a list of files that makes it at least size bytes.
func plain(size int) func(i int) []byte {
	files := strings.Split(strings.TrimSuffix(strings.Repeat("some-file-of-the-package\n", size/25+1), "\n"), "\n")
	return func(i int) []byte {
		return makeHeader(tagData{tagName, fmt.Sprintf("package-%06d", i)}, tagData{tagVersion, "1.0"}, tagData{tagRelease, "1"},
			tagData{1117, files}, tagData{tagArch, "noarch"}, tagData{tagProvide, []string{"p"}}, tagData{tagRequire, []string{"p"}})
	}
}

// pages reads a file whose pages are made one by one.
type pages struct {
	n, last int
	make    func(n int) []byte
	rest    []byte
}

func (p *pages) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		if p.n == p.last {
			return 0, io.EOF
		}
		p.rest = p.make(p.n)
		p.n++
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

const testPage = 4096

// makeBDB is a Berkeley DB hash: page 0, then for each record a hash page and its chain.
func makeBDB(n int, header func(i int) []byte) (int64, io.Reader) {
	const room = testPage - bdbPageHeader
	size := len(header(0))
	chain := (size + room - 1) / room
	count := 1 + n*(1+chain)
	le := binary.LittleEndian
	var blob []byte
	return int64(count) * testPage, &pages{last: count, make: func(p int) []byte {
		b := make([]byte, testPage)
		le.PutUint32(b[8:], uint32(p))
		if p == 0 {
			le.PutUint32(b[12:], bdbHashMagic)
			le.PutUint32(b[16:], 9)
			le.PutUint32(b[20:], testPage)
			b[25] = bdbHashMeta
			le.PutUint32(b[32:], uint32(count-1))
			return b
		}
		i, k := (p-1)/(1+chain), (p-1)%(1+chain)
		if k == 0 {
			blob = header(i)
			b[25] = bdbHash
			le.PutUint16(b[20:], 2)
			le.PutUint16(b[26:], testPage-5)
			le.PutUint16(b[28:], testPage-5-12)
			b[testPage-5] = bdbItemData
			le.PutUint32(b[testPage-4:], uint32(i+1))
			v := b[testPage-17:]
			v[0] = bdbItemOffPage
			le.PutUint32(v[4:], uint32(p+1))
			le.PutUint32(v[8:], uint32(size))
			return b
		}
		b[25] = bdbOverflow
		if k < chain {
			le.PutUint32(b[16:], uint32(p+1))
		}
		le.PutUint16(b[22:], uint16(copy(b[bdbPageHeader:], blob[(k-1)*room:])))
		return b
	}}
}

// makeNDB is an ndb file: pages of slots, then the blobs.
func makeNDB(n int, header func(i int) []byte) (int64, io.Reader) {
	le := binary.LittleEndian
	size := len(header(0))
	blocks := (ndbBlobHead + size + ndbBlobTail + ndbBlock - 1) / ndbBlock
	slotPages := (ndbHeader + n*ndbSlot + ndbPage - 1) / ndbPage
	first := slotPages * ndbPage / ndbBlock
	total := int64(first+n*blocks) * ndbBlock
	return total, &pages{last: 1 + n, make: func(p int) []byte {
		if p == 0 {
			b := make([]byte, slotPages*ndbPage)
			copy(b, ndbMagic)
			le.PutUint32(b[8:], 1)
			le.PutUint32(b[12:], uint32(slotPages))
			le.PutUint32(b[16:], uint32(n+1))
			for i := 0; ndbHeader+(i+1)*ndbSlot <= len(b); i++ {
				s := b[ndbHeader+i*ndbSlot:]
				copy(s, "Slot")
				if i < n {
					le.PutUint32(s[4:], uint32(i+1))
					le.PutUint32(s[8:], uint32(first+i*blocks))
					le.PutUint32(s[12:], uint32(blocks))
				}
			}
			return b
		}
		b := make([]byte, blocks*ndbBlock)
		copy(b, "BlbS")
		le.PutUint32(b[4:], uint32(p))
		le.PutUint32(b[8:], 1)
		le.PutUint32(b[12:], uint32(size))
		copy(b[ndbBlobHead:], header(p-1))
		tail := b[len(b)-ndbBlobTail:]
		le.PutUint32(tail, adler32.Checksum(b[:len(b)-ndbBlobTail]))
		le.PutUint32(tail[4:], uint32(size))
		copy(tail[8:], "BlbE")
		return b
	}}
}

func putVarint(b []byte, v int) []byte {
	if v >= 1<<7 {
		for shift := 21; shift > 0; shift -= 7 {
			if v >= 1<<shift {
				b = append(b, byte(v>>shift)|0x80)
			}
		}
	}
	return append(b, byte(v&0x7f))
}

// makeSQLite is a SQLite file: page 1 with the schema, page 2 that leads to the leaves
// of table Packages, and for each record a leaf and its chain. n is at most 440.
func makeSQLite(n int, header func(i int) []byte) (int64, io.Reader) {
	size := len(header(0))
	head := putVarint([]byte{0, 0}, 12+2*size)
	head[0] = byte(len(head))
	payload := len(head) + size
	const most, least, room = testPage - 35, (testPage-12)*32/255 - 23, testPage - 4
	local, chain := payload, 0
	if payload > most {
		if local = least + (payload-least)%room; local > most {
			local = least
		}
		chain = (payload - local + room - 1) / room
	}
	count := 2 + n*(1+chain)
	be := binary.BigEndian
	var blob []byte
	row := func(to []byte, from int) { // copies of the row, which is head and blob, what fits
		if from < len(head) {
			to = to[copy(to, head[from:]):]
			from = len(head)
		}
		copy(to, blob[from-len(head):])
	}
	return int64(count) * testPage, &pages{last: count, make: func(p int) []byte {
		b := make([]byte, testPage)
		switch p {
		case 0:
			schemaPage(b, count)
			return b
		case 1:
			b[0] = sqliteInterior
			be.PutUint16(b[3:], uint16(n-1))
			end := testPage
			for i := range n - 1 {
				cell := putVarint(be.AppendUint32(nil, uint32(3+i*(1+chain))), i+1)
				end -= len(cell)
				copy(b[end:], cell)
				be.PutUint16(b[12+2*i:], uint16(end))
			}
			be.PutUint16(b[5:], uint16(end))
			be.PutUint32(b[8:], uint32(3+(n-1)*(1+chain)))
			return b
		}
		i, k := (p-2)/(1+chain), (p-2)%(1+chain)
		if k == 0 {
			blob = header(i)
			cell := putVarint(putVarint(nil, payload), i+1)
			cell = append(cell, make([]byte, local)...)
			row(cell[len(cell)-local:], 0)
			if chain > 0 {
				cell = be.AppendUint32(cell, uint32(p+2))
			}
			b[0] = sqliteLeaf
			be.PutUint16(b[3:], 1)
			be.PutUint16(b[5:], uint16(testPage-len(cell)))
			be.PutUint16(b[8:], uint16(testPage-len(cell)))
			copy(b[testPage-len(cell):], cell)
			return b
		}
		if k < chain {
			be.PutUint32(b, uint32(p+2))
		}
		row(b[4:], local+(k-1)*room)
		return b
	}}
}

func schemaPage(b []byte, count int) {
	be := binary.BigEndian
	copy(b, sqliteMagic)
	be.PutUint16(b[16:], testPage)
	copy(b[18:], []byte{1, 1, 0, 64, 32, 32})
	be.PutUint32(b[24:], 1)
	be.PutUint32(b[28:], uint32(count))
	be.PutUint32(b[44:], 4)
	be.PutUint32(b[56:], 1)
	be.PutUint32(b[92:], 1)
	be.PutUint32(b[96:], 3040001)
	const sql = "CREATE TABLE Packages(hnum INTEGER PRIMARY KEY, blob BLOB NOT NULL)"
	row := []byte{7, 13 + 2*5, 13 + 2*8, 13 + 2*8, 1}
	row = putVarint(row, 13+2*len(sql))
	row[0] = byte(len(row))
	row = append(append(row, "tablePackagesPackages\x02"...), sql...)
	cell := append(putVarint(putVarint(nil, len(row)), 1), row...)
	at := testPage - len(cell)
	copy(b[at:], cell)
	b[100] = sqliteLeaf
	be.PutUint16(b[103:], 1)
	be.PutUint16(b[105:], uint16(at))
	be.PutUint16(b[108:], uint16(at))
}
