package rpm

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"stella/internal/scan/inventory"
)

// Limits that rpm itself sets to a header (HEADER_TAGS_MAX and
// HEADER_DATA_MAX in its lib/header.c).
const (
	maxTags = 65535
	maxData = 256 << 20
)

// maxString is how many bytes of one string are kept: one more than a field may
// have, so that whatever is longer still is.
const maxString = inventory.MaxField + 1

// Types of data in a header (rpmTagType).
const (
	typeInt32  = 4
	typeString = 6
	typeArray  = 8
	typeI18N   = 9
)

// Tags (rpmTag_e) that are read.
const (
	tagName       = 1000
	tagVersion    = 1001
	tagRelease    = 1002
	tagEpoch      = 1003
	tagVendor     = 1011
	tagLicense    = 1014
	tagArch       = 1022
	tagSource     = 1044
	tagProvide    = 1047
	tagRequire    = 1049
	tagModularity = 5096
)

// entry is one entry of a header's index.
type entry struct {
	tag, kind, offset, count uint32
}

// header is what is read of one header.
type header struct {
	entries []entry // wanted ones
	str     []byte

	version, release, epoch, arch, source, module string
}

// record reads a record and gives its package.
func (d *database) record(number uint64, b *blob) error {
	place := fmt.Sprintf("record %d of the rpm database", number)
	d.rec.Reset()
	if err := d.parse(b); err != nil {
		return d.tolerate(err, "%s was left out, its header cannot be read", place)
	}
	h, p := &d.hdr, &d.rec.Package
	// Keys of repositories are kept in the form of packages.
	if p.Name == "gpg-pubkey" {
		return nil
	}
	if p.Version = h.version; h.release != "" && h.version != "" {
		p.Version += "-" + h.release
	}
	d.rec.Qualify("arch", h.arch)
	d.rec.Qualify("epoch", h.epoch)
	d.rec.Qualify("upstream", h.source)
	d.rec.Qualify("rpmmod", h.module)
	if err := d.rec.Emit(d.out, place); err != nil {
		return fatal{err}
	}
	return d.stopped()
}

// parse reads a header: two counts, the index, the data.
func (d *database) parse(b *blob) error {
	h := &d.hdr
	*h = header{entries: h.entries[:0], str: h.str[:0]}
	var start [8]byte
	if err := b.full(start[:]); err != nil {
		return err
	}
	tags, size := binary.BigEndian.Uint32(start[:]), binary.BigEndian.Uint32(start[4:])
	switch {
	case tags == 0 || tags > maxTags || size > maxData:
		return fmt.Errorf("it states %d tags and %d bytes of data, which is not possible", tags, size)
	case 16*int64(tags)+int64(size) > b.left:
		return fmt.Errorf("it states %d tags and %d bytes of data, and has %d bytes", tags, size, b.left)
	}
	if err := h.index(b, tags); err != nil {
		return err
	}
	data := b.pos()
	b.size = data + int64(size)
	b.left = int64(size)
	for _, e := range h.entries {
		gap := data + int64(e.offset) - b.pos()
		if gap < 0 || gap > b.left {
			return fmt.Errorf("the data of tag %d is outside of the header or inside of another tag's", e.tag)
		}
		if err := b.skip(gap); err != nil {
			return err
		}
		if err := d.field(b, e); err != nil {
			return fmt.Errorf("tag %d: %w", e.tag, err)
		}
	}
	return nil
}

// index picks the entries of wanted tags, in the order of their data. A tag
// that rpm changed after the build is there again, later, and the later one counts.
func (h *header) index(b *blob, tags uint32) error {
	var raw [16]byte
	for range tags {
		if err := b.full(raw[:]); err != nil {
			return err
		}
		e := entry{
			tag:    binary.BigEndian.Uint32(raw[:]),
			kind:   binary.BigEndian.Uint32(raw[4:]),
			offset: binary.BigEndian.Uint32(raw[8:]),
			count:  binary.BigEndian.Uint32(raw[12:]),
		}
		if !wanted(e.tag) {
			continue
		}
		if i := slices.IndexFunc(h.entries, func(o entry) bool { return o.tag == e.tag }); i >= 0 {
			h.entries[i] = e
		} else {
			h.entries = append(h.entries, e)
		}
	}
	slices.SortStableFunc(h.entries, func(a, b entry) int { return cmp.Compare(a.offset, b.offset) })
	return nil
}

func wanted(tag uint32) bool {
	switch tag {
	case tagName, tagVersion, tagRelease, tagEpoch, tagVendor, tagLicense, tagArch, tagSource, tagProvide, tagRequire, tagModularity:
		return true
	}
	return false
}

// field reads the data of one tag.
func (d *database) field(b *blob, e entry) error {
	switch e.tag {
	case tagEpoch:
		return d.number(b, e)
	case tagProvide, tagRequire:
		if e.kind != typeArray {
			return fmt.Errorf("its type is %d and not a list of strings", e.kind)
		}
		for range e.count {
			if err := d.hdr.string(b); err != nil {
				return err
			}
			d.dependency(e.tag)
		}
		return nil
	}
	// Of a translated string the first one is in no language.
	if e.kind != typeString && e.kind != typeI18N || e.count == 0 {
		return fmt.Errorf("its type is %d and not a string", e.kind)
	}
	if err := d.hdr.string(b); err != nil {
		return err
	}
	d.set(e.tag, inventory.Clean(string(d.hdr.str)))
	return nil
}

func (d *database) number(b *blob, e entry) error {
	var raw [4]byte
	if e.kind != typeInt32 || e.count == 0 {
		return fmt.Errorf("its type is %d and not a number", e.kind)
	}
	if err := b.full(raw[:]); err != nil {
		return err
	}
	d.hdr.epoch = strconv.FormatUint(uint64(binary.BigEndian.Uint32(raw[:])), 10)
	return nil
}

// string reads a string that ends in NUL into h.str, at most maxString of its bytes.
func (h *header) string(b *blob) error {
	h.str = h.str[:0]
	for {
		c, err := b.chunk()
		if err != nil {
			return errors.Join(errors.New("a string has no end"), err)
		}
		end := bytes.IndexByte(c, 0)
		part := c
		if end >= 0 {
			part = c[:end]
		}
		h.str = append(h.str, part[:min(len(part), maxString-len(h.str))]...)
		if end >= 0 {
			b.consume(end + 1)
			return nil
		}
		b.consume(len(c))
	}
}

// dependency takes the name in h.str.
func (d *database) dependency(tag uint32) {
	name := string(d.hdr.str)
	switch {
	case strings.HasPrefix(name, "weakremover("):
	case tag == tagProvide:
		d.rec.Provide(name)
	case strings.HasPrefix(name, "rpmlib(") || strings.HasPrefix(name, "("):
	default:
		d.rec.Require(name)
	}
}

func (d *database) set(tag uint32, v string) {
	h, p := &d.hdr, &d.rec.Package
	switch tag {
	case tagName:
		p.Name = v
	case tagVersion:
		h.version = v
	case tagRelease:
		h.release = v
	case tagArch:
		h.arch = v
	case tagSource:
		// rpm prints this for a tag that is missing, and some builders stored it.
		if v != "(none)" {
			h.source = v
		}
	case tagModularity:
		h.module = v
	case tagVendor:
		if v != "(none)" {
			p.Supplier = v
		}
	case tagLicense:
		d.rec.License(v)
	}
}
