package initramfs

import (
	"fmt"
	"io"
	"math"
	"strings"
)

// header is one entry of an archive in the format "newc": 13 numbers of eight hexadecimal
// digits, then the name, then the content (Linux, Documentation/driver-api/early-userspace/buffer-format.rst).
type header struct {
	name  string // without a leading slash
	inode uint32 // entries with the same number and more than one link are one file
	mode  uint32 // type and permissions as in stat(2)
	links uint32
	mtime uint32 // seconds since 1970
	size  int64  // bytes of content
}

// newc writes an archive. The first error stays: all later calls return it.
type newc struct {
	w   io.Writer
	err error
}

// entry writes one entry; content must have h.size bytes at least, and what is beyond is not read.
func (a *newc) entry(h header, content io.Reader) error {
	if h.size > math.MaxUint32 {
		return fmt.Errorf("pack %s: it has %d bytes, and the format ends at 4 GiB", h.name, h.size)
	}
	var text strings.Builder
	text.WriteString("070701")
	for _, n := range []uint32{
		h.inode, h.mode, 0, 0, h.links, h.mtime, uint32(h.size), // the zeros: everything is root's
		0, 0, 0, 0, uint32(len(h.name) + 1), 0, // device numbers, and a checksum that this format leaves out
	} {
		fmt.Fprintf(&text, "%08x", n)
	}
	text.WriteString(h.name)
	text.WriteByte(0)
	pad(&text, int64(text.Len()))
	a.copy(strings.NewReader(text.String()), int64(text.Len()))
	a.copy(content, h.size)
	text.Reset()
	pad(&text, h.size)
	a.copy(strings.NewReader(text.String()), int64(text.Len()))
	if a.err != nil {
		return fmt.Errorf("pack %s: %w", h.name, a.err)
	}
	return nil
}

// close writes the entry that ends an archive.
func (a *newc) close() error {
	return a.entry(header{name: "TRAILER!!!", links: 1}, strings.NewReader(""))
}

func (a *newc) copy(r io.Reader, n int64) {
	if a.err == nil && n > 0 {
		_, a.err = io.CopyN(a.w, r, n)
	}
}

// pad fills n bytes up to a multiple of four.
func pad(b *strings.Builder, n int64) {
	for ; n%4 != 0; n++ {
		b.WriteByte(0)
	}
}
