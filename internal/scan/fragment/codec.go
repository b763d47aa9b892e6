package fragment

import (
	"encoding/binary"
	"errors"
	"fmt"

	"stella/internal/scan/inventory"
)

const (
	// maxEncoded is the most bytes of one encoded package. Its package URL, with every byte
	// escaped, is three times that, and a sort record must hold two of those.
	maxEncoded = 16 << 10
	// maxList bounds licences and qualifiers of one package, and alternatives of one requirement.
	maxList = 64
)

// ErrTooLarge says that a package states more than a record can hold.
var ErrTooLarge = errors.New("the package's own description is too large")

var errDamaged = errors.New("the record is damaged")

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// Encode appends p, without what it provides and requires, to b.
func Encode(b []byte, p *inventory.Package) ([]byte, error) {
	start := len(b)
	for _, s := range []string{string(p.Type), p.Namespace, p.Name, p.Version, p.Supplier} {
		b = appendString(b, s)
	}
	var flags byte
	if p.Declared {
		flags |= 1
	}
	b = append(b, flags)
	if len(p.Qualifiers) > maxList || len(p.Licenses) > maxList {
		return b[:start], ErrTooLarge
	}
	b = append(b, byte(len(p.Qualifiers)))
	for _, q := range p.Qualifiers {
		b = appendString(appendString(b, q.Key), q.Value)
	}
	b = append(b, byte(len(p.Licenses)))
	for _, l := range p.Licenses {
		b = appendString(b, l)
	}
	if len(b)-start > maxEncoded {
		return b[:start], ErrTooLarge
	}
	return b, nil
}

// decoder reads what Encode wrote; after the first error everything is empty.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) bytes() []byte {
	n, k := binary.Uvarint(d.b)
	if k <= 0 || n > uint64(len(d.b)-k) {
		d.b, d.err = nil, errDamaged
		return nil
	}
	s := d.b[k : k+int(n)]
	d.b = d.b[k+int(n):]
	return s
}

func (d *decoder) string() string { return string(d.bytes()) }

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.err = errDamaged
		return 0
	}
	c := d.b[0]
	d.b = d.b[1:]
	return c
}

func (d *decoder) uvarint() uint64 {
	n, k := binary.Uvarint(d.b)
	if k <= 0 {
		d.b, d.err = nil, errDamaged
		return 0
	}
	d.b = d.b[k:]
	return n
}

// Decode reads an encoded package.
func Decode(b []byte) (inventory.Package, error) {
	d := &decoder{b: b}
	p := inventory.Package{
		Type: inventory.Type(d.string()), Namespace: d.string(), Name: d.string(),
		Version: d.string(), Supplier: d.string(),
	}
	p.Declared = d.byte()&1 != 0
	if n := d.byte(); n > 0 && n <= maxList {
		p.Qualifiers = make([]inventory.Qualifier, 0, n)
		for range n {
			p.Qualifiers = append(p.Qualifiers, inventory.Qualifier{Key: d.string(), Value: d.string()})
		}
	}
	if n := d.byte(); n > 0 && n <= maxList {
		p.Licenses = make([]string, 0, n)
		for range n {
			p.Licenses = append(p.Licenses, d.string())
		}
	}
	if d.err == nil && len(d.b) > 0 {
		d.err = errDamaged
	}
	if d.err != nil {
		return inventory.Package{}, fmt.Errorf("package: %w", d.err)
	}
	return p, nil
}
